//! One request and its response, as a handler sees them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::task::Poll;

use process::{Problem, TraceContext, trace};
use tokio::time::Instant;

use super::body::upload::Upload;
use super::downstream::{self, Downstream};
use super::head::added::AddedFields;
use super::head::request_head::{BodyKind, Request};
use super::head::rewrite;
use super::side::Side;
use super::{Buffer, Rules};
use crate::fields::find_address;
use crate::server::Watched;
use crate::{Client, Progress};

/// A client's request that waits for its answer.
#[derive(Debug)]
pub struct Exchange<'c> {
    pub(super) request: Request,
    client: &'c Client,
    pub(super) rules: &'c Rules,
    trace: TraceContext,
    pub(super) side: Side<'c>,
    pub(super) watched: &'c Watched,
    upload: Option<Progress>,
    /// Part of a streamed body has been read for some backend.
    pub(super) upload_begun: Cell<bool>,
    /// A connection broke on it, so those kept since before are not trusted with it.
    pub(super) wants_fresh: Cell<bool>,
    pub(super) was_resent: Cell<bool>,
    received: Cell<u64>,
    pub(super) status: u16,
    pub(super) then: Then,
}

/// What becomes of the client's connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It waits for the next request.
    Keep,
    /// It is closed, once the client has had a moment to read what was sent.
    Linger,
    /// It is closed at once.
    Close,
}

impl<'c> Exchange<'c> {
    pub(super) fn new(
        request: Request,
        client: &'c Client,
        rules: &'c Rules,
        trace: TraceContext,
        side: Side<'c>,
        watched: &'c Watched,
    ) -> Self {
        let is_streamed = request.body() == BodyKind::Streamed;
        let received = Cell::new(request.in_hand().len() as u64);
        if let Side::Connection(client) = side {
            let mut client = client.borrow_mut();
            client.is_watched = !is_streamed;
            client.sent = 0;
        }
        Self {
            request,
            client,
            rules,
            trace,
            side,
            watched,
            upload: is_streamed.then(Progress::new),
            upload_begun: Cell::new(false),
            wants_fresh: Cell::new(false),
            was_resent: Cell::new(false),
            received,
            status: 0,
            then: Then::Close,
        }
    }

