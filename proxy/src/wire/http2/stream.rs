//! One stream of a client's HTTP/2 connection, as its exchange sees it.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use process::TraceContext;

use super::body::Body;
use super::response;
use crate::wire::buffer::Buffer;
use crate::wire::head::added::AddedFields;
use crate::wire::head::response_head::ResponseHead;
use crate::wire::timer::Timer;

/// The client's side of an exchange over HTTP/2.
#[derive(Debug)]
pub(in crate::wire) struct ClientStream {
    pub(in crate::wire) body: Body,
    /// Read of the body, and not written yet.
    pub(in crate::wire) input: Buffer,
    pub(in crate::wire) timer: Timer,
    /// Bytes of the response's body given to h2, which sends as the client grants room.
    pub(in crate::wire) sent: u64,
    respond: SendResponse<Bytes>,
    /// There once the head of the response is sent and a body follows.
    pub(in crate::wire) send: Option<SendStream<Bytes>>,
    is_over: bool,
}

impl ClientStream {
    pub(super) fn new(respond: SendResponse<Bytes>, body: RecvStream, is_chunked: bool) -> Self {
        Self {
            body: Body::new(body, is_chunked),
            input: Buffer::default(),
            timer: Timer::default(),
            sent: 0,
            respond,
            send: None,
            is_over: false,
        }
    }

    /// Waits until the client gives the stream up, or its connection ends.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(drop),
            None if self.is_over => Poll::Pending,
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    /// Sends an interim response.
    pub(in crate::wire) fn send_interim(&mut self, head: &[u8], interim: &ResponseHead) -> io::Result<()> {
        self.respond.send_informational(response::interim(head, interim)).map_err(io::Error::other)
    }

    /// Sends a response's head; false if the client does not want it any more.
    pub(in crate::wire) fn send_head(&mut self, message: Response<()>, is_all: bool) -> bool {
        match self.respond.send_response(message, is_all) {
            Ok(send) => {
                self.is_over = is_all;
                self.send = (!is_all).then_some(send);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a response was not sent");
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                self.is_over = true;
                false
            }
        }
    }

    /// Sends a problem as the response; true if h2 has taken it. What the client's window has no room for, h2
    /// keeps: it is a short text.
    pub(in crate::wire) fn send_problem(
        &mut self,
        problem: Response<Bytes>,
        trace: &TraceContext,
        added: &AddedFields,
        is_head: bool,
    ) -> bool {
        let (mut head, body) = problem.into_parts();
        head.headers.insert(http::header::CONTENT_LENGTH, body.len().into());
        head.headers.remove(http::header::CONNECTION);
        response::add(&mut head.headers, added, Some(trace));
        let is_all = is_head || body.is_empty();
        self.send_head(Response::from_parts(head, ()), is_all)
            && (is_all || self.send.as_mut().is_some_and(|send| send.send_data(body, true).is_ok()))
    }

    /// Breaks the stream off.
    pub(in crate::wire) fn reset(&mut self, reason: Reason) {
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
        self.is_over = true;
    }
}
