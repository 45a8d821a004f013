//! What keeps requests from a backend, beside each other: probes, failures, orders.

use crate::ejection::{Phase, Record};
use crate::health::State;
use crate::limit::{self, Gradient};

/// What keeps requests from a backend. It changes rarely, and only under the cluster's lock.
#[derive(Debug)]
pub(crate) struct Condition {
    /// What probes say: unknown, up or down.
    pub(crate) health: State,
    /// What requests said.
    pub(crate) record: Record,
    /// Nobody listens at its address, or nothing whatever is answered: not even in a panic is it used.
    pub(crate) is_dead: bool,
    /// Nothing was answered for a while, and a probe is to tell.
    pub(crate) is_suspect: bool,
    /// A probe told that it is only slow; it is not suspected again before it answers something.
    pub(crate) is_cleared: bool,
    /// Suspected, and the probe was bad.
    pub(crate) is_stalled: bool,
    /// It belongs to the cluster no longer.
    pub(crate) is_removed: bool,
    pub(crate) weight: f64,
    pub(crate) drain: bool,
    /// It stands by while a backend of a lesser rank is well.
    pub(crate) rank: u16,
    /// Whether it had its full share when that was last decided.
    pub(crate) was_full: bool,
    pub(crate) since_ns: u64,
    pub(crate) limit: Gradient,
    pub(crate) quiet: Quiet,
    pub(crate) ejections: [u64; 5],
    /// The median latency of the last seconds in nanoseconds, if there were enough answers.
    pub(crate) median_ns: Option<f64>,
}

/// For how long nothing was answered although something should have been.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quiet {
    pub(crate) answers: u64,
    pub(crate) begun: u64,
    pub(crate) since_ns: u64,
    /// The start of the window the limit is judged by.
    pub(crate) window_ns: u64,
    pub(crate) window_answers: u64,
    pub(crate) window_sum_ns: u64,
    /// Whether in it our own threads had more to do than they could.
    pub(crate) window_is_ours: bool,
}

impl Condition {
    pub(crate) fn new(limit: &limit::Config, now_ns: u64) -> Self {
        Self {
            health: State::Unknown,
            record: Record { since_ns: now_ns, ..Record::default() },
            is_dead: false,
            is_suspect: false,
            is_cleared: false,
            is_stalled: false,
            is_removed: false,
            weight: 1.0,
            drain: false,
            rank: 0,
            was_full: false,
            since_ns: now_ns,
            limit: Gradient::new(limit),
            quiet: Quiet { since_ns: now_ns, window_ns: now_ns, ..Quiet::default() },
            ejections: [0; 5],
            median_ns: None,
        }
    }

    /// Tells whether it should get requests, as far as orders go.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.is_removed && !self.drain && self.weight > 0.0
    }

    /// Tells whether nothing but what requests said keeps them from it.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_wanted() && self.health != State::Down && !self.is_dead
    }

    /// Tells whether it gets requests, apart from panics.
    pub(crate) fn is_normal(&self) -> bool {
        self.is_usable() && !self.is_suspect && !matches!(self.record.phase, Phase::Out { .. })
    }

    /// Tells whether it has its full share; a moment's suspicion does not count against it.
    pub(crate) fn is_full(&self) -> bool {
        self.is_usable() && self.record.phase == Phase::In
    }

    /// Gives where it stands, in one word.
    pub(crate) fn state(&self) -> State {
        match (self.drain || self.is_removed, self.record.phase, self.health) {
            (true, ..) => State::Draining,
            (_, Phase::Out { .. }, _) => State::Ejected,
            (_, _, State::Down) => State::Down,
            (_, Phase::Trial { .. }, _) => State::Trial,
            _ if self.is_suspect => State::Suspect,
            (_, _, health) => health,
        }
    }
}
