//! Values that fade by time: the peak EWMA, and the penalty for failures.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The time in which an old latency loses 1/e of its weight.
///
/// Finagle takes 10 s. Then one slow answer of a millisecond starves a backend among ones of a tenth for
/// half a minute; with 1 s it is two, and a backend that is 20 times slower still gets a request in a
/// thousand (`selection::tests`).
const LATENCY_DECAY_NS: f64 = 1e9;

/// The time in which a penalty loses 1/e of itself: a backend that failed is tried again within half a minute.
const PENALTY_DECAY_NS: f64 = 5e9;

/// What one failure costs, as latency: well above what any healthy backend scores.
const FAILURE_NS: f64 = 250e6;

/// The most that failures cost together.
const PENALTY_LIMIT_NS: f64 = 5e9;

/// A value and when it was set.
#[derive(Debug, Default)]
struct Decaying {
    bits: AtomicU64,
    at_ns: AtomicU64,
}

impl Decaying {
    fn get(&self, now_ns: u64, decay_ns: f64) -> f64 {
        let value = f64::from_bits(self.bits.load(Relaxed));
        if value == 0.0 {
            return 0.0;
        }
        value * fade(now_ns.saturating_sub(self.at_ns.load(Relaxed)), decay_ns)
    }

    fn set(&self, value: f64, now_ns: u64) {
        self.bits.store(value.to_bits(), Relaxed);
        self.at_ns.store(now_ns, Relaxed);
    }
}

/// Gives the share an old value keeps after a time.
pub(crate) fn fade(elapsed_ns: u64, decay_ns: f64) -> f64 {
    (-(elapsed_ns as f64) / decay_ns).exp()
}

/// A latency estimate that jumps to a peak and decays from it (peak EWMA).
#[derive(Debug, Default)]
pub(crate) struct PeakEwma(Decaying);

impl PeakEwma {
    /// Takes a measured latency in.
    pub(crate) fn observe(&self, latency_ns: u64, now_ns: u64) {
        let sample = latency_ns as f64;
        let old = f64::from_bits(self.0.bits.load(Relaxed));
        let elapsed = now_ns.saturating_sub(self.0.at_ns.load(Relaxed));
        let value = if sample >= old {
            sample
        } else {
            let keep = fade(elapsed, LATENCY_DECAY_NS);
            old * keep + sample * (1.0 - keep)
        };
        self.0.set(value, now_ns);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.bits.store(0, Relaxed);
    }

    /// Gives the estimate in nanoseconds; without traffic it sinks, so that a slow backend is tried again.
    pub(crate) fn get(&self, now_ns: u64) -> f64 {
        self.0.get(now_ns, LATENCY_DECAY_NS)
    }
}

/// What recent failures cost a backend, in nanoseconds of latency.
#[derive(Debug, Default)]
pub(crate) struct Penalty(Decaying);

impl Penalty {
    /// Takes a failure in.
    pub(crate) fn add(&self, now_ns: u64) {
        self.0.set((self.get(now_ns) + FAILURE_NS).min(PENALTY_LIMIT_NS), now_ns);
    }

    /// Forgives everything.
    pub(crate) fn clear(&self) {
        self.0.bits.store(0, Relaxed);
    }

    /// Gives the present penalty in nanoseconds.
    pub(crate) fn get(&self, now_ns: u64) -> f64 {
        self.0.get(now_ns, PENALTY_DECAY_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let ewma = PeakEwma::default();
        ewma.observe(2_000_000, SECOND);
        ewma.observe(200_000_000, SECOND + 1);
        assert!(ewma.get(SECOND + 1) > 199e6);
        ewma.observe(2_000_000, SECOND + 2);
        assert!(ewma.get(SECOND + 2) > 199e6, "one fast answer does not hide a peak");
        let later = ewma.get(7 * SECOND);
        assert!(later < 1e6, "a slow backend must be tried again, but its estimate is {later}");
    }

    #[test]
    fn fast_backends_are_told_apart() {
        let (fast, slower) = (PeakEwma::default(), PeakEwma::default());
        fast.observe(80_000, SECOND);
        slower.observe(120_000, SECOND);
        assert!(fast.get(SECOND) < slower.get(SECOND));
    }

    #[test]
    fn failures_add_up_to_a_limit_and_are_forgiven() {
        let penalty = Penalty::default();
        for _ in 0..1000 {
            penalty.add(SECOND);
        }
        assert!((penalty.get(SECOND) - PENALTY_LIMIT_NS).abs() < 1.0);
        assert!(penalty.get(60 * SECOND) < 1e5);
    }
}
