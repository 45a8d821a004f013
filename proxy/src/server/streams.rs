//! The tasks of HTTP/2 streams, and the end of those whose clients take no more.
//!
//! A client that opens a stream, asks for something long and then grants no window would keep a backend's
//! connection busy for ever: hyper waits, and sees no fault. Here each such stream notes since when it has
//! waited for its client, and once a second those that waited too long are dropped, which resets them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use hyper::rt::Executor;

use super::thread;

thread_local! {
    /// The stream whose task is being polled.
    static PRESENT: RefCell<Option<Rc<Stream>>> = const { RefCell::new(None) };

    /// The streams that have waited for their client at least once.
    static WAITING: RefCell<Vec<Weak<Stream>>> = const { RefCell::new(Vec::new()) };
}

/// Runs the streams of HTTP/2 connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnThisThread;

/// What is known about a stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    waits_since_ms: Cell<Option<u64>>,
    is_listed: Cell<bool>,
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<F: Future + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        let stream = Rc::new(Stream::default());
        thread::spawn(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if stream.is_over.get() {
                    return Poll::Ready(());
                }
                PRESENT.set(Some(Rc::clone(&stream)));
                let polled = future.as_mut().poll(cx);
                PRESENT.set(None);
                if stream.waits_since_ms.get().is_some() && stream.waker.borrow().is_none() {
                    *stream.waker.borrow_mut() = Some(cx.waker().clone());
                }
                polled.map(drop)
            })
            .await;
        });
    }
}

/// Gives the stream whose task asks; `None` on a connection of HTTP/1.
pub(super) fn present() -> Option<Rc<Stream>> {
    PRESENT.with_borrow(Clone::clone)
}

/// Ends the streams that have waited for their clients for so long.
pub(super) fn end_stalled(now_ms: u64, limit: Duration) {
    WAITING.with_borrow_mut(|streams| {
        streams.retain(|stream| {
            let Some(stream) = stream.upgrade() else { return false };
            stream.end_if_stalled(now_ms, limit);
            true
        });
    });
}

impl Stream {
    /// Notes that the client has been sent all there was, and room for more is waited for.
    pub(super) fn note_waiting_for_client(self: &Rc<Self>, now_ms: u64) {
        self.waits_since_ms.set(Some(now_ms));
        if !self.is_listed.replace(true) {
            WAITING.with_borrow_mut(|streams| streams.push(Rc::downgrade(self)));
        }
    }

    /// Notes that there is nothing to send yet.
    pub(super) fn note_waiting_for_body(&self) {
        self.waits_since_ms.set(None);
    }

    fn end_if_stalled(&self, now_ms: u64, limit: Duration) {
        let Some(since_ms) = self.waits_since_ms.get() else { return };
        if u128::from(now_ms.saturating_sub(since_ms)) >= limit.as_millis() {
            self.is_over.set(true);
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stream_that_waits_for_its_client_too_long_is_ended() {
        let limit = Duration::from_secs(60);
        let [stalled, slow_backend, moving] = [(); 3].map(|()| Rc::new(Stream::default()));
        stalled.note_waiting_for_client(1000);
        slow_backend.note_waiting_for_client(1000);
        slow_backend.note_waiting_for_body();
        moving.note_waiting_for_client(1000);
        moving.note_waiting_for_client(31_000);
        end_stalled(60_999, limit);
        assert!(!stalled.is_over.get());
        end_stalled(61_000, limit);
        assert!(stalled.is_over.get());
        assert!(!slow_backend.is_over.get() && !moving.is_over.get());
        drop((stalled, slow_backend, moving));
        end_stalled(61_000, limit);
        assert!(WAITING.with_borrow(Vec::is_empty), "what is gone takes no memory");
    }
}
