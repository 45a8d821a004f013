//! One timer for many short waits, so that a request which may be hedged costs no timer of its own.
//!
//! A timer of Tokio's takes a lock to be set and another to be taken back, and nearly none of them ever
//! rings: the response is there first. Here a wait is a row in a table and a place in a queue; whoever is done
//! first just leaves. One task a thread sleeps until the earliest wait that is still wanted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// One thread's waits; it belongs to a local runtime.
#[derive(Debug, Clone)]
pub(crate) struct Alarms(Rc<Clock>);

#[derive(Debug)]
struct Clock {
    table: Rc<Table>,
    ringing: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Table {
    rows: RefCell<Vec<Row>>,
    free: RefCell<Vec<usize>>,
    queue: RefCell<VecDeque<Place>>,
    /// Told when a wait comes that nobody sleeps for.
    begun: Notify,
}

#[derive(Debug, Default)]
struct Row {
    /// Grows when the row is given to another wait, so that a place of an earlier one rings nobody.
    generation: u64,
    rung: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    due: Instant,
    row: usize,
    generation: u64,
}

impl Alarms {
    /// Makes the present thread's alarms; what rings them ends with the last clone.
    pub(crate) fn new() -> Self {
        let table = Rc::<Table>::default();
        let ringing = tokio::task::spawn_local(ring(Rc::clone(&table)));
        Self(Rc::new(Clock { table, ringing }))
    }

    /// Gives a future that is ready at a time, up to two milliseconds late.
    ///
    /// Meant for delays that hardly differ: one that is shorter than those before it rings after them.
    pub(crate) fn after(&self, delay: Duration) -> Alarm {
        let table = &self.0.table;
        let row = table.free.borrow_mut().pop();
        let mut rows = table.rows.borrow_mut();
        let row = row.unwrap_or_else(|| {
            rows.push(Row::default());
            rows.len() - 1
        });
        let generation = rows[row].generation;
        let mut queue = table.queue.borrow_mut();
        if queue.is_empty() {
            table.begun.notify_one();
        }
        queue.push_back(Place { due: Instant::now() + delay, row, generation });
        Alarm { table: Rc::clone(table), row }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.ringing.abort();
    }
}

/// Rings what is due, for ever.
async fn ring(table: Rc<Table>) {
    loop {
        match table.ring_until(Instant::now()) {
            Some(next) => tokio::time::sleep_until(next).await,
            None => table.begun.notified().await,
        }
    }
}

impl Table {
    /// Rings what is due and forgets what nobody waits for any more; gives when the next one is due.
    fn ring_until(&self, now: Instant) -> Option<Instant> {
        let mut queue = self.queue.borrow_mut();
        let mut rows = self.rows.borrow_mut();
        while let Some(first) = queue.front() {
            let row = &mut rows[first.row];
            if row.generation == first.generation {
                if first.due > now {
                    return Some(first.due);
                }
                row.rung = true;
                if let Some(waker) = row.waker.take() {
                    waker.wake();
                }
            }
            queue.pop_front();
        }
        None
    }
}

/// A wait; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Alarm {
    table: Rc<Table>,
    row: usize,
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let row = &mut self.table.rows.borrow_mut()[self.row];
        if row.rung {
            return Poll::Ready(());
        }
        match &mut row.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut rows = self.table.rows.borrow_mut();
        let row = &mut rows[self.row];
        row.generation += 1;
        row.rung = false;
        row.waker = None;
        self.table.free.borrow_mut().push(self.row);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    async fn on_local<F: Future>(future: F) -> F::Output {
        LocalSet::new().run_until(future).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_when_it_is_due_and_not_before() {
        on_local(async {
            let alarms = Alarms::new();
            let began = Instant::now();
            alarms.after(Duration::from_millis(20)).await;
            let waited = began.elapsed();
            assert!((20..23).contains(&waited.as_millis()), "{waited:?}");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_dropped_rings_nobody_who_takes_its_row() {
        on_local(async {
            let alarms = Alarms::new();
            drop(alarms.after(Duration::from_millis(5)));
            let began = Instant::now();
            alarms.after(Duration::from_millis(50)).await;
            assert!(began.elapsed() >= Duration::from_millis(50));
            assert_eq!(alarms.0.table.rows.borrow().len(), 1, "a row is used again");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_that_leave_early_cost_no_sleep() {
        on_local(async {
            let alarms = Alarms::new();
            for _ in 0..1000 {
                drop(alarms.after(Duration::from_millis(5)));
            }
            let (began, last) = (Instant::now(), alarms.after(Duration::from_millis(5)));
            last.await;
            assert!(began.elapsed() < Duration::from_millis(8));
            assert!(alarms.0.table.queue.borrow().is_empty());
        })
        .await;
    }
}
