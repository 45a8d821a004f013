//! A response's body on its way to the client.

use std::task::{Context, Poll};

use super::chunked::Malformed;
use super::inflow::{Inflow, Origin};
use super::relay::{Broken, End, Relay, Sink, WaitsFor};
use crate::wire::carrier::Carrier;
use crate::wire::downstream::Downstream;
use crate::wire::http2::ClientStream;
use crate::wire::multiplex;
use crate::wire::respond::Ending;
use crate::wire::side::Side;

/// How much of a body is copied behind its head: a page. Longer ones are written with the head from where they
/// lie, in one vectored write.
const COPIED: usize = 4 << 10;

/// How it is written: to a connection of HTTP/1, or to a stream of HTTP/2.
pub(in crate::wire) enum Download {
    Connection(Relay),
    Stream(Inflow),
}

impl Download {
    /// Moves the response; ready when it is written, with an ending if that is not whole.
    pub(in crate::wire) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        side: Side<'_>,
        carrier: &mut Carrier,
    ) -> Poll<Option<Ending>> {
        let polled = match (self, side) {
            (Self::Connection(relay), Side::Connection(client)) => {
                poll_relay(cx, relay, &mut client.borrow_mut(), carrier)
            }
            (Self::Stream(inflow), Side::Stream(stream)) => {
                poll_inflow(cx, inflow, &mut stream.borrow_mut(), carrier)
            }
            _ => unreachable!("a download goes where its head went"),
        };
        polled.map(|ended| match ended {
            Ok(()) => None,
            Err(Broken::Sink(_)) => Some(Ending::ClientLeft),
            Err(Broken::Source(_) | Broken::Malformed) => Some(Ending::BackendBroke),
        })
    }

    /// Tells whether nothing of it was written to a connection, not even its head.
    pub(in crate::wire) fn is_unsent(&self) -> bool {
        matches!(self, Self::Connection(relay) if relay.written == 0)
    }

    /// Tells whether it is the backend that is waited for.
    pub(in crate::wire) fn waits_for_backend(&self) -> bool {
        let waits_for = match self {
            Self::Connection(relay) => relay.waits_for,
            Self::Stream(inflow) => inflow.waits_for,
        };
        waits_for == WaitsFor::Source
    }

    /// Gives how many bytes moved on either side.
    pub(in crate::wire) fn moved(&self) -> u64 {
        match self {
            Self::Connection(relay) => relay.read + relay.written,
            Self::Stream(inflow) => inflow.read + inflow.written,
        }
    }
}

/// Moves a response to a connection.
fn poll_relay(
    cx: &mut Context<'_>,
    download: &mut Relay,
    client: &mut Downstream,
    carrier: &mut Carrier,
) -> Poll<Result<(), Broken>> {
    if let Carrier::Call(call) = carrier
        && !client.output.is_empty()
        && call.input.is_empty()
    {
        // The head is still to be written, and some of the body may be there to go with it.
        let (input, body) = call.input_and_body();
        if let Poll::Ready(count) = input.poll_fill(body, cx).map_err(Broken::Source)? {
            download.read += count as u64;
        }
    }
    // What came with the head goes with the head: a little of it is copied behind it, much of it is written
    // from where it lies.
    let input = carrier.input_mut();
    if !input.is_empty() && (input.len() <= COPIED || download.sink == Sink::Chunked) {
        let count = download.source.transfer(input.filled(), &mut client.output, download.sink);
        input.consume(count.map_err(|Malformed| Broken::Malformed)?);
    }
    let to = End { stream: &mut client.stream, buffer: &mut client.output };
    let before = download.written;
    let polled = match carrier {
        Carrier::Link(link) => {
            download.poll(cx, End { stream: &mut link.stream, buffer: &mut link.input }, to)
        }
        Carrier::Call(call) => {
            let (buffer, stream) = call.input_and_body();
            download.poll(cx, End { stream, buffer }, to)
        }
    };
    client.sent += download.written - before;
    polled
}

/// Moves a response to a stream.
fn poll_inflow(
    cx: &mut Context<'_>,
    download: &mut Inflow,
    client: &mut ClientStream,
    carrier: &mut Carrier,
) -> Poll<Result<(), Broken>> {
    let Some(send) = &mut client.send else { return Poll::Ready(Ok(())) };
    let mut from = match carrier {
        Carrier::Link(link) => Origin::Bytes(End { stream: &mut link.stream, buffer: &mut link.input }),
        Carrier::Call(call) => Origin::Frames(call.body().frames()),
    };
    let before = download.written;
    let polled = download.poll(cx, &mut from, send);
    client.sent += download.written - before;
    if let Poll::Ready(Err(broken @ (Broken::Source(_) | Broken::Malformed))) = &polled {
        client.reset(multiplex::reset_reason(broken));
    }
    polled
}
