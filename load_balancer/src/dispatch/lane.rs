//! What dispatching needs of a lane: how to send a request once, and what may be done with it after.

use proxy::ForwardError;

use crate::selection::Load;
use crate::view::View;

/// One lane's way to send a request to a backend and get the head of its answer.
pub(crate) trait Lane {
    /// An answer whose head is there.
    type Reply;

    /// Sends the request to a backend; dropping the future breaks the exchange off.
    fn attempt(&self, view: &View, index: usize) -> impl Future<Output = Result<Self::Reply, ForwardError>>;

    /// Gives an answer's status.
    fn status(&self, reply: &Self::Reply) -> u16;

    /// Gives what the backend tells of itself in an answer.
    fn load(&self, reply: &Self::Reply) -> Option<Load>;

    /// Tells whether the request may be sent again although a backend may have acted on it: its method is
    /// idempotent (RFC 9110 §9.2.2) and all of it is in hand.
    fn is_repeatable(&self) -> bool;

    /// Tells whether all of the request is there, so that only the backend can be what is waited for.
    fn is_whole(&self) -> bool;

    /// Tells whether an attempt has sent the request a second time by itself, because a kept connection had been
    /// closed.
    fn was_resent(&self) -> bool;

    /// Tells whether the request may be sent again after an attempt failed so.
    fn can_repeat(&self, error: &ForwardError) -> bool {
        error.is_unsent() || (error.is_broken() && self.is_repeatable())
    }

    /// Gives the part of an attempt's time that was the backend's, without what the client took over its
    /// upload; `None` when nobody can tell whose time it was.
    fn latency_ns(&self, took_ns: u64) -> Option<u64>;
}

/// What a request asks of the choice.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// The hash of what the policy hashes.
    pub(crate) key: Option<u64>,
    /// The backend its sticky cookie names.
    pub(crate) sticky: Option<usize>,
}
