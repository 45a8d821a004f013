//! Whether to ask the cache at all: after some failures in a row, one caller tries now and then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Failures in a row that close the gate: one slow answer is no outage.
const FAILURES_TO_CLOSE: u32 = 3;

/// How long the gate stays closed at first and at most; doubled each time a trial fails. The most a
/// restarted cache is missed by.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The gate; 0 in `closed_until_ms` is open.
#[derive(Debug, Default)]
pub(super) struct Gate {
    failures: AtomicU32,
    closed_until_ms: AtomicU64,
}

impl Gate {
    /// Tells whether the caller may ask; of those who come after a pause, one may.
    pub(super) fn lets_pass(&self, now_ms: u64) -> bool {
        let until_ms = self.closed_until_ms.load(Relaxed);
        if until_ms == 0 {
            return true;
        }
        // The trial closes it for the next: should the caller give up, another one may after a pause.
        let next_ms = now_ms + self.pause_ms();
        now_ms >= until_ms
            && self.closed_until_ms.compare_exchange(until_ms, next_ms, Relaxed, Relaxed).is_ok()
    }

    /// Notes an answer; tells whether the gate was closed.
    pub(super) fn note_success(&self) -> bool {
        if self.failures.load(Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Relaxed);
        self.closed_until_ms.swap(0, Relaxed) != 0
    }

    /// Notes that no answer came; tells whether that closed a gate that was open.
    pub(super) fn note_failure(&self, now_ms: u64) -> bool {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        failures >= FAILURES_TO_CLOSE
            && self.closed_until_ms.swap((now_ms + self.pause_ms()).max(1), Relaxed) == 0
    }

    /// Counts the failures since the last answer.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    fn pause_ms(&self) -> u64 {
        let doublings = self.failures.load(Relaxed).saturating_sub(FAILURES_TO_CLOSE).min(10);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_failures_in_a_row_one_caller_a_pause_may_ask() {
        let gate = Gate::default();
        assert!(!gate.note_failure(1) && !gate.note_failure(1));
        assert!(gate.lets_pass(1));
        assert!(gate.note_failure(1));
        assert!(!gate.lets_pass(100));
        assert!(gate.lets_pass(101));
        assert!(!gate.lets_pass(101), "the trial is one caller's");
        assert!(!gate.note_failure(110), "it was closed before");
        assert!(!gate.lets_pass(309) && gate.lets_pass(310));
        assert!(gate.note_success());
        assert!(gate.lets_pass(310) && gate.lets_pass(310));
    }

    #[test]
    fn the_pause_grows_to_two_seconds_and_no_further() {
        let gate = Gate::default();
        for _ in 0..100 {
            gate.note_failure(0);
        }
        assert!(!gate.lets_pass(1999) && gate.lets_pass(2000));
    }

    #[test]
    fn an_answer_between_failures_keeps_the_gate_open() {
        let gate = Gate::default();
        for _ in 0..10 {
            gate.note_failure(1);
            gate.note_failure(1);
            assert!(!gate.note_success());
        }
        assert!(gate.lets_pass(1));
    }
}
