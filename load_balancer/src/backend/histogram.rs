//! Latencies of the last minute, as counts in buckets whose width grows with the latency.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Each doubling of the latency is divided into so many buckets, which bounds the error to an eighth.
const PER_DOUBLING: usize = 8;

/// The smallest latency told apart is 2^12 ns, about 4 µs; a loopback round trip takes longer.
const SMALLEST_EXPONENT: u32 = 12;

/// The largest is 2^37 ns, about 137 s; no request lasts as long.
const LARGEST_EXPONENT: u32 = 37;

const BUCKETS: usize = (LARGEST_EXPONENT - SMALLEST_EXPONENT) as usize * PER_DOUBLING + 2;

/// The minute is made of so many parts; the oldest is forgotten as a whole.
const PARTS: usize = 6;

/// The length of a part in nanoseconds.
const PART_NS: u64 = 10_000_000_000;

/// A latency histogram over the last minute, written by many threads without a lock.
#[derive(Debug)]
pub(crate) struct WindowedHistogram {
    parts: [Part; PARTS],
}

#[derive(Debug)]
struct Part {
    /// Which ten seconds these counts are of.
    epoch: AtomicU64,
    counts: [AtomicU32; BUCKETS],
}

impl Default for WindowedHistogram {
    fn default() -> Self {
        let part = |_| Part { epoch: AtomicU64::new(0), counts: [const { AtomicU32::new(0) }; BUCKETS] };
        Self { parts: std::array::from_fn(part) }
    }
}

impl WindowedHistogram {
    /// Counts a latency.
    ///
    /// A thread that counts at the very moment a part is taken over may lose its count.
    pub(crate) fn record(&self, latency_ns: u64, now_ns: u64) {
        let epoch = now_ns / PART_NS;
        let part = &self.parts[epoch as usize % PARTS];
        let found = part.epoch.load(Relaxed);
        if found != epoch && part.epoch.compare_exchange(found, epoch, Relaxed, Relaxed).is_ok() {
            for count in &part.counts {
                count.store(0, Relaxed);
            }
        }
        part.counts[bucket_of(latency_ns)].fetch_add(1, Relaxed);
    }

    /// Gives latencies in nanoseconds at quantiles between 0 and 1; `None` for all when nothing was counted.
    pub(crate) fn quantiles<const N: usize>(&self, quantiles: [f64; N], now_ns: u64) -> Option<[f64; N]> {
        let mut counts = Counts::default();
        counts.add(self, (now_ns / PART_NS + 1).saturating_sub(PARTS as u64));
        (counts.total > 0).then(|| quantiles.map(|quantile| counts.quantile(quantile)))
    }

    /// Adds what was counted in the last ten to twenty seconds, but not in a part that began before
    /// `since_ns`.
    pub(crate) fn add_recent(&self, counts: &mut Counts, since_ns: u64, now_ns: u64) {
        counts.add(self, (now_ns / PART_NS).saturating_sub(1).max(since_ns.div_ceil(PART_NS)));
    }
}

/// Counts of one histogram or several, taken together.
#[derive(Debug)]
pub(crate) struct Counts {
    buckets: [u64; BUCKETS],
    total: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], total: 0 }
    }
}

impl Counts {
    /// Gives how many there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Gives the latency in nanoseconds at a quantile between 0 and 1.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        value_at(&self.buckets, self.total, quantile)
    }

    fn add(&mut self, histogram: &WindowedHistogram, oldest: u64) {
        for part in histogram.parts.iter().filter(|part| part.epoch.load(Relaxed) >= oldest) {
            for (sum, count) in self.buckets.iter_mut().zip(&part.counts) {
                let count = u64::from(count.load(Relaxed));
                *sum += count;
                self.total += count;
            }
        }
    }
}

fn value_at(counts: &[u64; BUCKETS], total: u64, quantile: f64) -> f64 {
    let rank = ((total as f64 * quantile).ceil() as u64).max(1);
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return middle_of(bucket);
        }
    }
    middle_of(BUCKETS - 1)
}

fn bucket_of(latency_ns: u64) -> usize {
    if latency_ns < 1 << SMALLEST_EXPONENT {
        return 0;
    }
    let exponent = latency_ns.ilog2();
    if exponent >= LARGEST_EXPONENT {
        return BUCKETS - 1;
    }
    // The three bits below the leading one say which eighth of the doubling it is.
    let eighth = (latency_ns >> (exponent - PER_DOUBLING.ilog2())) as usize % PER_DOUBLING;
    1 + (exponent - SMALLEST_EXPONENT) as usize * PER_DOUBLING + eighth
}

fn middle_of(bucket: usize) -> f64 {
    if bucket == 0 {
        return f64::from(1u32 << (SMALLEST_EXPONENT - 1));
    }
    let place = bucket - 1;
    let base = 2f64.powi((SMALLEST_EXPONENT as usize + place / PER_DOUBLING) as i32);
    base * (1.0 + ((place % PER_DOUBLING) as f64 + 0.5) / PER_DOUBLING as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_is_at_most_an_eighth_wide(latency in (1u64 << SMALLEST_EXPONENT)..(1 << LARGEST_EXPONENT)) {
            let error = (middle_of(bucket_of(latency)) / latency as f64 - 1.0).abs();
            prop_assert!(error <= 1.0 / PER_DOUBLING as f64, "{latency}: {error}");
        }

        #[test]
        fn any_latency_has_a_bucket(latency: u64) {
            prop_assert!(bucket_of(latency) < BUCKETS);
        }
    }

    #[test]
    fn quantiles_are_of_the_last_minute() {
        let histogram = WindowedHistogram::default();
        assert_eq!(histogram.quantiles([0.5], PART_NS), None);
        for milliseconds in 1..=100 {
            histogram.record(milliseconds * 1_000_000, PART_NS);
        }
        let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.13;
        let [p50, p90, p99] = histogram.quantiles([0.5, 0.9, 0.99], 6 * PART_NS).unwrap();
        assert!(near(p50, 50e6) && near(p90, 90e6) && near(p99, 99e6), "{p50} {p90} {p99}");
        assert_eq!(histogram.quantiles([0.5], 7 * PART_NS), None, "a minute later they are forgotten");
        histogram.record(1_000_000, 7 * PART_NS);
        let [p99] = histogram.quantiles([0.99], 7 * PART_NS).unwrap();
        assert!(near(p99, 1e6), "{p99}");
    }
}
