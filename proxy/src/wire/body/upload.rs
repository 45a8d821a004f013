//! A request's body on its way to a backend: what is in hand, then what is still to come.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncRead;

use super::inflow::{Inflow, Origin};
use super::relay::{Broken, End, Relay, Sink, Source, WaitsFor, poll_flush};
use crate::wire::head::request_head::{BodyKind, Request};
use crate::wire::multiplex::Call;
use crate::wire::upstream::Link;

/// A request's way to a backend.
#[derive(Debug)]
pub(in crate::wire) struct Upload {
    way: Way,
    /// How much of what is in hand was read.
    cursor: usize,
    /// What became of it.
    state: State,
}

/// How it is written.
#[derive(Debug)]
enum Way {
    /// In bytes, with the head.
    Bytes(Relay),
    /// In frames.
    Frames(Inflow),
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
    /// Begins with a request to a connection of HTTP/1.
    pub(in crate::wire) fn to_link(request: &Request) -> Self {
        let source = request.source();
        let sink = if matches!(source, Source::Chunked(_)) { Sink::Chunked } else { Sink::Plain };
        Self { way: Way::Bytes(Relay::new(source, sink)), cursor: 0, state: State::Going }
    }

    /// Begins with a request whose head has gone to a stream of HTTP/2.
    pub(in crate::wire) fn to_call(request: &Request) -> Self {
        let inflow = match request.body() {
            BodyKind::None => Inflow::new(Source::Ended),
            _ if request.is_http2() => Inflow::of_frames(),
            _ => Inflow::new(request.source()),
        };
        Self { way: Way::Frames(inflow), cursor: 0, state: State::Going }
    }

    pub(in crate::wire) fn is_going(&self) -> bool {
        self.state == State::Going
    }

    pub(in crate::wire) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Tells whether it waits for the client, and not for the backend.
    pub(in crate::wire) fn awaits_client(&self) -> bool {
        let waits_for = match &self.way {
            Way::Bytes(relay) => relay.waits_for,
            Way::Frames(inflow) => inflow.waits_for,
        };
        self.is_going() && waits_for == WaitsFor::Source
    }

    /// Gives how many bytes were read from the client, besides what was in hand.
    pub(in crate::wire) fn read(&self) -> u64 {
        match &self.way {
            Way::Bytes(relay) => relay.read,
            Way::Frames(inflow) => inflow.read,
        }
    }

    /// Gives how many bytes were written to the backend; over HTTP/1 with the head.
    pub(in crate::wire) fn written(&self) -> u64 {
        match &self.way {
            Way::Bytes(relay) => relay.written,
            Way::Frames(inflow) => inflow.written,
        }
    }

    /// Writes what can be written of head and body to a connection; ready when all of it is.
    pub(in crate::wire) fn poll_link<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
        from: End<'_, S>,
        link: &mut Link,
    ) -> Poll<Result<(), Broken>> {
        let Way::Bytes(relay) = &mut self.way else { unreachable!("it was begun for a connection") };
        if self.state != State::Going {
            return Poll::Ready(Ok(()));
        }
        let polled = poll_bytes(relay, &mut self.cursor, cx, request, from, link);
        self.note(polled)
    }

    /// Gives h2 what there is room for of the body; ready when it has all of it.
    pub(in crate::wire) fn poll_call(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
        from: Origin<'_>,
        call: &mut Call,
    ) -> Poll<Result<(), Broken>> {
        let Way::Frames(inflow) = &mut self.way else { unreachable!("it was begun for a stream") };
        if self.state != State::Going {
            return Poll::Ready(Ok(()));
        }
        let polled = poll_frames(inflow, &mut self.cursor, cx, request, from, call);
        self.note(polled)
    }

    fn note(&mut self, polled: Poll<Result<(), Broken>>) -> Poll<Result<(), Broken>> {
        match &polled {
            Poll::Ready(Ok(())) => self.state = State::Done,
            Poll::Ready(Err(_)) => self.state = State::Failed,
            Poll::Pending => {}
        }
        polled
    }
}

fn poll_bytes<S: AsyncRead + Unpin>(
    relay: &mut Relay,
    cursor: &mut usize,
    cx: &mut Context<'_>,
    request: &Request,
    from: End<'_, S>,
    link: &mut Link,
) -> Poll<Result<(), Broken>> {
    let in_hand = request.in_hand();
    loop {
        let rest = &in_hand[*cursor..];
        if !rest.is_empty() {
            let moved = relay.source.transfer(rest, &mut link.output, relay.sink);
            let moved = moved.map_err(|_| Broken::Malformed)?;
            *cursor += moved;
            if moved == 0 && link.output.is_empty() {
                // The beginning of a trailer line whose rest is still to come.
                from.buffer.put_before(rest);
                *cursor = in_hand.len();
            }
        }
        relay.waits_for = WaitsFor::Sink;
        let drained = link.output.poll_drain(&mut link.stream, cx, &mut relay.written);
        ready!(drained).map_err(Broken::Sink)?;
        if *cursor == in_hand.len() {
            break;
        }
    }
    if request.body() != BodyKind::Streamed {
        return poll_flush(&mut link.stream, cx).map_err(Broken::Sink);
    }
    relay.poll(cx, from, End { stream: &mut link.stream, buffer: &mut link.output })
}

fn poll_frames(
    inflow: &mut Inflow,
    cursor: &mut usize,
    cx: &mut Context<'_>,
    request: &Request,
    mut from: Origin<'_>,
    call: &mut Call,
) -> Poll<Result<(), Broken>> {
    let in_hand = request.in_hand();
    while *cursor < in_hand.len() {
        ready!(inflow.poll_held(cx, &mut call.send))?;
        let rest = &in_hand[*cursor..];
        let moved = inflow.take(rest).map_err(|_| Broken::Malformed)?;
        *cursor += moved;
        if moved == 0
            && let Origin::Bytes(end) = &mut from
        {
            // As above.
            end.buffer.put_before(rest);
            *cursor = in_hand.len();
        }
    }
    let polled = inflow.poll(cx, &mut from, &mut call.send);
    if polled.is_pending() && inflow.waits_for == WaitsFor::Source && call.send.poll_reset(cx).is_ready() {
        // It wants no more, and nothing that is sent would find that out.
        return Poll::Ready(Err(Broken::Sink(io::ErrorKind::ConnectionReset.into())));
    }
    polled
}

/// Says why a body broke off, in one error.
pub(in crate::wire) fn reason(broken: Broken) -> io::Error {
    match broken {
        Broken::Source(reason) | Broken::Sink(reason) => reason,
        Broken::Malformed => io::Error::new(io::ErrorKind::InvalidData, super::chunked::Malformed),
    }
}
