//! The request path without sockets, for tests and the fuzzer: bytes in, what a backend would get out.

use process::TraceContext;

use super::body::chunked;
use super::body::relay::{Sink, Source};
use super::buffer::Buffer;
use super::downstream::is_worth_parsing;
use super::head::request_head::{self, Request};
use super::head::rewrite::{self, ResponseChanges};
use super::http2;
use super::{AddedFields, Limits, Rules, multiplex};
use crate::Client;
use crate::connect::Target;
use crate::proxy_protocol::Addresses;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsed {
    /// It was refused with this status, and the connection closed.
    Refused(u16),
    /// A backend would get it.
    Forwarded {
        /// All a backend would get.
        bytes: Vec<u8>,
        /// The body alone, without its framing.
        body: Vec<u8>,
        /// All of it came; otherwise the client fell silent, or broke its body's framing.
        is_whole: bool,
    },
}

fn limits() -> Limits {
    Limits { head_size: 4096, target_size: 1024, ..Limits::default() }
}

/// Sends bytes through the request path in the pieces given; gives what became of each request, in order.
pub fn rehearse(pieces: &[&[u8]]) -> Vec<Rehearsed> {
    let limits = limits();
    let mut rehearsed = Vec::new();
    let mut input = Buffer::default();
    let mut pieces = pieces.iter().copied();
    let mut is_fresh = false;
    loop {
        let parsed = if is_fresh { request_head::parse(&mut input, &limits) } else { Ok(None) };
        match parsed {
            Err(refusal) => {
                rehearsed.push(Rehearsed::Refused(refusal.problem().kind().status));
                return rehearsed;
            }
            Ok(None) => {
                let Some(piece) = pieces.next() else { return rehearsed };
                let before = input.len();
                input.put(piece);
                is_fresh = !piece.is_empty() && is_worth_parsing(&input, before, &limits);
            }
            Ok(Some(request)) => {
                let (forwarded, rest) = forward(request, &mut pieces);
                let is_whole = matches!(forwarded, Rehearsed::Forwarded { is_whole: true, .. });
                rehearsed.push(forwarded);
                if !is_whole {
                    return rehearsed;
                }
                input = rest;
                is_fresh = !input.is_empty();
            }
        }
    }
}

/// Sends a message of HTTP/2 through the request path: its head, and its data if the stream does not end with
/// the head. Data of another length than the head tells is h2's to refuse, and nothing is forwarded of it here.
pub fn rehearse_http2(head: &http::request::Parts, data: Option<&[u8]>) -> Rehearsed {
    let request = match http2::read(head, data.is_some(), &limits()) {
        Ok(request) => request,
        Err(refusal) => return Rehearsed::Refused(refusal.problem().kind().status),
    };
    let mut framed = Buffer::default();
    let data = data.unwrap_or_default();
    if request.is_chunked() {
        if !data.is_empty() {
            chunked::put_chunk(&mut framed, data);
        }
        framed.put(b"0\r\n\r\n");
    } else {
        framed.put(data);
    }
    forward(request, &mut [framed.filled()].into_iter()).0
}

/// Makes of the first request in the bytes the message a backend of HTTP/2 would get; `None` if it is refused, is not
/// whole, or cannot be written so.
pub fn rehearse_call(bytes: &[u8]) -> Option<http::Request<()>> {
    let target = Target::plain(([127, 0, 0, 1], 3).into());
    multiplex::message(&read(bytes)?, &client(), &Rules::default(), &trace(), &target)
}

/// Writes the head of a backend's response of HTTP/2 for a client of HTTP/1 that asked with these bytes; `has_ended`
/// tells whether its stream ended with it. `None` if the response is malformed, for which the client gets 502.
pub fn rehearse_reply(asked: &[u8], message: &http::Response<()>, has_ended: bool) -> Option<Vec<u8>> {
    let request = read(asked)?;
    let (mut input, mut output) = (Buffer::default(), Buffer::default());
    let mut head = multiplex::read_head(&mut input, message, Some(has_ended), &request, &limits()).ok()?;
    let sink = if matches!(head.body, Source::Chunked(_)) { Sink::Chunked } else { Sink::Plain };
    let (added, trace) = (AddedFields::default(), trace());
    let changes = ResponseChanges { added: &added, removed: &[], sink, keeps_alive: true, trace: &trace };
    rewrite::put_response(&mut output, input.filled(), &mut head, &request, &changes);
    Some(output.filled().to_vec())
}

fn read(bytes: &[u8]) -> Option<Request> {
    let mut input = Buffer::default();
    input.put(bytes);
    request_head::parse(&mut input, &limits()).ok()?
}

fn client() -> Client {
    let addresses = Addresses { source: ([127, 0, 0, 1], 1).into(), destination: ([127, 0, 0, 1], 2).into() };
    Client::new(addresses, false)
}

fn trace() -> TraceContext {
    let trace = TraceContext::parse(b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01");
    trace.unwrap_or_else(super::downstream::new_trace)
}

/// Writes a request as a backend gets it; gives with it what came behind it.
fn forward<'p>(request: Request, pieces: &mut impl Iterator<Item = &'p [u8]>) -> (Rehearsed, Buffer) {
    let mut output = Buffer::default();
    rewrite::put_request(&mut output, &request, &client(), &Rules::default(), &trace(), "127.0.0.1:3");
    let mut bytes = output.filled().to_vec();
    let mut source = request.source();
    let sink = if matches!(source, Source::Chunked(_)) { Sink::Chunked } else { Sink::Plain };
    let mut plain = source;
    let mut body = Vec::new();
    let mut input = Buffer::default();
    input.put(request.in_hand());
    let is_streamed = request.body() == request_head::BodyKind::Streamed;
    let mut is_sound = true;
    while !source.has_ended() {
        output.release();
        let Ok(count) = source.transfer(input.filled(), &mut output, sink) else {
            is_sound = false;
            break;
        };
        bytes.extend_from_slice(output.filled());
        output.release();
        let same = plain.transfer(&input.filled()[..count], &mut output, Sink::Plain);
        assert_eq!(same, Ok(count));
        body.extend_from_slice(output.filled());
        input.consume(count);
        if count == 0 {
            let Some(piece) = pieces.next().filter(|_| is_streamed) else { break };
            input.put(piece);
        }
    }
    let is_whole = is_sound && source.has_ended();
    let mut rest = request.into_rest();
    rest.put(input.filled());
    (Rehearsed::Forwarded { bytes, body, is_whole }, rest)
}
