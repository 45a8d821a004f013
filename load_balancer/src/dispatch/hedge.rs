//! When a request is sent to a second backend because the first is slow, and how often that may be.
//!
//! Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): a second request after the 95th percentile of
//! expected latency adds about 5 % of load and cuts the tail. The percentile is that of the whole cluster over
//! the last seconds, so a slow backend is hedged against at what is usual elsewhere.

use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

/// The quantile of response times after which a request is late.
pub(crate) const QUANTILE: f64 = 0.95;

/// Fewer answers within the window do not show a percentile: one in twenty is five of a hundred. The slowest of them
/// stands for it then.
pub(crate) const LEAST_ANSWERS: u64 = 100;

/// The least time after which something is late for what is known of few answers, or while our own threads are
/// saturated: nothing else is silent for so long.
pub(crate) const CAUTION: Duration = Duration::from_millis(100);

/// What a thread may save up: a backend that stalls holds up all it is working on at once.
pub const SAVINGS: f64 = 50.0;

/// How often a request that takes long looks whether its backend is still well and whether it may be hedged.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// The shortest time between two such looks, as [`Config::min_delay`] is unless told otherwise.
const SHORTEST: Duration = Duration::from_millis(2);

/// The section `[load_balancer.hedge]`: when a request is sent to a second backend as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether late idempotent requests are sent to a second backend too; the first answer counts.
    pub enabled: bool,
    /// The share of requests that may be sent twice for this.
    pub budget: f64,
    /// A request is late after so many times the 95th percentile.
    pub factor: f64,
    /// The least delay before a second one is sent.
    #[serde(with = "process::duration")]
    pub min_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        // Timers are exact to one or two milliseconds; answers that come sooner are not late.
        // At the percentile itself a twentieth of all requests is late among healthy backends too, and a backend
        // goes on with what was given up: five equal ones at 90 % had a p99 of 9.8 ms so, 7.3 without hedges
        // (`bench tail equal`, one round each whose output was not kept). Twice as late is hardly anybody who is
        // not held up.
        Self { enabled: true, budget: 0.05, factor: 2.0, min_delay: Duration::from_millis(2) }
    }
}

impl Config {
    /// Checks what serde cannot; `section` is the dotted name for the message.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.budget) {
            let message = "it must be between 0 and 1";
            return Err(ConfigError::inconsistent(format!("{section}.budget"), message));
        }
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            let message = "it must be at least 1";
            return Err(ConfigError::inconsistent(format!("{section}.factor"), message));
        }
        Ok(())
    }

    /// Tells whether anything is hedged.
    fn is_on(&self) -> bool {
        self.enabled && self.budget > 0.0
    }

    /// Gives the delay after which a request is late, from the cluster's answers in the last seconds; `None`
    /// when nothing is hedged.
    pub fn delay(&self, answers: u64, quantile_ns: f64) -> Option<Duration> {
        let is_known = self.is_on() && answers >= LEAST_ANSWERS;
        is_known.then(|| self.times(quantile_ns).max(self.min_delay))
    }

    /// Gives the delay after which a request is late where [`delay`](Self::delay) knows of none, from the slowest of
    /// a few answers. Without any, what takes long may be what always takes so long.
    pub(crate) fn delay_of_few(&self, answers: u64, slowest_ns: f64) -> Option<Duration> {
        let is_known = self.is_on() && answers > 0;
        is_known.then(|| self.times(slowest_ns).max(self.min_delay).max(CAUTION))
    }

    fn times(&self, latency_ns: f64) -> Duration {
        Duration::from_nanos((latency_ns * self.factor) as u64)
    }
}

/// Tells whether a second request is likely to be answered before the first has waited as long again, from how long that
/// has waited, and the median of the last answers where the second would go, in nanoseconds.
///
/// When all are late, more work makes all of them later: with one of five stalling at 90 % the others' queues grew so
/// that their requests were hedged too, and p99 was up to twice what it is without hedges (`examples/simulate`).
pub fn is_of_use(waited: Duration, median_ns: f64) -> bool {
    2.0 * median_ns <= waited.as_nanos() as f64
}

/// Gives how long until a late request is looked at again that it was of no use to hedge: it may be when it has waited as
/// long again.
pub fn next_look(waited: Duration) -> Duration {
    waited.clamp(SHORTEST, PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;

    #[test]
    fn hedges_are_a_twentieth_of_requests_once_savings_are_spent() {
        let budget = Budget::new(SAVINGS);
        let at_once = (0..1000).filter(|_| budget.spend()).count();
        assert_eq!(at_once, 50);
        let mut hedges = 0;
        for _ in 0..1000 {
            budget.earn(Config::default().budget);
            hedges += u32::from(budget.spend());
        }
        assert!((49..=50).contains(&hedges), "{hedges}");
    }

    #[test]
    fn nothing_is_late_while_little_is_known() {
        let config = Config::default();
        assert_eq!(config.delay(99, 8e6), None);
        assert_eq!(config.delay(100, 8e6), Some(Duration::from_millis(16)));
        assert_eq!(config.delay(100, 1e5), Some(config.min_delay), "sooner than a timer can tell");
        assert_eq!(Config { enabled: false, ..config }.delay(100, 8e6), None);
    }

    #[test]
    fn of_few_answers_the_slowest_says_what_is_late_and_of_none_nothing_does() {
        let config = Config::default();
        assert_eq!(config.delay_of_few(0, 0.0), None);
        assert_eq!(config.delay_of_few(1, 400e6), Some(Duration::from_millis(800)));
        assert_eq!(config.delay_of_few(99, 2e6), Some(CAUTION));
        assert_eq!(Config { enabled: false, ..config.clone() }.delay_of_few(9, 2e6), None);
        assert_eq!(Config { budget: 0.0, ..config }.delay_of_few(9, 2e6), None);
    }
}
