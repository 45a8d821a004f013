//! What a write that the storage failed is answered, and how often that is said in the log.

use std::time::{Duration, Instant};

use crate::Error;

/// How often failures are said at most; a full disk fails every write there is.
const SAY_INTERVAL: Duration = Duration::from_secs(1);

/// What callers are told; the log says how.
const NOT_DONE: &str = "the write failed and nothing of it was done";

/// Says that nothing was done.
pub(super) fn not_done() -> Error {
    Error::Unavailable { reason: NOT_DONE.into() }
}

/// When failures were last said, and how many were not since.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    said: Option<Instant>,
    unsaid: u64,
}

impl FailureLog {
    /// Says in the log that a write of so many callers failed, unless another was just said.
    pub(super) fn say(&mut self, reason: &str, callers: usize) {
        match self.note(Instant::now()) {
            Some(unsaid) => {
                tracing::error!(
                    reason,
                    callers,
                    failures_before = unsaid,
                    "a write failed; nothing of it is promised"
                );
            }
            None => tracing::debug!(reason, callers, "a write failed; nothing of it is promised"),
        }
    }

    /// Notes a failure; gives how many went unsaid before it if this one is to be said.
    fn note(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.duration_since(said) < SAY_INTERVAL) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_said_once_a_second_and_the_others_are_counted() {
        let (mut log, start) = (FailureLog::default(), Instant::now());
        assert_eq!(log.note(start), Some(0));
        assert_eq!(log.note(start + SAY_INTERVAL / 2), None);
        assert_eq!(log.note(start + SAY_INTERVAL / 2), None);
        assert_eq!(log.note(start + SAY_INTERVAL), Some(2));
        assert_eq!(log.note(start + SAY_INTERVAL * 2), Some(0));
    }
}
