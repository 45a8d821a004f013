//! How long a failed job waits: exponential, bounded, with full jitter.
//!
//! Full jitter (a time drawn from zero to the ceiling) spreads the repeats of many jobs that failed
//! together; see Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use crate::time;

/// The rule of waiting between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The ceiling after the first attempt; it doubles with every further one.
    pub(crate) base: Duration,
    /// The ceiling that is never exceeded.
    pub(crate) limit: Duration,
}

impl Backoff {
    /// Decides when a job may run again whose attempt number `attempt` (from 1) failed at `now`.
    pub(crate) fn next_run(&self, attempt: u32, now: Timestamp, rng: &mut impl Rng) -> Timestamp {
        let ceiling = self.ceiling(attempt);
        time::later(now, rng.random_range(Duration::ZERO..=ceiling))
    }

    fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const RULE: Backoff = Backoff { base: Duration::from_secs(1), limit: Duration::from_secs(60) };

    #[test]
    fn the_ceiling_doubles_up_to_the_limit() {
        let ceilings: Vec<u64> = (1..=8).map(|attempt| RULE.ceiling(attempt).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(RULE.ceiling(u32::MAX), RULE.limit);
    }

    #[test]
    fn repeats_of_jobs_that_failed_together_are_spread() {
        let mut rng = StdRng::seed_from_u64(6);
        let now = time::now();
        let mut runs: Vec<Timestamp> = (0..1000).map(|_| RULE.next_run(7, now, &mut rng)).collect();
        runs.sort_unstable();
        let first_half = time::until(now, runs[500]);
        assert!(
            first_half > Duration::from_secs(25) && first_half < Duration::from_secs(35),
            "{first_half:?}"
        );
    }

    proptest! {
        #[test]
        fn a_job_never_waits_longer_than_the_limit(attempt: u32, seed: u64) {
            let now = time::now();
            let next = RULE.next_run(attempt, now, &mut StdRng::seed_from_u64(seed));
            prop_assert!(next >= now && time::until(now, next) <= RULE.limit);
        }
    }
}
