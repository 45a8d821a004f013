//! Requests that wait for a place: bounded in number and in time, told one by one.
//!
//! Whose turn it is is decided in [`mod@line`]; here are the lock and the wakers. Whoever frees a place tells one
//! waiter ([`Queue::tell_one`]); where several may have become free, so many are told as there are places and
//! nobody on the way to them ([`Queue::tell`]). Never all: thousands that look for one place hold up the answer
//! that would free the next.
//!
//! There is a lock, but only who waits, or ends while somebody waits, takes it: a request that finds a place
//! looks at one number.

mod line;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use line::{Line, Turn};

/// Where requests of a cluster wait, whatever thread they are on.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    line: Line,
    wakers: HashMap<u64, Waker>,
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

/// How long somebody waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// As things are.
    pub(crate) wait: Duration,
    /// However often that is [extended](Queue::extend).
    pub(crate) longest: Duration,
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
    ///
    /// A place that is free belongs to those who wait, of whom who joined is only one: count the places after
    /// joining, [`tell`](Self::tell) so many, and wait for one's [turn](Ticket::turn).
    pub(crate) fn join(self: &Arc<Self>, most: usize, patience: Patience) -> Result<Ticket, Overloaded> {
        let now = Instant::now();
        let mut inner = self.inner();
        if inner.line.len() >= most {
            return Err(Overloaded::QueueFull);
        }
        let Patience { wait, longest } = patience;
        let number = inner.line.join(now, now + wait, now + longest.max(wait));
        self.waiting.store(inner.line.len(), SeqCst);
        drop(inner);
        Ok(Ticket { queue: Arc::clone(self), number, stage: Stage::Waits, sleep: None })
    }

    /// Tells the next one that a place became free.
    pub(crate) fn tell_one(&self) {
        if self.is_empty() {
            return;
        }
        let waker = self.inner().tell_next(Instant::now());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells as many as there are free places, less those who were told and have not looked yet.
    pub(crate) fn tell(&self, free: usize) {
        if self.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut wakers = Vec::new();
        let mut inner = self.inner();
        for _ in inner.line.told()..free {
            let Some(number) = inner.line.tell_next(now) else { break };
            wakers.extend(inner.wakers.remove(&number));
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Lets everybody wait for at least so long from now on, as far as each may: what they wait for is something
    /// else now, a place instead of a backend or the other way round.
    pub(crate) fn extend(&self, wait: Duration) {
        if !self.is_empty() {
            self.inner().line.extend(Instant::now(), wait);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell_next(&mut self, now: Instant) -> Option<Waker> {
        let number = self.line.tell_next(now)?;
        self.wakers.remove(&number)
    }
}

/// A turn in the queue; dropping it leaves, and passes on what it was told and did not use.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    stage: Stage,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// What a ticket's holder is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waits,
    /// It has been told, and looks for the place.
    Looks,
    /// It has found one, so that there is nothing to pass on.
    Found,
}

impl Ticket {
    /// Waits for its turn; who then finds no place waits again, and keeps its turn.
    pub async fn turn(&mut self) -> Result<(), Overloaded> {
        std::future::poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// Leaves, having found a place.
    pub fn leave(mut self) {
        self.stage = Stage::Found;
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Overloaded>> {
        let mut inner = self.queue.inner();
        if self.stage == Stage::Looks {
            self.stage = Stage::Waits;
            inner.line.wait_again(self.number);
        }
        let Turn::Waits { until } = inner.line.turn_of(self.number) else {
            self.stage = Stage::Looks;
            return Poll::Ready(Ok(()));
        };
        match inner.wakers.get_mut(&self.number) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => drop(inner.wakers.insert(self.number, cx.waker().clone())),
        }
        drop(inner);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() != until {
            // The wait was extended.
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx).map(|()| Err(Overloaded::WaitedTooLong))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.queue.inner();
        let was_told = inner.line.leave(self.number);
        inner.wakers.remove(&self.number);
        self.queue.waiting.store(inner.line.len(), SeqCst);
        let passes_on = was_told && self.stage != Stage::Found;
        let next = if passes_on { inner.tell_next(Instant::now()) } else { None };
        drop(inner);
        if let Some(next) = next {
            next.wake();
        }
    }
}
