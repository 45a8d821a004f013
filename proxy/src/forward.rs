//! One request to one backend: out, back, or the reason why not.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use process::Problem;
use process::problem::kinds;
use tokio::time::{Instant, timeout_at};

use crate::connect::is_exhaustion;
use crate::pool::{Connection, Sent};
use crate::proxy_protocol::Addresses;
use crate::{Body, Connector, Progress, Upstream, fields, upgrade};

/// When a client should try again if this process has no means for its request.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long each part of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Opening a connection.
    pub connect: Duration,
    /// The TLS handshake after that, if there is one.
    pub handshake: Duration,
    /// The silence before the head of the response; an upload that moves is no silence.
    pub head: Duration,
    /// The whole exchange, with both bodies, if it is limited.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let Connector { connect_timeout: connect, handshake_timeout: handshake } = Connector::default();
        Self { connect, handshake, head: Duration::from_secs(30), total: None }
    }
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection could be opened; nothing was sent.
    #[error("{backend}: cannot connect: {reason}")]
    Connect {
        /// The backend.
        backend: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The backend's name has no address; nothing was sent.
    #[error("{name}: the name has no address")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// This process has no means for another connection, such as a descriptor; nothing was sent, and nothing is
    /// known of the backend.
    #[error("{backend}: not tried: {reason}")]
    Exhausted {
        /// The backend.
        backend: SocketAddr,
        /// What there is no more of.
        reason: io::Error,
    },
    /// The backend said that it did not begin the request (HTTP/2 only).
    #[error("{backend}: the request was refused unprocessed: {reason}")]
    Refused {
        /// The backend.
        backend: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The connection broke; the request may have been acted on.
    #[error("{backend}: the connection broke before the response: {reason}")]
    Broken {
        /// The backend.
        backend: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The time was up; the request may have been acted on.
    #[error("{backend}: no response within {within:?}")]
    Timeout {
        /// The backend.
        backend: SocketAddr,
        /// The time it had.
        within: Duration,
    },
    /// The response cannot be passed on; the request was acted on.
    #[error("{backend}: the response is malformed: {reason}")]
    Malformed {
        /// The backend.
        backend: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// The client broke off its request's body, or made one that cannot be passed on; not the backend's fault.
    #[error("the client broke off the request: {reason}")]
    Client {
        /// Why.
        reason: io::Error,
    },
    /// The client fell silent in its request's body, which is not the backend's fault.
    #[error("the client did not send the rest of its request within {within:?}")]
    ClientTimeout {
        /// The time the exchange had.
        within: Duration,
    },
}

impl ForwardError {
    /// Says that no connection could be opened.
    pub(crate) fn unconnected(backend: SocketAddr, reason: io::Error) -> Self {
        if is_exhaustion(&reason) {
            Self::Exhausted { backend, reason }
        } else {
            Self::Connect { backend, reason }
        }
    }

    /// Says that a response cannot be passed on.
    pub(crate) fn malformed(backend: SocketAddr, fault: &impl ToString) -> Self {
        Self::Malformed { backend, reason: fault.to_string() }
    }

    /// Tells whether the client is to blame, so that nothing is known about the backend.
    pub fn is_clients_fault(&self) -> bool {
        matches!(self, Self::Client { .. } | Self::ClientTimeout { .. })
    }

    /// Tells whether it says something of the backend, and not only of the client or of this process.
    pub fn tells_of_backend(&self) -> bool {
        !self.is_clients_fault() && !matches!(self, Self::Exhausted { .. })
    }

    /// Tells whether the request was certainly not acted on, so that any method may be repeated.
    pub fn is_unsent(&self) -> bool {
        self.is_unreached() || matches!(self, Self::Refused { .. })
    }

    /// Tells whether no connection came about, so that the backend had no work with the request at all.
    pub fn is_unreached(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::NoAddress { .. } | Self::Exhausted { .. })
    }

    /// Tells whether an idempotent request may be repeated elsewhere.
    pub fn is_broken(&self) -> bool {
        self.is_unsent() || matches!(self, Self::Broken { .. })
    }

    /// Gives the problem it is answered with, which does not tell where the backend is.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Connect { .. } | Self::NoAddress { .. } => {
                Problem::new(kinds::BAD_GATEWAY).detail("the backend cannot be reached")
            }
            Self::Exhausted { .. } => Problem::new(kinds::OVERLOADED).retry_after(RETRY_AFTER),
            Self::Refused { .. } => {
                Problem::new(kinds::BAD_GATEWAY).detail("the backend refused to begin the request")
            }
            Self::Broken { .. } => Problem::new(kinds::BAD_GATEWAY)
                .detail("the backend broke the connection off before it answered"),
            Self::Malformed { .. } => {
                Problem::new(kinds::BAD_GATEWAY).detail("the backend's answer is malformed")
            }
            Self::Timeout { .. } => Problem::new(kinds::TIMEOUT),
            // Nothing of the kind happens to a body.
            Self::Client { reason } if reason.kind() == io::ErrorKind::InvalidInput => {
                Problem::new(kinds::MALFORMED_REQUEST).detail(reason.to_string())
            }
            Self::Client { .. } => {
                Problem::new(kinds::MALFORMED_REQUEST).detail("the request's body broke off")
            }
            Self::ClientTimeout { .. } => {
                Problem::new(kinds::REQUEST_TIMEOUT).detail("the rest of the request's body did not come")
            }
        }
    }
}

