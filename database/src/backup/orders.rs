//! What the thread that keeps a destination in order is asked to do now, whichever engine it keeps for.
//!
//! It does one thing at a time, some for hours. So an order says what it waits for, and is withdrawn, when it is not begun
//! soon; once it is begun it takes as long as it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{BackupError, BaseReport, DrillReport};

/// How many orders may wait; more are refused.
const WAITING: usize = 2;

/// How long an order waits until it is begun.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it can be asked to do now.
#[derive(Debug)]
pub(crate) enum Order {
    /// Store a base.
    Base(Ticket<BaseReport>),
    /// Try a restore out.
    Drill(Ticket<DrillReport>),
}

/// Where the answer to an order goes.
#[derive(Debug)]
pub(crate) struct Ticket<T> {
    begun: oneshot::Sender<()>,
    answer: oneshot::Sender<Result<T, BackupError>>,
}

impl<T> Ticket<T> {
    /// Does what was ordered, unless the order was withdrawn.
    pub(crate) async fn serve(self, work: impl Future<Output = Result<T, BackupError>>) {
        if self.begun.send(()).is_ok() {
            let _ = self.answer.send(work.await);
        }
    }
}

/// What the thread does at present, and since when.
type Present = Arc<Mutex<Option<(&'static str, Instant)>>>;

/// Where orders are given; clones give them to the same thread.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    sender: mpsc::Sender<Order>,
    present: Present,
}

/// Where orders are taken.
#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: mpsc::Receiver<Order>,
    present: Present,
}

impl Orders {
    /// Makes a place to give orders, and the one where they are taken.
    pub(crate) fn new() -> (Self, Inbox) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let present = Present::default();
        (Self { sender, present: Arc::clone(&present) }, Inbox { receiver, present })
    }

    /// Has a base stored now.
    pub(crate) async fn store_base(&self) -> Result<BaseReport, BackupError> {
        self.give(Order::Base).await
    }

    /// Has a restore tried out and compared now.
    pub(crate) async fn drill(&self) -> Result<DrillReport, BackupError> {
        self.give(Order::Drill).await
    }

    async fn give<T>(&self, order: fn(Ticket<T>) -> Order) -> Result<T, BackupError> {
        let ((begun, is_begun), (answer, answered)) = (oneshot::channel(), oneshot::channel());
        let given = self.sender.try_send(order(Ticket { begun, answer }));
        given.map_err(|_| self.occupied())?;
        match tokio::time::timeout(PATIENCE, is_begun).await {
            Ok(Ok(())) => answered.await.unwrap_or(Err(BackupError::Stopping)),
            Ok(Err(_)) => Err(BackupError::Stopping),
            Err(_) => Err(self.occupied()),
        }
    }

    fn occupied(&self) -> BackupError {
        match *lock(&self.present) {
            Some((what, since)) => BackupError::Occupied { what, seconds: since.elapsed().as_secs() },
            None => BackupError::Busy,
        }
    }
}

impl Inbox {
    /// Waits for the next order; `None` when nobody can give one any more.
    pub(crate) async fn recv(&mut self) -> Option<Order> {
        self.receiver.recv().await
    }

    /// Does something of which those who wait meanwhile are told.
    pub(crate) async fn during<T>(&self, what: &'static str, work: impl Future<Output = T>) -> T {
        *lock(&self.present) = Some((what, Instant::now()));
        let done = work.await;
        *lock(&self.present) = None;
        done
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> DrillReport {
        let position = crate::backup::Position::Commit(1);
        DrillReport { at: jiff::Timestamp::UNIX_EPOCH, position, seconds: 1.0, fault: None }
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_is_not_begun_soon_is_told_what_it_waits_for_and_is_withdrawn() {
        let (orders, mut inbox) = Orders::new();
        let long = inbox.during("a restore drill", tokio::time::sleep(Duration::from_secs(3600)));
        let (refused, ()) = tokio::join!(orders.drill(), async {
            tokio::select! { () = long => {}, () = tokio::time::sleep(Duration::from_secs(100)) => {} }
        });
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("a restore drill has been under way for 30 s"), "{refused}");
        let Some(Order::Drill(ticket)) = inbox.recv().await else { panic!("it was given") };
        ticket.serve(async { panic!("nobody waits for it") }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_is_begun_takes_as_long_as_it_takes() {
        let (orders, mut inbox) = Orders::new();
        let keeping = async {
            tokio::time::sleep(Duration::from_secs(29)).await;
            let Some(Order::Drill(ticket)) = inbox.recv().await else { panic!("it was given") };
            let work = async {
                tokio::time::sleep(Duration::from_secs(36_000)).await;
                Ok(report())
            };
            inbox.during("a restore drill", ticket.serve(work)).await;
        };
        assert_eq!(tokio::join!(orders.drill(), keeping).0.unwrap(), report());
    }
}
