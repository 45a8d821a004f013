//! Which backends are put out by what requests saw of them, for how long, and how they come back.
//!
//! A pure state machine: [`judge()`] looks at what was observed of each backend and gives a verdict for each.
//! A backend that is put out is [`Phase::Out`] for a time that grows with every time it happens again; then it
//! is on [`Phase::Trial`], where it gets a trickle, until a few answers in a row are good. Good behaviour is
//! remembered too: the count of times sinks again.
//!
//! Envoy compares backends by the standard deviation of their success rates (`success_rate_stdev_factor`,
//! 1.9 by default). Among n values none can lie more than √(n − 1) standard deviations from their mean
//! (Samuelson, "How Deviant Can You Be?", JASA 63, 1968): 2 among five, 1.7 among four. The rule is blind
//! where it is needed most. Here a backend is compared with the others alone, by a factor for latencies and by
//! the odds of chance for failures.

mod judge;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

pub(crate) use judge::{Observation, Verdict, judge, judge_one};

/// The section `[load_balancer.ejection]`: when requests put a backend out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether requests put backends out at all; connections that are refused always do.
    pub enabled: bool,
    /// So many failures in a row put a backend out; more are asked for when others fail too.
    pub consecutive_failures: u32,
    /// This share of failures within the window puts a backend out, if others fail clearly less.
    pub failure_rate: f64,
    /// Requests within the window before its rate or its latency is judged.
    pub minimum_requests: u32,
    /// The time over which rates are taken; at most 10 s.
    #[serde(with = "process::duration")]
    pub window: Duration,
    /// A median latency so many times that of the others puts a backend out; 0 turns this off.
    pub latency_factor: f64,
    /// A median latency must also be so much above that of the others.
    #[serde(with = "process::duration")]
    pub latency_floor: Duration,
    /// How long a backend is out the first time; the second time twice as long, and so on.
    #[serde(with = "process::duration")]
    pub base_time: Duration,
    /// The longest time out.
    #[serde(with = "process::duration")]
    pub max_time: Duration,
    /// The largest share of backends out at a time; the last one is never put out.
    pub max_share: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            // Envoy's consecutive_5xx.
            consecutive_failures: 5,
            failure_rate: 0.5,
            minimum_requests: 20,
            window: Duration::from_secs(10),
            // Selection already sends a backend that is twice as slow half as much; this is for what is broken.
            latency_factor: 5.0,
            latency_floor: Duration::from_millis(10),
            // Envoy has 30 s, without a trial: a third is enough when the return costs a handful of requests.
            base_time: Duration::from_secs(10),
            // Envoy's max_ejection_time.
            max_time: Duration::from_secs(300),
            max_share: 0.5,
        }
    }
}

impl Config {
    /// Checks what serde cannot; `section` is the dotted name for the message.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        let fault =
            |key: &str, message: &str| Err(ConfigError::inconsistent(format!("{section}.{key}"), message));
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        if self.consecutive_failures == 0 {
            return fault("consecutive_failures", "it must be at least 1");
        }
        if !is_share(self.failure_rate) || self.failure_rate == 0.0 {
            return fault("failure_rate", "it must be above 0 and at most 1");
        }
        if self.minimum_requests == 0 {
            return fault("minimum_requests", "it must be at least 1");
        }
        if self.window < Duration::from_secs(1) || self.window > Duration::from_secs(10) {
            return fault("window", "it must be between 1s and 10s");
        }
        if self.latency_factor != 0.0 && !(self.latency_factor.is_finite() && self.latency_factor > 1.0) {
            return fault("latency_factor", "it must be above 1, or 0");
        }
        if self.base_time.is_zero() {
            return fault("base_time", "it must be longer than 0s");
        }
        if self.max_time < self.base_time {
            return fault("max_time", "it must not be shorter than base_time");
        }
        if !is_share(self.max_share) {
            return fault("max_share", "it must be between 0 and 1");
        }
        Ok(())
    }

    /// Gives how long a backend stays out that is put out for the `times`-th time.
    pub fn time_out(&self, times: u32) -> Duration {
        self.base_time.saturating_mul(times.max(1)).min(self.max_time)
    }
}

/// Why a backend was put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// Connections are refused or cannot be opened.
    Connect,
    /// Failures in a row.
    ConsecutiveFailures,
    /// The share of failures.
    FailureRate,
    /// Requests pile up and nothing is answered, not even a probe.
    Stalled,
    /// Far slower than the others.
    Latency,
}

impl Reason {
    /// All reasons, in the order of [`Self::index`].
    pub(crate) const ALL: [Self; 5] =
        [Self::Connect, Self::ConsecutiveFailures, Self::FailureRate, Self::Stalled, Self::Latency];

    /// Gives its place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Gives the word for figures and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::Stalled => "stalled",
            Self::Latency => "latency",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a backend stands with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// It gets its share.
    #[default]
    In,
    /// It is put out until a time.
    Out {
        /// Why.
        reason: Reason,
        /// When its trial begins.
        until_ns: u64,
    },
    /// It gets a trickle, to show what it can do.
    Trial {
        /// Why it had been out.
        reason: Reason,
    },
}

/// What is remembered of a backend's ejections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// Where it stands.
    pub phase: Phase,
    /// How often it was put out, less what good behaviour has made forgotten.
    pub times: u32,
    /// Since when the phase and the count stand.
    pub since_ns: u64,
}

impl Record {
    /// Applies a verdict; tells whether the phase changed.
    pub(crate) fn apply(&mut self, verdict: Verdict, now_ns: u64) -> bool {
        let before = self.phase;
        match verdict {
            Verdict::Stay => return false,
            Verdict::Eject { reason, until_ns } => {
                self.phase = Phase::Out { reason, until_ns };
                self.times = self.times.saturating_add(1);
            }
            Verdict::Try => {
                if let Phase::Out { reason, .. } = self.phase {
                    self.phase = Phase::Trial { reason };
                }
            }
            Verdict::Return => self.phase = Phase::In,
            Verdict::Forgive => self.times = self.times.saturating_sub(1),
        }
        self.since_ns = now_ns;
        before != self.phase
    }
}