/// A request that failed, with itself if nothing of it was sent.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// Why.
    #[source]
    pub error: ForwardError,
    /// The request, unchanged, if it can be sent elsewhere as it is.
    pub request: Option<Box<Request<Body>>>,
}

impl Failure {
    /// Gives back a request of which nothing was sent, with what [`take_upgrade`] took of it.
    fn unsent(error: ForwardError, mut request: Request<Body>, upgrading: Option<OnUpgrade>) -> Self {
        if let Some(ours) = upgrading {
            request.extensions_mut().insert(ours);
        }
        Self { error, request: Some(Box::new(request)) }
    }

    fn sent(error: ForwardError) -> Self {
        Self { error, request: None }
    }
}

impl Upstream {
    /// Sends a prepared request ([`fields::prepare_request`]) and gives the response, ready for the client,
    /// as soon as its head is there.
    ///
    /// A kept connection that turns out to be closed is replaced without a word. Dropping the future
    /// abandons the exchange and closes its connection.
    pub async fn forward(
        &self,
        request: Request<Body>,
        timeouts: &Timeouts,
    ) -> Result<Response<Body>, Failure> {
        self.forward_for(None, request, timeouts).await
    }

    /// As [`Upstream::forward`], for a client that the target may want to be told by a PROXY header.
    pub async fn forward_for(
        &self,
        client: Option<Addresses>,
        mut request: Request<Body>,
        timeouts: &Timeouts,
    ) -> Result<Response<Body>, Failure> {
        if !request.headers().contains_key(header::HOST) {
            request.headers_mut().insert(header::HOST, self.host().clone());
        }
        let upgrading = take_upgrade(&mut request);
        let started = Instant::now();
        let end = timeouts.total.map(|total| started + total);
        let upload = request.body_mut().watch();
        loop {
            let (mut connection, is_kept) = match self.take_connection(timeouts, client).await {
                Ok(taken) => taken,
                Err(error) => return Err(Failure::unsent(error, request, upgrading)),
            };
            let sending = connection.send(request);
            let wait = Wait { upstream: self, timeouts, started, end, upload: upload.as_ref() };
            let mut response = match wait.for_head(sending).await? {
                Ok(response) => response,
                Err(mut failed) => match failed.take_message() {
                    // Only a kept one may have been closed meanwhile; a backend that closes what it has just
                    // accepted would be asked for ever.
                    Some(unsent) if is_kept => {
                        request = unsent;
                        continue;
                    }
                    Some(unsent) => {
                        let (backend, reason) = (self.address(), io::Error::other(failed.into_error()));
                        let error = ForwardError::Connect { backend, reason };
                        return Err(Failure::unsent(error, unsent, upgrading));
                    }
                    None => {
                        let error = self.classify(failed.into_error());
                        if is_kept && matches!(error, ForwardError::Broken { .. }) {
                            // Whatever closed it may have closed all of them; each would cost a repeat.
                            self.forget_kept();
                        }
                        return Err(Failure::sent(error));
                    }
                },
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let theirs = hyper::upgrade::on(&mut response);
                connection.drive_apart(self.address());
                match upgrading {
                    Some(ours) => upgrade::bridge(ours, theirs),
                    None => return Err(self.malformed("it changes to a protocol that was not asked for")),
                }
            } else {
                self.check_in(connection);
            }
            if !fields::prepare_response(&mut response) {
                return Err(self.malformed("its body is in a transfer coding other than chunked"));
            }
            let response = response.map(Body::from);
            return Ok(match end {
                None => response,
                Some(end) => response.map(|body| body.end_by(end)),
            });
        }
    }

