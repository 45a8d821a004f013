//! What is counted for a cluster as a whole.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::queue::Overloaded;

/// Counts since the start. They are added to where it happens, which is rare.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests sent to another backend after one failed.
    pub retries: AtomicU64,
    /// Requests sent to a second backend because the first was slow.
    pub hedges: AtomicU64,
    /// Hedges that were answered first.
    pub hedges_won: AtomicU64,
    /// Ejections, in the order of [`Reason::ALL`](crate::ejection::Reason::ALL).
    pub ejections: [AtomicU64; 5],
    /// Requests refused: by the total limit, by a full queue, after waiting.
    pub shed: [AtomicU64; 3],
}

impl Counters {
    /// Counts a request that was refused.
    pub fn count_shed(&self, reason: Overloaded) {
        self.shed[reason as usize].fetch_add(1, Relaxed);
    }
}

impl Overloaded {
    /// All reasons, in the order they are counted.
    pub const ALL: [Self; 3] = [Self::TotalLimit, Self::QueueFull, Self::WaitedTooLong];

    /// Gives the word for figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TotalLimit => "total_limit",
            Self::QueueFull => "queue_full",
            Self::WaitedTooLong => "waited_too_long",
        }
    }
}