    /// Gives the request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Gives who is at the other end of the connection.
    pub fn client(&self) -> &'c Client {
        self.client
    }

    /// Finds the address of who asked, behind all trusted proxies.
    pub fn find_address(&self) -> IpAddr {
        find_address(&self.rules.trusted, self.client, self.request.forwarded_for())
    }

    /// Gives the trace the request belongs to, with the span of this hop. Its ID is added to every response as
    /// `X-Request-Id`, unless the backend has set one.
    pub fn trace(&self) -> TraceContext {
        self.trace
    }

    /// Tells whether the request can be sent a second time: it has no body, or all of it is in hand.
    pub fn is_replayable(&self) -> bool {
        self.request.body() != BodyKind::Streamed
    }

    /// Tells whether an attempt has sent it a second time, because a kept connection turned out to be closed.
    pub fn was_resent(&self) -> bool {
        self.was_resent.get()
    }

    /// Gives how a streamed upload goes on; `None` if there is none.
    pub fn upload(&self) -> Option<&Progress> {
        self.upload.as_ref()
    }

    /// Gives the status the client was answered with; 0 before that.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Gives how many bytes of the request's body, as it travels, have come so far.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Gives how many bytes were sent to the client so far; over HTTP/1 with heads.
    pub fn sent(&self) -> u64 {
        self.side.sent()
    }

    /// Answers with a problem.
    ///
    /// The connection is kept only if nothing is wrong with the request: not after a status below 500, and not
    /// while part of its body is still to come.
    pub async fn refuse(&mut self, problem: &Problem, added: &AddedFields) {
        let response = trace::within(self.trace, async { problem.to_response() }).await;
        self.status = problem.kind().status;
        let is_head = self.request.is_head();
        let client = match self.side {
            Side::Connection(client) => client,
            Side::Stream(stream) => {
                let is_sent = stream.borrow_mut().send_problem(response, &self.trace, added, is_head);
                self.then = if is_sent { Then::Keep } else { Then::Close };
                return;
            }
        };
        let is_whole = client.borrow().is_watched;
        let keeps_alive = is_whole
            && problem.kind().status >= 500
            && self.request.options.keeps_alive
            && self.watched.is_serving();
        {
            let mut client = client.borrow_mut();
            let is_http_10 = self.request.is_http_10();
            let form = ProblemForm { keeps_alive, is_http_10, is_head };
            put_problem(&mut client.output, &response, &self.trace, added, form);
        }
        self.then = if keeps_alive { Then::Keep } else { Then::Linger };
        if !self.drain(client).await {
            self.then = Then::Close;
        }
    }

    /// Writes what is to be sent to the client; false if it left or does not read.
    async fn drain(&self, client: &RefCell<Downstream>) -> bool {
        let mut deadline = None;
        poll_fn(|cx| {
            let mut client = client.borrow_mut();
            match client.poll_drain(cx) {
                Poll::Ready(written) => Poll::Ready(written.is_ok()),
                Poll::Pending => {
                    let deadline =
                        *deadline.get_or_insert_with(|| Instant::now() + self.rules.limits.body_idle);
                    if client.timer.poll_due(cx, deadline) { Poll::Ready(false) } else { Poll::Pending }
                }
            }
        })
        .await
    }

    /// Tells whether part of a streamed body was read, and cannot be read once more.
    pub(super) fn has_lost_upload(&self) -> bool {
        self.upload_begun.get() && !self.side.can_rewind()
    }

    /// Goes back to the beginning of a streamed body; false if that is not there any more.
    pub(super) fn rewind_upload(&self) -> bool {
        let is_rewound = self.side.rewind();
        if is_rewound {
            self.upload_begun.set(false);
            self.received.set(self.request.in_hand().len() as u64);
        }
        is_rewound
    }

    /// Notes how an upload went on since it had read `before` bytes.
    pub(super) fn note_upload(&self, upload: &Upload, before: u64) {
        let Some(progress) = &self.upload else { return };
        let moved = upload.read() - before;
        if moved > 0 {
            self.upload_begun.set(true);
            self.received.set(self.received.get() + moved);
            progress.note_moved();
        } else if upload.is_done() {
            progress.note_moved();
        }
        if upload.awaits_client() {
            progress.note_waiting();
        }
    }

    /// Tells whether the client has had the whole answer.
    pub(super) fn is_whole(&self) -> bool {
        self.then == Then::Keep
    }

    pub(super) fn into_rest(self) -> (Buffer, Then) {
        (self.request.into_rest(), self.then)
    }
}

/// Gives a problem as the last response on a connection of HTTP/1 that this lane does not serve.
pub(crate) fn last_answer(problem: &Problem) -> Vec<u8> {
    let trace = downstream::new_trace();
    let response = trace::within_now(trace, || problem.to_response());
    let mut output = Buffer::default();
    put_problem(&mut output, &response, &trace, &AddedFields::default(), ProblemForm::default());
    output.filled().to_vec()
}

/// How a problem is written, by what was asked and what becomes of the connection; by default as the last answer on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ProblemForm {
    pub(super) keeps_alive: bool,
    pub(super) is_http_10: bool,
    pub(super) is_head: bool,
}

/// Writes a problem as a response.
pub(super) fn put_problem(
    output: &mut Buffer,
    response: &http::Response<bytes::Bytes>,
    trace: &TraceContext,
    added: &AddedFields,
    form: ProblemForm,
) {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    output.put_all(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    for (name, value) in response.headers() {
        output.put_all(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    let length = response.body().len().to_string();
    output.put_all(&[b"content-length: ", length.as_bytes(), b"\r\n"]);
    rewrite::put_request_id(output, trace);
    output.put(added.lines());
    output.put(rewrite::head_end(form.keeps_alive, form.is_http_10));
    if !form.is_head {
        output.put(response.body());
    }
}
