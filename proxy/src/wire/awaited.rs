//! A request on its way to a backend, until the head of the response is there.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::attempt::Answer;
use super::body::relay::Broken;
use super::body::upload::{self, Upload};
use super::buffer::Buffer;
use super::carrier::Carrier;
use super::exchange::Exchange;
use super::head::request_head::BodyKind;
use super::head::response_head::{self, Malformed, ResponseHead};
use super::multiplex::{Call, Fault};
use super::upstream::{Link, Upstream};
use crate::{ForwardError, Timeouts};

/// How many interim responses one request may get; a hundred of them tell nothing. Together they may be as large as
/// one head: h2 keeps those a client has not taken yet.
const MAX_INTERIM: u32 = 64;

/// Why an attempt got no response.
pub(super) struct Lost {
    pub(super) error: ForwardError,
    /// Not a byte of a response had come, on a connection that had carried another before.
    pub(super) is_stale: bool,
}

/// A request that was sent, or is being sent, and waits for its response.
pub(super) struct Awaited<'a> {
    timeouts: &'a Timeouts,
    backend: SocketAddr,
    started: Instant,
    end: Option<Instant>,
    pub(super) upload: Upload,
    interims: u32,
    interim_size: usize,
    write_error: Option<io::Error>,
}

impl<'a> Awaited<'a> {
    pub(super) fn new(timeouts: &'a Timeouts, backend: SocketAddr, started: Instant, upload: Upload) -> Self {
        let end = timeouts.total.map(|total| started + total);
        Self { timeouts, backend, started, end, upload, interims: 0, interim_size: 0, write_error: None }
    }

    pub(super) fn into_answer(self, carrier: Carrier, upstream: &Rc<Upstream>, head: ResponseHead) -> Answer {
        Answer { carrier, upstream: Rc::clone(upstream), head, upload: self.upload, end: self.end }
    }

    /// Sends and receives what can be; ready with the head of the final response.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange<'_>,
        carrier: &mut Carrier,
    ) -> Poll<Result<ResponseHead, Lost>> {
        let lost = |error| Lost { error, is_stale: false };
        if let Err(error) = self.send(cx, exchange, carrier) {
            return Poll::Ready(Err(lost(error)));
        }
        let taken = exchange.side.poll_taken(cx);
        if let Poll::Ready(Err(reason)) = taken {
            return Poll::Ready(Err(lost(ForwardError::Client { reason })));
        }
        let received = match carrier {
            // The client has not taken the interim responses yet; no more are read meanwhile.
            Carrier::Link(_) if taken.is_pending() => Ok(None),
            Carrier::Link(link) => self.receive(cx, exchange, link),
            // What is not read h2 keeps, and a backend is granted as many heads as it likes to send.
            Carrier::Call(call) => self.receive_message(cx, exchange, call).map_err(lost),
        };
        match received {
            Ok(None) => {}
            Ok(Some(head)) => return Poll::Ready(Ok(head)),
            Err(lost) => return Poll::Ready(Err(lost)),
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
        carrier: &mut Carrier,
    ) -> Result<(), ForwardError> {
        if !self.upload.is_going() {
            return Ok(());
        }
        let before = self.upload.read();
        let polled = exchange.side.poll_upload(cx, &mut self.upload, exchange.request(), carrier);
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
        let malformed = |fault| Lost { error: ForwardError::malformed(backend, &fault), is_stale: false };
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
                self.pass_interim(exchange, &mut link.input, &head)
                    .map_err(|error| Lost { error, is_stale: false })?;
            }
            // At once, and whatever comes of it is seen when the task is polled again.
            if exchange.side.is_behind() && exchange.side.poll_taken(cx).is_pending() {
                return Ok(None);
            }
        }
    }

    /// Receives what has come in messages; gives the head of the final response.
    fn receive_message(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange<'_>,
        call: &mut Call,
    ) -> Result<Option<ResponseHead>, ForwardError> {
        let backend = self.backend;
        loop {
            match call.poll_head(cx, exchange.request(), &exchange.rules.limits) {
                Poll::Pending => {
                    // At once: the task may not be polled again before the final response.
                    return match exchange.side.poll_taken(cx) {
                        Poll::Ready(Err(reason)) => Err(ForwardError::Client { reason }),
                        _ => Ok(None),
                    };
                }
                Poll::Ready(Ok(head)) if !head.is_interim() => return Ok(Some(head)),
                Poll::Ready(Ok(head)) => self.pass_interim(exchange, &mut call.input, &head)?,
                Poll::Ready(Err(Fault::Malformed(fault))) => {
                    return Err(ForwardError::malformed(backend, &fault));
                }
                // Whoever would be sent it next would not get all that was read of its body.
                Poll::Ready(Err(Fault::Unprocessed(reason))) if exchange.has_lost_upload() => {
                    return Err(ForwardError::Broken { backend, reason });
                }
                Poll::Ready(Err(Fault::Unprocessed(reason))) => {
                    return Err(ForwardError::Refused { backend, reason });
                }
                Poll::Ready(Err(Fault::Broken(reason))) => {
                    return Err(ForwardError::Broken { backend, reason });
                }
            }
        }
    }

    /// Passes an interim response on to the client.
    fn pass_interim(
        &mut self,
        exchange: &Exchange<'_>,
        input: &mut Buffer,
        head: &ResponseHead,
    ) -> Result<(), ForwardError> {
        self.interims += 1;
        self.interim_size += head.end;
        if self.interims > MAX_INTERIM || self.interim_size > exchange.rules.limits.head_size {
            return Err(ForwardError::malformed(self.backend, &Malformed::Interim));
        }
        if !exchange.request().is_http_10() {
            let put = exchange.side.put_interim(input.filled(), head);
            put.map_err(|reason| ForwardError::Client { reason })?;
        }
        input.consume(head.end);
        Ok(())
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
