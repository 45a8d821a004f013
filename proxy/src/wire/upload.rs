//! A request's body on its way to a backend: what is in hand, then what is still to come.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncRead;

use super::relay::{Broken, End, Relay, Side, Sink, Source, poll_flush};
use super::request_head::{BodyKind, Request};
use super::upstream::Link;

/// A request's way to a backend.
#[derive(Debug)]
pub(super) struct Upload {
    relay: Relay,
    /// How much of what is in hand was read.
    cursor: usize,
    /// What became of it.
    state: State,
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    Done,
    /// The backend takes no more of it.
    Failed,
}

impl Upload {
    pub(super) fn new(request: &Request) -> Self {
        let source = request.source();
        let sink = if matches!(source, Source::Chunked(_)) { Sink::Chunked } else { Sink::Plain };
        Self { relay: Relay::new(source, sink), cursor: 0, state: State::Going }
    }

    pub(super) fn is_going(&self) -> bool {
        self.state == State::Going
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Tells whether it waits for the client, and not for the backend.
    pub(super) fn awaits_client(&self) -> bool {
        self.is_going() && self.relay.waits_for == Side::Source
    }

    /// Gives how many bytes were read from the client, besides what was in hand.
    pub(super) fn read(&self) -> u64 {
        self.relay.read
    }

    /// Gives how many bytes were written to the backend, with the head.
    pub(super) fn written(&self) -> u64 {
        self.relay.written
    }

    /// Writes what can be written of head and body; ready when all of it is.
    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
        from: End<'_, S>,
        link: &mut Link,
    ) -> Poll<Result<(), Broken>> {
        if !self.is_going() {
            return Poll::Ready(Ok(()));
        }
        let polled = self.poll_going(cx, request, from, link);
        match &polled {
            Poll::Ready(Ok(())) => self.state = State::Done,
            Poll::Ready(Err(_)) => self.state = State::Failed,
            Poll::Pending => {}
        }
        polled
    }

    fn poll_going<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
        from: End<'_, S>,
        link: &mut Link,
    ) -> Poll<Result<(), Broken>> {
        let in_hand = request.in_hand();
        loop {
            let rest = &in_hand[self.cursor..];
            if !rest.is_empty() {
                let moved = self.relay.source.transfer(rest, &mut link.output, self.relay.sink);
                let moved = moved.map_err(|_| Broken::Malformed)?;
                self.cursor += moved;
                if moved == 0 && link.output.is_empty() {
                    // The beginning of a trailer line whose rest is still to come.
                    from.buffer.put_before(rest);
                    self.cursor = in_hand.len();
                }
            }
            self.relay.waits_for = Side::Sink;
            let drained = link.output.poll_drain(&mut link.stream, cx, &mut self.relay.written);
            ready!(drained).map_err(Broken::Sink)?;
            if self.cursor == in_hand.len() {
                break;
            }
        }
        if request.body() != BodyKind::Streamed {
            return poll_flush(&mut link.stream, cx).map_err(Broken::Sink);
        }
        self.relay.poll(cx, from, End { stream: &mut link.stream, buffer: &mut link.output })
    }
}

/// Says why a body broke off, in one error.
pub(super) fn reason(broken: Broken) -> io::Error {
    match broken {
        Broken::Source(reason) | Broken::Sink(reason) => reason,
        Broken::Malformed => io::Error::new(io::ErrorKind::InvalidData, super::chunked::Malformed),
    }
}
