//! The wire lane: requests in bytes, between clients and backends that speak HTTP/1 or HTTP/2 ([`http2`],
//! [`multiplex`]).
//!
//! Most requests are HTTP/1 on both sides, and for them a header map is a detour: here the head is checked
//! where it was received, and what may pass is copied as it stands, with the fields that end here left out and
//! ours added. A [`server::Handler`](crate::server::Handler) of this lane hands each connection to [`serve`],
//! which reads one request after another and gives each to [`Handler::serve`] as an [`Exchange`]: the handler
//! picks an [`Upstream`], calls [`Exchange::attempt`], looks at the [`Answer`], and passes it on with
//! [`Exchange::respond`] or refuses.

mod attempt;
mod awaited;
mod body;
mod buffer;
mod carrier;
mod downstream;
mod exchange;
mod head;
mod http2;
mod linger;
mod multiplex;
mod ping;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod refused_tests;
#[cfg(any(test, feature = "fuzzing"))]
pub mod rehearsal;
mod respond;
mod side;
mod timer;
mod tunnel;
mod upstream;

use std::rc::Rc;
use std::time::Duration;

use process::TraceContext;
use process::problem::Problem;

use crate::Client;
use crate::fields::{MOST_FIELDS, TrustedProxies};

use buffer::Buffer;

pub use attempt::Answer;
pub use downstream::serve;
pub use exchange::Exchange;
pub(crate) use exchange::last_answer;
pub use head::added::AddedFields;
pub(crate) use head::refusal::SLOW_HEAD;
pub use head::request_head::{BodyKind, Request};
pub(crate) use http2::Settings as Http2Settings;
pub use respond::Ending;
pub use upstream::{Pool, Upstream};

/// What answers requests on the wire; each thread has its own.
pub trait Handler: 'static {
    /// Answers one request, by [`Exchange::respond`] or [`Exchange::refuse`]; a request left unanswered ends
    /// its connection.
    ///
    /// The future is dropped when the client goes away.
    fn serve(&self, exchange: &mut Exchange<'_>) -> impl Future<Output = ()>;

    /// Gives what clients are held to; asked for each request.
    fn rules(&self) -> Rc<Rules>;

    /// Notes a request that was refused before it became an exchange, because it is malformed.
    fn note_refusal(&self, refused: &Refused<'_>) {
        let _ = refused;
    }
}

/// A request that was refused before it became an exchange.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Who sent it.
    pub client: &'a Client,
    /// `HTTP/1.1` or `HTTP/2`: whichever the connection speaks.
    pub protocol: &'static str,
    /// What it is answered with.
    pub problem: &'a Problem,
    /// What is wrong with it.
    pub reason: &'a str,
    /// The trace the answer names.
    pub trace: TraceContext,
}

/// What holds for every request of the lane.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What clients may send.
    pub limits: Limits,
    /// Whose account of who asked is believed and extended.
    pub trusted: TrustedProxies,
    /// Whether `Forwarded` (RFC 7239) is written beside `X-Forwarded-*`.
    pub writes_forwarded: bool,
}

/// What clients may send, and how long either side may be silent in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of a head in bytes, of a request or a response.
    pub head_size: usize,
    /// The number of fields in a head.
    pub fields: usize,
    /// The size of a request's target in bytes.
    pub target_size: usize,
    /// How long a body may stand still, in either direction; a tunnel, once one side has closed.
    pub body_idle: Duration,
    /// How long a tunnel may carry nothing, if that is limited.
    pub tunnel_idle: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_size: 64 << 10,
            fields: MOST_FIELDS,
            // RFC 9112 §3 wants at least 8,000.
            target_size: 16 << 10,
            body_idle: Duration::from_secs(60),
            tunnel_idle: None,
        }
    }
}
