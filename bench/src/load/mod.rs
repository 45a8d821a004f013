//! Clients: closed loops (wrk, h2load), an open loop of our own, and one that only shakes hands.

mod connection;
pub(crate) mod h2load;
pub(crate) mod handshakes;
pub(crate) mod open_loop;
pub(crate) mod wrk;

use std::time::Duration;

/// What one closed loop measured.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// The 99th percentile of latency, from those who print it.
    pub(crate) p99: Option<Duration>,
    /// Answers that were no 2xx or 3xx, and exchanges that failed.
    pub(crate) errors: u64,
    /// What it printed.
    pub(crate) raw: String,
}

/// Gives a quantile of sorted latencies: the least that so large a share does not exceed.
pub(crate) fn quantile(sorted: &[Duration], quantile: f64) -> Duration {
    let index = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_least_that_so_large_a_share_does_not_exceed() {
        let sorted: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let at = |share| quantile(&sorted, share).as_millis();
        assert_eq!([at(0.0), at(0.5), at(0.99), at(0.999), at(1.0)], [1, 500, 990, 999, 1000]);
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
