//! How long to wait before the next claim; pure, so that it is tested without time.

use std::time::Duration;

use rand::Rng;

/// The first pause after an error, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause after errors; how late a worker may notice that the database is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An empty answer sooner than this did not wait for jobs, so asking again at once would spin.
const HASTY: Duration = Duration::from_millis(100);

/// How long a claim waits for jobs at the database; the most [`database::JobCommand::Claim`] takes.
const CLAIM_WAIT: Duration = Duration::from_secs(20);

/// What a claim found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimFound {
    /// At least one job.
    Jobs,
    /// No job, after waiting this long.
    Nothing(Duration),
    /// The database did not answer.
    Error,
}

/// Long waits at the database while it answers; exponential pauses with jitter while it does not.
#[derive(Debug)]
pub(crate) struct Pace {
    faults: u32,
    /// Whether the database is known to answer; asked without waiting until it is, so that a worker is
    /// ready as soon as its database is, and not when the first long wait ends.
    answers: bool,
}

impl Pace {
    /// The pace of a worker that starts.
    pub(crate) fn new() -> Self {
        Self { faults: 0, answers: false }
    }

    /// Gives how long the next claim waits for jobs.
    pub(crate) fn claim_wait(&self) -> Duration {
        if self.answers { CLAIM_WAIT } else { Duration::ZERO }
    }

    /// Notes what a claim found and gives the pause before the next one.
    pub(crate) fn after(&mut self, found: ClaimFound, rng: &mut impl Rng) -> Duration {
        let is_fault = match found {
            ClaimFound::Jobs => false,
            ClaimFound::Nothing(waited) => self.answers && waited < HASTY,
            ClaimFound::Error => true,
        };
        self.faults = if is_fault { self.faults.saturating_add(1) } else { 0 };
        self.answers = found != ClaimFound::Error;
        match self.faults {
            0 => Duration::ZERO,
            faults => {
                let ceiling =
                    FIRST_PAUSE.saturating_mul(1 << faults.min(16).saturating_sub(1)).min(LONGEST_PAUSE);
                // At least half, so that a herd spreads and yet nobody asks at once.
                ceiling.mul_f64(rng.random_range(0.5..=1.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn errors_are_followed_by_growing_bounded_pauses() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pace = Pace::new();
        let first = pace.after(ClaimFound::Error, &mut rng);
        assert!(first <= FIRST_PAUSE && first >= FIRST_PAUSE / 2, "{first:?}");
        let last = (0..100).map(|_| pace.after(ClaimFound::Error, &mut rng)).last().unwrap();
        assert!(last <= LONGEST_PAUSE && last >= LONGEST_PAUSE / 2, "{last:?}");
        assert_eq!(pace.after(ClaimFound::Jobs, &mut rng), Duration::ZERO);
    }

    #[test]
    fn after_an_error_the_first_answer_is_not_waited_for() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pace = Pace::new();
        assert_eq!(pace.claim_wait(), Duration::ZERO);
        pace.after(ClaimFound::Jobs, &mut rng);
        assert_eq!(pace.claim_wait(), CLAIM_WAIT);
        pace.after(ClaimFound::Error, &mut rng);
        assert_eq!(pace.claim_wait(), Duration::ZERO);
    }

    #[test]
    fn an_empty_answer_that_did_not_wait_does_not_spin() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pace = Pace::new();
        assert_eq!(
            pace.after(ClaimFound::Nothing(Duration::ZERO), &mut rng),
            Duration::ZERO,
            "it was not asked to"
        );
        assert_eq!(pace.claim_wait(), CLAIM_WAIT);
        assert!(pace.after(ClaimFound::Nothing(Duration::ZERO), &mut rng) > Duration::ZERO);
        assert_eq!(pace.after(ClaimFound::Nothing(Duration::from_secs(20)), &mut rng), Duration::ZERO);
    }
}
