//! How much longer than the median answers take on average: what stalls cost, remembered past the next good
//! answers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::fade;

/// The time in which an old excess loses 1/e of its weight. A backend that stalls once a second must still be
/// known for it at the next stall; with 1 s it was not (`examples/simulate`, stalling).
const DECAY_NS: f64 = 5e9;

/// An answer this much slower than the median is an excess; a log-normal time with σ = 0.5 passes it once in 30,000.
const FACTOR: f32 = 8.0;

/// Less than this above the median is no stall, however fast the backend is otherwise: among answers of a tenth
/// of a millisecond the scheduler alone makes one take eight times as long. A guess, between a scheduler's time
/// slice and the shortest pause a garbage collector is known for.
const FLOOR_NS: f32 = 5e6;

/// The mean excess over the median, weighted by time.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    sum_ns: AtomicU32,
    count: AtomicU32,
    at_ns: AtomicU64,
}

impl Excess {
    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.sum_ns.store(0, Relaxed);
        self.count.store(0, Relaxed);
    }

    /// Takes in a latency and the median; gives the mean excess in nanoseconds.
    pub(crate) fn observe(&self, latency_ns: f32, median_ns: f32, now_ns: u64) -> f32 {
        let get = |figure: &AtomicU32| f32::from_bits(figure.load(Relaxed));
        let (mut sum, mut count) = (get(&self.sum_ns), get(&self.count));
        let elapsed_ns = now_ns.saturating_sub(self.at_ns.load(Relaxed));
        // Once a sixteenth of a second is often enough, and an exponential for each answer is not cheap.
        if elapsed_ns > 1 << 26 {
            let keep = fade(elapsed_ns, DECAY_NS) as f32;
            (sum, count) = (sum * keep, count * keep);
            self.at_ns.store(now_ns, Relaxed);
        }
        if latency_ns > FACTOR * median_ns && latency_ns - median_ns > FLOOR_NS {
            sum += latency_ns - median_ns;
        }
        count += 1.0;
        self.sum_ns.store(sum.to_bits(), Relaxed);
        self.count.store(count.to_bits(), Relaxed);
        sum / count
    }
}
