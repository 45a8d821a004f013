//! What a client of hyper's lane is told whose request's head does not end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use process::Problem;
use process::problem::kinds;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Stream, wire};

/// An answer of 408 on its way, then the wait for the client to close.
///
/// A socket that is closed with unread bytes resets the connection, which may overtake the answer; so what the
/// client still sends is read and dropped, until the registry closes the connection a moment later.
pub(super) struct Late {
    answer: Vec<u8>,
    written: usize,
    is_shut: bool,
}

impl Default for Late {
    fn default() -> Self {
        let problem = Problem::new(kinds::REQUEST_TIMEOUT).detail(wire::SLOW_HEAD);
        Self { answer: wire::last_answer(&problem), written: 0, is_shut: false }
    }
}

impl Late {
    /// Goes on; ready when the connection has ended.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        while self.written < self.answer.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.answer[self.written..])) {
                Ok(count @ 1..) => self.written += count,
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        if !self.is_shut {
            // Under TLS this flushes, too.
            if ready!(Pin::new(&mut *stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.is_shut = true;
        }
        let mut dropped = [0; 512];
        loop {
            let mut unfilled = ReadBuf::new(&mut dropped);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut unfilled));
            if read.is_err() || unfilled.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}
