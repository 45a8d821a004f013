//! The message lane: hyper's requests and responses, for gateways.

use std::cell::RefCell;

use http::{Request, Response};
use proxy::{Body, Failure, ForwardError, Progress, Timeouts};

use super::copy::{Copy, Fields};
use crate::dispatch::Lane;
use crate::explain::EXPLAIN;
use crate::load::{LOAD_FIELD, parse_load};
use crate::selection::Load;
use crate::view::View;

/// One request as a message, and what is kept to send it again.
pub(crate) struct MessageLane<'a> {
    /// The request, while it is not on its way.
    request: RefCell<Option<Request<Body>>>,
    copy: Option<Copy>,
    upload: Option<Progress>,
    timeouts: &'a Timeouts,
}

impl<'a> MessageLane<'a> {
    /// Takes a prepared request; a copy is kept if it may be sent twice and `keeps_copy`.
    pub(crate) fn new(
        mut request: Request<Body>,
        timeouts: &'a Timeouts,
        keeps_copy: bool,
        spare: &RefCell<Fields>,
    ) -> Self {
        let copy = if keeps_copy { Copy::of(&request, spare) } else { None };
        let upload = request.body_mut().watch();
        Self { request: RefCell::new(Some(request)), copy, upload, timeouts }
    }

    /// Gives back what can be used for the next request.
    pub(crate) fn into_spare(self) -> Option<Fields> {
        self.copy.map(Copy::into_list)
    }
}

impl Lane for MessageLane<'_> {
    type Reply = Response<Body>;

    async fn attempt(&self, view: &View, index: usize) -> Result<Self::Reply, ForwardError> {
        let upstream = view.message_upstream(index)?;
        let taken = self.request.take().or_else(|| self.copy.as_ref().and_then(Copy::request));
        // Whoever tries again asks first whether that is possible.
        let Some(request) = taken else {
            let reason = std::io::Error::other("the request has been sent elsewhere");
            return Err(ForwardError::Broken { backend: upstream.address(), reason });
        };
        let sent = upstream.forward(request, self.timeouts).await;
        sent.map_err(|Failure { error, request }| {
            if let Some(unsent) = request {
                self.request.replace(Some(*unsent));
            }
            error
        })
        .map(|mut response| {
            // Ours is told, if at all; a backend's own would tell who is asked for nothing.
            response.headers_mut().remove(EXPLAIN);
            if let Some(load) = response.headers_mut().remove(LOAD_FIELD) {
                response.extensions_mut().insert(Told(parse_load(load.as_bytes())));
            }
            response
        })
    }

    fn status(&self, reply: &Self::Reply) -> u16 {
        reply.status().as_u16()
    }

    fn load(&self, reply: &Self::Reply) -> Option<Load> {
        reply.extensions().get::<Told>().and_then(|told| told.0)
    }

    fn is_repeatable(&self) -> bool {
        self.copy.is_some()
    }

    fn is_whole(&self) -> bool {
        self.upload.is_none()
    }

    fn was_resent(&self) -> bool {
        // What hyper gives back was not sent.
        false
    }

    fn latency_ns(&self, took_ns: u64) -> Option<u64> {
        latency_ns(took_ns, self.upload.as_ref())
    }
}

/// What a backend told of itself in a response that is on its way.
#[derive(Debug, Clone, Copy)]
struct Told(Option<Load>);

/// Gives the part of the time that was the backend's, without what the client took over its upload; `None`
/// when the client is still to send more, because then nobody can tell whose time it was.
pub(super) fn latency_ns(took_ns: u64, upload: Option<&Progress>) -> Option<u64> {
    let Some(upload) = upload else { return Some(took_ns) };
    let waited_ns = u64::try_from(upload.waited().as_nanos()).unwrap_or(u64::MAX);
    (!upload.is_awaited()).then(|| took_ns.saturating_sub(waited_ns))
}
