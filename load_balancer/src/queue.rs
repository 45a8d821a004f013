//! Requests that wait for a place: bounded in number and in time, woken one by one.
//!
//! First come, first served, until the oldest has used up half its time: then the queue cannot be emptied in
//! time, whoever waits longest will give up anyway, and the newest goes first (Maurer, "Fail at Scale", ACM
//! Queue 13(8), 2015: adaptive LIFO).
//!
//! There is a lock, but only who waits, or ends while somebody waits, takes it: a request that finds a place
//! looks at one number.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Where requests of a cluster wait, whatever thread they are on.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    since: Instant,
    deadline: Instant,
    is_woken: bool,
    waker: Option<Waker>,
}

/// Why a request that would wait is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// Too many requests are worked on already.
    #[error("too many requests are in flight")]
    TotalLimit,
    /// Too many wait already.
    #[error("too many requests wait for a backend")]
    QueueFull,
    /// No place became free in time.
    #[error("no place at a backend became free in time")]
    WaitedTooLong,
}

impl Queue {
    /// Tells whether anybody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Gives how many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Joins the queue, unless `most` wait already.
    pub(crate) fn join(self: &Arc<Self>, most: usize, wait: Duration) -> Result<Ticket, Overloaded> {
        if self.len() >= most {
            return Err(Overloaded::QueueFull);
        }
        let since = Instant::now();
        let deadline = since + wait;
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.entries.push_back(Entry { number, since, deadline, is_woken: false, waker: None });
        self.waiting.fetch_add(1, SeqCst);
        drop(inner);
        Ok(Ticket { queue: Arc::clone(self), number, deadline, holds: false, sleep: None })
    }

    /// Tells the next one that there may be a place.
    pub(crate) fn wake_one(&self) {
        if self.is_empty() {
            return;
        }
        let waker = self.inner().wake_next(Instant::now());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells everybody that there may be places.
    pub(crate) fn wake_all(&self) {
        if self.is_empty() {
            return;
        }
        let mut inner = self.inner();
        let wakers: Vec<Waker> = inner.entries.iter_mut().filter_map(Entry::wake).collect();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Wakes the one whose turn it is; those that were woken already are on their way.
    fn wake_next(&mut self, now: Instant) -> Option<Waker> {
        let oldest = self.entries.iter().position(|entry| !entry.is_woken)?;
        let entry = &self.entries[oldest];
        let is_late = now.duration_since(entry.since) > entry.deadline.duration_since(entry.since) / 2;
        let next = if is_late { self.entries.iter().rposition(|entry| !entry.is_woken)? } else { oldest };
        self.entries[next].wake()
    }

    fn place(&self, number: u64) -> Option<usize> {
        // Numbers grow from front to back.
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }
}

impl Entry {
    fn wake(&mut self) -> Option<Waker> {
        self.is_woken = true;
        self.waker.take()
    }
}

/// A place in the queue; dropping it leaves, and passes on what it was told and did not use.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    deadline: Instant,
    /// Whether it was told of a place and has not looked for another since.
    holds: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Ticket {
    /// Waits until there may be a place; who then finds none waits again, and keeps its turn.
    ///
    /// Look for a place once more after joining and before waiting: one may have become free in between.
    pub async fn woken(&mut self) -> Result<(), Overloaded> {
        std::future::poll_fn(|cx| self.poll_woken(cx)).await
    }

    /// Leaves, having found a place; nothing is passed on.
    pub fn leave(mut self) {
        self.holds = false;
    }

    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Overloaded>> {
        self.holds = false;
        {
            let mut inner = self.queue.inner();
            // It is in there until it is dropped.
            let Some(place) = inner.place(self.number) else { return Poll::Ready(Ok(())) };
            let entry = &mut inner.entries[place];
            if entry.is_woken {
                entry.is_woken = false;
                self.holds = true;
                return Poll::Ready(Ok(()));
            }
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        let deadline = self.deadline;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        sleep.as_mut().poll(cx).map(|()| Err(Overloaded::WaitedTooLong))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.queue.inner();
        let Some(place) = inner.place(self.number) else { return };
        let Some(entry) = inner.entries.remove(place) else { return };
        self.queue.waiting.fetch_sub(1, SeqCst);
        let next = if entry.is_woken || self.holds { inner.wake_next(Instant::now()) } else { None };
        drop(inner);
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests;
