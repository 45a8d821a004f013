//! One request to one backend: out, and the head of the response back.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;

use tokio::time::Instant;

use super::awaited::{Awaited, Lost};
use super::body::upload::Upload;
use super::carrier::Carrier;
use super::exchange::Exchange;
use super::head::request_head::BodyKind;
use super::head::response_head::ResponseHead;
use super::head::rewrite;
use super::multiplex::{self, Call};
use super::upstream::Upstream;
use crate::connect::Protocol;
use crate::{ForwardError, Timeouts};

/// A backend's response whose head is there, not yet passed on. Dropping it closes the connection, or cancels
/// the stream.
#[derive(Debug)]
pub struct Answer {
    pub(super) carrier: Carrier,
    pub(super) upstream: Rc<Upstream>,
    pub(super) head: ResponseHead,
    pub(super) upload: Upload,
    /// When all of the response must be there.
    pub(super) end: Option<Instant>,
}

impl Answer {
    /// Gives the status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Gives the first value of a field; the name in lower case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.head.spans.find(self.carrier.input().filled(), name)
    }
}

impl Exchange<'_> {
    /// Sends the request to a backend and waits for the head of the final response; interim ones (1xx) go to
    /// the client at once.
    ///
    /// A kept connection that turns out to be closed is replaced without a word if the request may be
    /// repeated, once: whatever closed it may have closed all that were kept, so from then on the request goes
    /// over fresh ones only. Two attempts may be raced if the request is replayable; dropping the future closes its
    /// connection. After an error that [`ForwardError::is_unsent`] any request may be tried elsewhere.
    pub async fn attempt(
        &self,
        upstream: &Rc<Upstream>,
        timeouts: &Timeouts,
    ) -> Result<Answer, ForwardError> {
        let backend = upstream.address();
        if self.upload_begun.get() && !self.rewind_upload() {
            let reason = io::Error::other("the request's body has been sent elsewhere");
            return Err(ForwardError::Broken { backend, reason });
        }
        if upstream.target().protocol == Protocol::Http2 {
            // Boxed: it would make the future of every request larger.
            return Box::pin(self.attempt_call(upstream, timeouts)).await;
        }
        let mut kept = if self.wants_fresh.get() { None } else { upstream.check_out() };
        let (started, request) = (Instant::now(), self.request());
        loop {
            let mut link = match kept.take() {
                Some(link) => link,
                // Boxed: it is rare, and would make the future of every request larger.
                None => Box::pin(upstream.connect(timeouts, self.client())).await?,
            };
            let (client, trace) = (self.client(), self.trace());
            rewrite::put_request(&mut link.output, request, client, self.rules, &trace, upstream.host());
            let mut carrier = Carrier::Link(link);
            let mut awaited = Awaited::new(timeouts, backend, started, Upload::to_link(request));
            match poll_fn(|cx| awaited.poll(cx, self, &mut carrier)).await {
                Ok(head) => return Ok(awaited.into_answer(carrier, upstream, head)),
                Err(Lost { error, is_stale }) => {
                    let is_unsent = awaited.upload.written() == 0;
                    if matches!(error, ForwardError::Broken { .. }) {
                        self.wants_fresh.set(true);
                    }
                    let may_repeat = is_unsent || (request.is_idempotent() && self.is_replayable());
                    if is_stale && may_repeat {
                        self.was_resent.set(!is_unsent);
                        continue;
                    }
                    return Err(match error {
                        ForwardError::Broken { backend, reason } if is_unsent => {
                            ForwardError::Connect { backend, reason }
                        }
                        error => error,
                    });
                }
            }
        }
    }

    /// As [`Exchange::attempt`], to a backend of HTTP/2.
    async fn attempt_call(
        &self,
        upstream: &Rc<Upstream>,
        timeouts: &Timeouts,
    ) -> Result<Answer, ForwardError> {
        let (backend, started, request) = (upstream.address(), Instant::now(), self.request());
        let (client, trace) = (self.client(), self.trace());
        let mut is_second = false;
        let call = loop {
            let lease = upstream.lease(timeouts, client).await?;
            let message = multiplex::message(request, client, self.rules, &trace, upstream.target());
            let message = message.ok_or_else(|| ForwardError::Client { reason: unwritable() })?;
            match Call::begin(lease, message, request.body() == BodyKind::None) {
                Ok(call) => break call,
                // The backend has ended the connection; whoever ends each one would be asked for ever.
                Err(_) if !is_second => is_second = true,
                Err(reason) => return Err(ForwardError::Connect { backend, reason }),
            }
        };
        let mut carrier = Carrier::Call(Box::new(call));
        let mut awaited = Awaited::new(timeouts, backend, started, Upload::to_call(request));
        match poll_fn(|cx| awaited.poll(cx, self, &mut carrier)).await {
            Ok(head) => Ok(awaited.into_answer(carrier, upstream, head)),
            Err(Lost { error, .. }) => Err(error),
        }
    }
}

fn unwritable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the request's target cannot be written in HTTP/2")
}
