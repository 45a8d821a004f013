//! One request to a backend of HTTP/2, and its response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use http::{HeaderMap, Response, StatusCode};

use super::connection::is_unprocessed;
use super::connections::Lease;
use crate::wire::Limits;
use crate::wire::body::chunked::Decoder;
use crate::wire::body::relay::{Broken, Source};
use crate::wire::buffer::Buffer;
use crate::wire::head::fields::Known;
use crate::wire::head::request_head::Request;
use crate::wire::head::response_head::{self, Malformed, ResponseHead};
use crate::wire::http2::Body;

/// A stream of its own on a shared connection. Dropped before its end it is canceled.
#[derive(Debug)]
pub(in crate::wire) struct Call {
    /// What was received and not passed on: a head, as HTTP/1 would bring it; and of the body, as bytes.
    pub(in crate::wire) input: Buffer,
    pub(in crate::wire) send: SendStream<Bytes>,
    state: State,
    lease: Lease,
}

#[derive(Debug)]
enum State {
    Awaited(ResponseFuture),
    Begun(Body),
}

/// Why a call brought no response.
#[derive(Debug)]
pub(in crate::wire) enum Fault {
    /// The backend said that it did not begin the request.
    Unprocessed(io::Error),
    Broken(io::Error),
    Malformed(Malformed),
}

impl Call {
    /// Begins a request; an error if nothing of it was sent.
    pub(in crate::wire) fn begin(lease: Lease, request: http::Request<()>, is_all: bool) -> io::Result<Self> {
        match lease.send(request, is_all) {
            Ok((response, send)) => {
                Ok(Self { input: Buffer::default(), send, state: State::Awaited(response), lease })
            }
            Err(error) => Err(lease.reason(error)),
        }
    }

    /// Waits for the next head: an interim one, or the final.
    pub(in crate::wire) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
        limits: &Limits,
    ) -> Poll<Result<ResponseHead, Fault>> {
        let State::Awaited(response) = &mut self.state else {
            unreachable!("nothing is awaited after the final head");
        };
        let interim = match response.poll_informational(cx) {
            Poll::Ready(Some(interim)) => Some(interim),
            Poll::Ready(None) => None,
            Poll::Pending => return Poll::Pending,
        };
        let received = match interim {
            Some(interim) => interim.map(|interim| (interim, None)),
            None => ready!(Pin::new(response).poll(cx)).map(|response| {
                let (head, body) = response.into_parts();
                (Response::from_parts(head, ()), Some(body))
            }),
        };
        let (message, body) = match received {
            Ok(received) => received,
            Err(error) => return Poll::Ready(Err(self.fault(error))),
        };
        let has_ended = body.as_ref().map(h2::RecvStream::is_end_stream);
        let head = match read_head(&mut self.input, &message, has_ended, request, limits) {
            Ok(head) => head,
            Err(malformed) => return Poll::Ready(Err(Fault::Malformed(malformed))),
        };
        if let Some(body) = body {
            self.state = State::Begun(Body::new(body, !tells_length(&head)));
        }
        Poll::Ready(Ok(head))
    }

    /// Gives the body of the response, once its head is there.
    pub(in crate::wire) fn body(&mut self) -> &mut Body {
        match &mut self.state {
            State::Begun(body) => body,
            State::Awaited(_) => unreachable!("a body comes after its head"),
        }
    }

    /// Gives what bytes of the body are read into, and the body.
    pub(in crate::wire) fn input_and_body(&mut self) -> (&mut Buffer, &mut Body) {
        match &mut self.state {
            State::Begun(body) => (&mut self.input, body),
            State::Awaited(_) => unreachable!("a body comes after its head"),
        }
    }

    fn fault(&self, error: h2::Error) -> Fault {
        let is_unprocessed = is_unprocessed(&error);
        let reason = self.lease.reason(error);
        if is_unprocessed { Fault::Unprocessed(reason) } else { Fault::Broken(reason) }
    }
}

/// Says to a client of HTTP/2 why a response broke off: with the backend's own reason, if it gave one that means
/// the same here.
pub(in crate::wire) fn reset_reason(broken: &Broken) -> Reason {
    let Broken::Source(error) = broken else { return Reason::INTERNAL_ERROR };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<h2::Error>());
    match cause.and_then(|cause| cause.reason().filter(|_| cause.is_reset() && cause.is_remote())) {
        // Something of it was begun, and it has not ended well.
        None | Some(Reason::REFUSED_STREAM | Reason::NO_ERROR) => Reason::INTERNAL_ERROR,
        Some(reason) => reason,
    }
}

/// Reads a head as if HTTP/1 had brought it. Of a final one `has_ended` tells whether its stream ended with it.
pub(in crate::wire) fn read_head(
    input: &mut Buffer,
    message: &Response<()>,
    has_ended: Option<bool>,
    request: &Request,
    limits: &Limits,
) -> Result<ResponseHead, Malformed> {
    put_head(input, message.status(), message.headers());
    // A head that is not whole although it was written to its end has a fault.
    let mut head = response_head::parse(input, request, limits)?.ok_or(Malformed::Field)?;
    if let Some(has_ended) = has_ended {
        head.keeps_alive = true;
        head.body = match head.body {
            _ if has_ended || request.is_head() || matches!(head.status, 204 | 304) => Source::Ended,
            // h2 holds the body to its length; it ends with its stream.
            Source::Ended if tells_length(&head) => Source::Length(0),
            stated if tells_length(&head) => stated,
            _ => Source::Chunked(Decoder::new()),
        };
    }
    Ok(head)
}

fn tells_length(head: &ResponseHead) -> bool {
    head.spans.iter().any(|span| span.known == Known::ContentLength)
}

/// Writes a head as HTTP/1 would bring it.
fn put_head(output: &mut Buffer, status: StatusCode, fields: &HeaderMap) {
    let reason = status.canonical_reason().unwrap_or_default();
    output.put_all(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    for (name, value) in fields {
        output.put_all(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    output.put(b"\r\n");
}
