//! One request to one backend: out, and the head of the response back.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::exchange::Exchange;
use super::relay::Broken;
use super::request_head::BodyKind;
use super::response_head::{self, Malformed, ResponseHead};
use super::rewrite;
use super::upload::{self, Upload};
use super::upstream::{Link, Upstream};
use crate::{ForwardError, Timeouts};

/// How many interim responses one request may get; a hundred of them tell nothing. Together they may be as large as
/// one head: h2 keeps those a client has not taken yet.
const MAX_INTERIM: u32 = 64;

/// A backend's response whose head is there, not yet passed on. Dropping it closes the connection.
#[derive(Debug)]
pub struct Answer {
    pub(super) link: Box<Link>,
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
        self.head.spans.find(self.link.input.filled(), name)
    }
}

/// Why an attempt got no response.
struct Lost {
    error: ForwardError,
    /// Not a byte of a response had come, on a connection that had carried another before.
    is_stale: bool,
}

/// A request that was sent, or is being sent, and waits for its response.
struct Attempt<'a> {
    timeouts: &'a Timeouts,
    backend: SocketAddr,
    started: Instant,
    end: Option<Instant>,
    upload: Upload,
    interims: u32,
    interim_size: usize,
    write_error: Option<io::Error>,
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
        if self.upload_begun.get() {
            let reason = io::Error::other("the request's body has been sent elsewhere");
            return Err(ForwardError::Broken { backend, reason });
        }
        let started = Instant::now();
        let end = timeouts.total.map(|total| started + total);
        let mut kept = if self.wants_fresh.get() { None } else { upstream.check_out() };
        loop {
            let mut link = match kept.take() {
                Some(link) => link,
                // Boxed: it is rare, and would make the future of every request larger.
                None => Box::pin(upstream.connect(timeouts, self.client())).await?,
            };
            let request = self.request();
            let (client, trace) = (self.client(), self.trace());
            rewrite::put_request(&mut link.output, request, client, self.rules, &trace, upstream.host());
            let upload = Upload::new(request);
            let (interims, interim_size, write_error) = (0, 0, None);
            let mut attempt =
                Attempt { timeouts, backend, started, end, upload, interims, interim_size, write_error };
            match poll_fn(|cx| attempt.poll(cx, self, &mut link)).await {
                Ok(head) => {
                    let Attempt { upload, .. } = attempt;
                    return Ok(Answer { link, upstream: Rc::clone(upstream), head, upload, end });
                }
                Err(Lost { error, is_stale }) => {
                    let is_unsent = attempt.upload.written() == 0;
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
}

impl Attempt<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange<'_>,
        link: &mut Link,
    ) -> Poll<Result<ResponseHead, Lost>> {
        if let Err(error) = self.send(cx, exchange, link) {
            return Poll::Ready(Err(Lost { error, is_stale: false }));
        }
        match exchange.side.poll_taken(cx) {
            Poll::Ready(Ok(())) => match self.receive(cx, exchange, link) {
                Ok(None) => {}
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(lost) => return Poll::Ready(Err(lost)),
            },
            Poll::Ready(Err(reason)) => {
                return Poll::Ready(Err(Lost { error: ForwardError::Client { reason }, is_stale: false }));
            }
            // The client has not taken the interim responses yet; no more are read meanwhile.
            Poll::Pending => {}
        }
        let deadline = self.deadline(exchange);
        if exchange.side.poll_due(cx, deadline) {
            let error = self.run_out(exchange, deadline);
            return Poll::Ready(Err(Lost { error, is_stale: false }));
        }
        Poll::Pending
    }

    /// Sends what can be sent.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange<'_>,
        link: &mut Link,
    ) -> Result<(), ForwardError> {
        if !self.upload.is_going() {
            return Ok(());
        }
        let before = self.upload.read();
        let polled = exchange.side.poll_upload(cx, &mut self.upload, exchange.request(), link);
        exchange.note_upload(&self.upload, before);
        match polled {
            Poll::Ready(Err(Broken::Sink(reason))) => {
                // It may have answered before it closed.
                self.write_error = Some(reason);
                Ok(())
            }
            Poll::Ready(Err(broken)) => Err(ForwardError::Client { reason: upload::reason(broken) }),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Receives what has come; gives the head of the final response when it is whole.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange<'_>,
        link: &mut Link,
    ) -> Result<Option<ResponseHead>, Lost> {
        let limits = &exchange.rules.limits;
        let backend = self.backend;
        let malformed = |fault: Malformed| {
            let error = ForwardError::Malformed { backend, reason: fault.to_string() };
            Lost { error, is_stale: false }
        };
        loop {
            let before = link.input.len();
            if before > 0 {
                link.input.make_room(limits.head_size);
            }
            let count = match link.input.poll_fill(&mut link.stream, cx) {
                Poll::Pending => return Ok(None),
                Poll::Ready(Ok(0)) => return Err(self.lose(io::ErrorKind::UnexpectedEof.into(), link)),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(reason)) => return Err(self.lose(reason, link)),
            };
            let is_long = before + count >= limits.head_size;
            if !is_long && !link.input.filled()[before..].contains(&b'\n') {
                continue;
            }
            while !link.input.is_empty() {
                let parsed = response_head::parse(&link.input, exchange.request(), limits);
                let Some(head) = parsed.map_err(malformed)? else { break };
                if !head.is_interim() {
                    return Ok(Some(head));
                }
                self.interims += 1;
                self.interim_size += head.end;
                if self.interims > MAX_INTERIM || self.interim_size > limits.head_size {
                    return Err(malformed(Malformed::Interim));
                }
                if !exchange.request().is_http_10() {
                    exchange
                        .side
                        .put_interim(link.input.filled(), &head)
                        .map_err(|reason| Lost { error: ForwardError::Client { reason }, is_stale: false })?;
                }
                link.input.consume(head.end);
            }
            // At once, and whatever comes of it is seen when the task is polled again.
            if exchange.side.is_behind() && exchange.side.poll_taken(cx).is_pending() {
                return Ok(None);
            }
        }
    }

    fn lose(&mut self, reason: io::Error, link: &Link) -> Lost {
        let is_stale = link.is_reused && link.input.is_empty() && self.interims == 0;
        let reason = self.write_error.take().unwrap_or(reason);
        Lost { error: ForwardError::Broken { backend: self.backend, reason }, is_stale }
    }

    /// Gives until when something must have happened.
    fn deadline(&self, exchange: &Exchange<'_>) -> Instant {
        let moved = exchange.upload().map_or(self.started, |upload| upload.moved().max(self.started));
        let silence = if self.upload.awaits_client() && exchange.request().body() == BodyKind::Streamed {
            exchange.rules.limits.body_idle
        } else {
            self.timeouts.head
        };
        let deadline = moved + silence;
        self.end.map_or(deadline, |end| end.min(deadline))
    }

    /// Says whose silence it was.
    fn run_out(&self, exchange: &Exchange<'_>, deadline: Instant) -> ForwardError {
        let within = deadline.saturating_duration_since(self.started);
        let is_clients =
            exchange.upload().is_some_and(|upload| upload.has_spent(within, deadline, self.timeouts.head));
        if is_clients || exchange.side.is_behind() {
            ForwardError::ClientTimeout { within }
        } else {
            ForwardError::Timeout { backend: self.backend, within }
        }
    }
}