    /// Takes a connection that was kept, or opens one; tells whether it was kept.
    async fn take_connection(
        &self,
        timeouts: &Timeouts,
        client: Option<Addresses>,
    ) -> Result<(Connection, bool), ForwardError> {
        if let Some(kept) = self.check_out() {
            return Ok((kept, true));
        }
        // Boxed: it is rare, and would make the future of every request larger.
        Box::pin(self.connect(timeouts, client)).await.map(|opened| (opened, false))
    }

    fn malformed(&self, reason: &str) -> Failure {
        Failure::sent(ForwardError::Malformed { backend: self.address(), reason: reason.to_owned() })
    }

    fn classify(&self, reason: hyper::Error) -> ForwardError {
        if reason.is_user() {
            return ForwardError::Client { reason: io::Error::other(reason) };
        }
        if reason.is_parse() {
            return ForwardError::Malformed { backend: self.address(), reason: reason.to_string() };
        }
        ForwardError::Broken { backend: self.address(), reason: io::Error::other(reason) }
    }
}

/// Takes the client's side of the change of protocol that a request asks for, if it does.
fn take_upgrade(request: &mut Request<Body>) -> Option<OnUpgrade> {
    let asks = request.headers().contains_key(header::UPGRADE);
    asks.then(|| request.extensions_mut().remove::<OnUpgrade>()).flatten()
}

/// How long the head of a response is waited for.
struct Wait<'a> {
    upstream: &'a Upstream,
    timeouts: &'a Timeouts,
    started: Instant,
    end: Option<Instant>,
    upload: Option<&'a Progress>,
}

impl Wait<'_> {
    async fn for_head(&self, sending: impl Future<Output = Sent>) -> Result<Sent, Failure> {
        let mut sending = pin!(sending);
        let mut deadline = self.deadline_after(self.started);
        loop {
            if let Ok(sent) = timeout_at(deadline, sending.as_mut()).await {
                return Ok(sent);
            }
            let moved = self.upload.map_or(self.started, Progress::moved);
            let next = self.deadline_after(moved);
            if next <= deadline {
                return Err(Failure::sent(self.run_out(deadline)));
            }
            deadline = next;
        }
    }

    /// Says whose silence it was.
    fn run_out(&self, deadline: Instant) -> ForwardError {
        let within = deadline - self.started;
        let spent = |upload: &Progress| upload.has_spent(within, deadline, self.timeouts.head);
        if self.upload.is_some_and(spent) {
            ForwardError::ClientTimeout { within }
        } else {
            ForwardError::Timeout { backend: self.upstream.address(), within }
        }
    }

    fn deadline_after(&self, moved: Instant) -> Instant {
        let head = moved + self.timeouts.head;
        self.end.map_or(head, |end| end.min(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_back_can_still_change_its_protocol() {
        let mut request = Request::get("/").header(header::UPGRADE, "websocket").body(Body::empty()).unwrap();
        let ours = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(ours);
        let upgrading = take_upgrade(&mut request);
        assert!(upgrading.is_some() && request.extensions().get::<OnUpgrade>().is_none());
        let error = ForwardError::NoAddress { name: "a".to_owned() };
        let unsent = Failure::unsent(error, request, upgrading).request.unwrap();
        assert!(unsent.extensions().get::<OnUpgrade>().is_some());
    }
}
