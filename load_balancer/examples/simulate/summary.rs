//! What came out of a run.

/// Latencies of good answers, errors, and who got how much.
#[derive(Default)]
pub(crate) struct Summary {
    latencies_ns: Vec<u64>,
    errors: u64,
    shares: Vec<u64>,
    is_sorted: bool,
}

impl Summary {
    pub(crate) fn new(backends: usize) -> Self {
        Self { shares: vec![0; backends], ..Self::default() }
    }

    pub(crate) fn note(&mut self, backend: usize, latency_ns: u64, is_good: bool) {
        self.shares[backend] += 1;
        if is_good {
            self.latencies_ns.push(latency_ns);
            self.is_sorted = false;
        } else {
            self.errors += 1;
        }
    }

    /// Gives a quantile of the good answers in milliseconds.
    pub(crate) fn quantile_ms(&mut self, quantile: f64) -> f64 {
        if !self.is_sorted {
            self.latencies_ns.sort_unstable();
            self.is_sorted = true;
        }
        let last = self.latencies_ns.len().saturating_sub(1);
        let rank = (last as f64 * quantile).round() as usize;
        self.latencies_ns.get(rank).map_or(f64::NAN, |latency| *latency as f64 / 1e6)
    }

    /// Gives the errors among all answers, in percent.
    pub(crate) fn error_percent(&self) -> f64 {
        100.0 * self.errors as f64 / (self.errors + self.latencies_ns.len() as u64).max(1) as f64
    }

    /// Gives each backend's part of all requests, in percent.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let all = self.shares.iter().sum::<u64>().max(1) as f64;
        self.shares.iter().map(|share| 100.0 * *share as f64 / all).collect()
    }
}
