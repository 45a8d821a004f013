//! Requests that hyper answers by itself, and what is said to them in its place.
//!
//! What is no HTTP, or has a head that is too large, reaches no service: hyper answers with a bare head of 400, 414 or
//! 431 and closes, and nobody can hook in. But that is the one time it writes though no request is being answered.
//! [`Turn`] knows whether one is: from the moment that the service is asked until the end of its answer was flushed. So
//! a head of such a status that is written outside is hyper's own, and [`Watched`] sends a problem instead of it.
//!
//! What was sent together with a request before it can stay bare: hyper may append its own answer to one that is not
//! flushed yet, and what is within an answer is passed on as it is. So is HTTP/2.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::HEAD_LIMIT;
use super::last_answer::LastAnswer;
use crate::problem::{Problem, kinds};
use crate::size;

/// What a connection of HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a request of a connection is being answered.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU8);

/// No request is.
const NONE: u8 = 0;
/// The service was asked, or its answer's body has not ended.
const ASKED: u8 = 1;
/// The answer has ended, but part of it may not be written yet.
const ANSWERED: u8 = 2;

impl Turn {
    /// Notes that the service is asked.
    pub(super) fn ask(&self) {
        self.0.store(ASKED, Ordering::Relaxed);
    }

    fn is(&self, turn: u8) -> bool {
        // One task polls both sides of a connection, so nothing has to be ordered.
        self.0.load(Ordering::Relaxed) == turn
    }
}

/// The body of a service's answer, which notes its end.
pub(super) struct Answering {
    body: Body,
    turn: Arc<Turn>,
}

impl Answering {
    /// Takes the body of the answer to what was asked last.
    pub(super) fn new(body: Body, turn: Arc<Turn>) -> Self {
        Self { body, turn }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.turn.0.store(ANSWERED, Ordering::Relaxed);
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection on which hyper's own answers are said as problems.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    turn: Arc<Turn>,
    /// How much of [`PREFACE`] was received; `None` once it is not what the connection begins with.
    preface: Option<usize>,
    line: RequestLine,
    refused: Option<LastAnswer>,
}

/// How long the first line is of what was received since the last answer.
#[derive(Debug, Default)]
struct RequestLine {
    length: usize,
    has_ended: bool,
}

impl Watched {
    /// Wraps a connection of which nothing was read.
    pub(super) fn new(stream: TcpStream, turn: Arc<Turn>) -> Self {
        Self { stream, turn, preface: Some(0), line: RequestLine::default(), refused: None }
    }

    fn note_received(&mut self, received: &[u8]) {
        if let Some(known) = self.preface {
            let expected = &PREFACE[known..];
            let common = expected.len().min(received.len());
            self.preface = (expected[..common] == received[..common]).then_some(known + common);
        }
        if !self.line.has_ended && self.turn.is(NONE) {
            let end = received.iter().position(|byte| *byte == b'\n');
            self.line.length += end.unwrap_or(received.len());
            self.line.has_ended = end.is_some();
        }
    }

    /// Replaces what is written if it is an answer of hyper's own, and tells whether it is.
    fn replace(&mut self, written: &[u8]) -> bool {
        if self.refused.is_some() {
            return true;
        }
        if self.preface.is_some() || !self.turn.is(NONE) {
            return false;
        }
        let Some(problem) = problem_of(written, &self.line) else { return false };
        tracing::debug!(kind = problem.kind().name, "a request could not be read");
        self.refused = Some(LastAnswer::new(&problem));
        true
    }
}

/// Gives what hyper's own answer means; `None` when these bytes are none.
fn problem_of(written: &[u8], line: &RequestLine) -> Option<Problem> {
    let head = written.strip_prefix(b"HTTP/1.1 ").or_else(|| written.strip_prefix(b"HTTP/1.0 "))?;
    if !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let size = || format!("a request's head has at most {}", size::format(HEAD_LIMIT as u64));
    match head.get(..4)? {
        b"400 " => Some(
            Problem::new(kinds::MALFORMED_REQUEST)
                .detail("this is no request of HTTP/1.1, or its head is malformed"),
        ),
        b"414 " => Some(Problem::new(kinds::TARGET_TOO_LONG).detail(size())),
        // hyper tells the two apart only once it has seen the end of a head.
        b"431 " if line.length > HEAD_LIMIT / 2 => Some(Problem::new(kinds::TARGET_TOO_LONG).detail(size())),
        b"431 " => Some(Problem::new(kinds::HEADERS_TOO_LARGE).detail(format!("{}, in 100 fields", size()))),
        _ => None,
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.note_received(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replace(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Its own answers are heads alone, so they are in one piece.
        if let [head] = bufs
            && self.replace(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(refused) = &mut this.refused {
            return refused.poll_write(&mut this.stream, cx);
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        // hyper flushes when it has written all it has, so an answer that has ended is written.
        if this.turn.is(ANSWERED) {
            this.turn.0.store(NONE, Ordering::Relaxed);
            this.line = RequestLine::default();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.refused {
            Some(refused) => refused.poll_close(&mut this.stream, cx),
            None => Pin::new(&mut this.stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
#[path = "bare_tests.rs"]
mod tests;
