//! How many requests a backend works on at a time: a limit that follows what it can do.
//!
//! The gradient of Netflix's concurrency-limits (`Gradient2Limit`): the latency of the last window beside the
//! long-run latency says whether requests queue at the backend. If they do, the limit sinks in proportion; if
//! they do not and the limit was what held requests back, it grows. What differs, and why:
//!
//! - A window's mean is judged, not each request: service times vary by nature, and a single long one is no
//!   queue.
//! - The limit also sinks slowly towards a multiple of what is used, as TCP gives up a window it has not used
//!   (RFC 7661): else a backend that stalls could pile up as many requests as the busiest hour once needed.
//! - It grows by half in a window while latency stays put, because a step of load must not wait for long. A
//!   growth that made answers slower in proportion is taken back, and the long-run latency with it: one that was
//!   measured under overload from the start would hide the queue for ever.
//! - While our own threads are saturated, it is their queue that is measured, and the limit does not follow it.

use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

/// The latency may be so many times the long-run one before that counts as queueing. Netflix has 1.5; with
/// log-normal service times (σ = 1) a window of fifty differs from its mean by a quarter now and then.
const TOLERANCE: f64 = 2.0;

/// How far a window moves the limit towards what it says (`Gradient2Limit.smoothing`).
const SMOOTHING: f64 = 0.2;

/// The least factor one window shrinks by before smoothing (`Gradient2Limit`: max(0.5, …)).
const LEAST_GRADIENT: f64 = 0.5;

/// The time in which the long-run latency follows what is measured; Netflix averages 600 samples.
const LONG_RUN: f64 = 60.0;

/// Growth in a window that was held back and saw no queue.
const GROWTH: f64 = 1.5;

/// A growth that only made answers slower lowers the long-run latency by so much; one may be a burst.
const DOUBT: f64 = 0.9;

/// The limit sinks towards so many times the peak of requests in flight.
const HEADROOM: f64 = 4.0;

/// By a tenth of the difference a window: half of it is given up in about seven.
const GIVE_UP: f64 = 0.1;

/// Fewer answers say nothing about latency.
const LEAST_ANSWERS: u64 = 10;

/// The section `[load_balancer.limit]`: how many requests are worked on at a time, and what waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether each backend has a limit that follows its latency.
    pub adaptive: bool,
    /// The least a backend's limit can be.
    pub min: u32,
    /// The most a backend's limit can be.
    pub max: u32,
    /// A backend's limit at first.
    pub initial: u32,
    /// Requests in flight at all backends together, and waiting; more are refused. 0 means no limit.
    pub total: u32,
    /// Requests that may wait for a place; more are refused.
    pub queue: usize,
    /// How long a request waits for a place when every backend is at its limit.
    #[serde(with = "process::duration")]
    pub queue_wait: Duration,
    /// How long after the last backend was lost requests wait for one to come back; later they are refused at
    /// once.
    #[serde(with = "process::duration")]
    pub outage_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            adaptive: true,
            // Enough to keep many a backend busy whatever the estimate says (simulated in `limit::tests`).
            min: 32,
            max: 8192,
            initial: 256,
            // As many as clients may have connections.
            total: 16_384,
            queue: 4096,
            queue_wait: Duration::from_millis(500),
            outage_wait: Duration::from_secs(3),
        }
    }
}

impl Config {
    /// Checks what serde cannot; `section` is the dotted name for the message.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        let fault =
            |key: &str, message: &str| Err(ConfigError::inconsistent(format!("{section}.{key}"), message));
        if self.min == 0 {
            return fault("min", "it must be at least 1");
        }
        if self.max < self.min {
            return fault("max", "it must not be less than min");
        }
        if self.initial < self.min || self.initial > self.max {
            return fault("initial", "it must be between min and max");
        }
        Ok(())
    }
}

/// What one window showed of a backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    /// Answers in it.
    pub answers: u64,
    /// The sum of their latencies in nanoseconds.
    pub latency_sum_ns: u64,
    /// The most requests in flight in it.
    pub peak: u32,
    /// How long it was.
    pub length: Duration,
    /// Whether our own threads had more to do than they could, so that the latency is theirs.
    pub is_ours: bool,
}

/// A backend's limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Gradient {
    limit: f64,
    /// The long-run latency in nanoseconds; zero until one is known.
    long_ns: f64,
    /// The growth of the last window, until it is known what came of it.
    growth: Option<Growth>,
}

/// The limit and the latency before a growth.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Growth {
    limit: f64,
    latency_ns: f64,
}

impl Gradient {
    /// Starts with the initial limit.
    pub(crate) fn new(config: &Config) -> Self {
        Self { limit: f64::from(config.initial), long_ns: 0.0, growth: None }
    }

    /// Gives the limit; there is none when it is switched off.
    pub(crate) fn limit(&self, config: &Config) -> u32 {
        if config.adaptive { (self.limit.round() as u32).clamp(config.min, config.max) } else { u32::MAX }
    }

    /// Takes a window in; tells whether it had enough answers, and the next one should begin.
    pub(crate) fn update(&mut self, window: &Window, config: &Config) -> bool {
        if window.answers < LEAST_ANSWERS {
            return false;
        }
        let peak = f64::from(window.peak);
        if window.is_ours {
            // It says nothing of the backend; who is held back, is so for nothing.
            self.growth = None;
            if peak >= self.limit.floor() {
                self.limit = (self.limit * GROWTH).min(f64::from(config.max));
            }
            return true;
        }
        let short_ns = window.latency_sum_ns as f64 / window.answers as f64;
        if self.long_ns == 0.0 {
            self.long_ns = short_ns;
        } else {
            let share = (window.length.as_secs_f64() / LONG_RUN).min(1.0);
            // While requests are held back, it is a queue that is measured: that must not become usual.
            if short_ns < self.long_ns || peak < self.limit.floor() {
                self.long_ns += (short_ns - self.long_ns) * share;
            }
            // After a slow time the long run lags behind; it may not hide a queue for a minute.
            if self.long_ns > short_ns * TOLERANCE {
                self.long_ns *= 0.95;
            }
        }
        let gradient = (TOLERANCE * self.long_ns / short_ns.max(1.0)).clamp(LEAST_GRADIENT, 1.0);
        let is_held_back = peak >= self.limit.floor();
        let growth = self.growth.take().filter(|_| is_held_back);
        if let Some(from) = growth
            && short_ns / from.latency_ns > 1.0 + (self.limit / from.limit - 1.0) / 2.0
        {
            // More at a time only made answers slower: they queue, and the long run was measured in the queue.
            self.long_ns *= DOUBT;
            self.limit = from.limit;
        } else if gradient < 1.0 {
            // Room for a short queue stays: the root of the limit, as in Netflix's first `GradientLimit`;
            // `Gradient2Limit` leaves four whatever the limit.
            let aim = self.limit * gradient + self.limit.sqrt();
            self.limit += (aim.min(self.limit) - self.limit) * SMOOTHING;
        } else if is_held_back {
            self.growth = Some(Growth { limit: self.limit, latency_ns: short_ns });
            self.limit *= GROWTH;
        } else {
            let used = (peak * HEADROOM).max(f64::from(config.min));
            self.limit -= (self.limit - used).max(0.0) * GIVE_UP;
        }
        self.limit = self.limit.clamp(f64::from(config.min), f64::from(config.max));
        true
    }
}

#[cfg(test)]
mod tests;
