//! The wire lane: the balancer's own requests, in bytes.

use proxy::wire::{Answer, Exchange};
use proxy::{ForwardError, Timeouts};

use super::message::latency_ns;
use crate::dispatch::Lane;
use crate::load::{LOAD_FIELD, parse_load};
use crate::selection::Load;
use crate::view::View;

/// One request in bytes.
pub(crate) struct WireLane<'a, 'c> {
    exchange: &'a Exchange<'c>,
    timeouts: &'a Timeouts,
    is_repeatable: bool,
}

impl<'a, 'c> WireLane<'a, 'c> {
    pub(crate) fn new(exchange: &'a Exchange<'c>, timeouts: &'a Timeouts) -> Self {
        let request = exchange.request();
        // A change of protocol begins a conversation, which may not be held twice.
        let is_repeatable =
            exchange.is_replayable() && request.is_idempotent() && request.field(b"upgrade").is_none();
        Self { exchange, timeouts, is_repeatable }
    }
}

impl Lane for WireLane<'_, '_> {
    type Reply = Answer;

    async fn attempt(&self, view: &View, index: usize) -> Result<Answer, ForwardError> {
        let upstream = view.wire_upstream(index)?;
        self.exchange.attempt(&upstream, self.timeouts).await
    }

    fn status(&self, reply: &Answer) -> u16 {
        reply.status()
    }

    fn load(&self, reply: &Answer) -> Option<Load> {
        reply.field(LOAD_FIELD.as_str().as_bytes()).and_then(parse_load)
    }

    fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    fn is_whole(&self) -> bool {
        self.exchange.is_replayable()
    }

    fn was_resent(&self) -> bool {
        self.exchange.was_resent()
    }

    fn latency_ns(&self, took_ns: u64) -> Option<u64> {
        latency_ns(took_ns, self.exchange.upload())
    }
}
