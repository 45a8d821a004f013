//! The last completions of a backend and their medians, for all of them and by requests in flight.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many completions are remembered. Of 16, the eight that a stall held up would be half, and the median
/// would call a good backend slow after it; the simulator's stalling scenario needs 32.
const KEPT: usize = 32;

/// The classes of requests in flight, each twice as wide as the one before: 1, 2, 3–4, 5–8 … 65 and more.
const CLASSES: usize = 8;

/// So few completions near a load say less about it than all of them do.
const FEW: usize = 5;

/// The unit of ages: 2^27 ns, an eighth of a second. 16 bits of them wrap after 2.4 hours, when a completion would
/// look young again; it costs one odd median.
const TICK_SHIFT: u32 = 27;

/// The age from which a completion no longer counts, if there are younger ones: 10 s, as Finagle's EWMA decay.
const OLD_TICKS: u16 = 75;

/// Medians are made anew at most this often once there are enough completions: of 32, one changes little, and
/// finding two medians costs as much as a choice. 2^20 ns, about a millisecond.
const RENEW_NS: u64 = 1 << 20;

/// The last completions and their medians.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Latency as `f32` bits, requests in flight (16 bits), age (16 bits).
    samples: [AtomicU64; KEPT],
    next: AtomicU8,
    /// Median of all; zero when there are none.
    overall: AtomicU32,
    /// The mean of their requests in flight, and when both were made.
    load: AtomicU32,
    made_ns: AtomicU64,
    /// Median of those in a class or one beside it, `f32` bits, and when it was made.
    by_class: [AtomicU64; CLASSES],
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            samples: std::array::from_fn(|_| AtomicU64::new(0)),
            next: AtomicU8::new(0),
            overall: AtomicU32::new(0),
            load: AtomicU32::new(0),
            made_ns: AtomicU64::new(0),
            by_class: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Recent {
    /// Takes a completion in; gives the median of all, and their mean requests in flight.
    pub(crate) fn observe(&self, latency_ns: f32, in_flight: u32, now_ns: u64) -> (f32, f32) {
        let now = tick(now_ns);
        let next = self.next.fetch_add(1, Relaxed) as usize % KEPT;
        let replaced = self.samples[next].load(Relaxed);
        self.samples[next].store(pack(latency_ns, in_flight, now), Relaxed);
        // A place that was never used says that there are fewer than are kept.
        if replaced != 0 && now_ns.saturating_sub(self.made_ns.load(Relaxed)) < RENEW_NS {
            return (self.overall(), f32::from_bits(self.load.load(Relaxed)));
        }
        let class = class(in_flight);
        let (mut all, mut near) = ([0.0_f32; KEPT], [0.0_f32; KEPT]);
        let (mut all_len, mut near_len) = (0, 0);
        let mut loads = 0;
        for sample in &self.samples {
            let (latency, load, at) = unpack(sample.load(Relaxed));
            if latency == 0.0 || now.wrapping_sub(at) > OLD_TICKS {
                continue;
            }
            all[all_len] = latency;
            all_len += 1;
            loads += load;
            if self::class(load).abs_diff(class) <= 1 {
                near[near_len] = latency;
                near_len += 1;
            }
        }
        let overall = median(&mut all[..all_len]);
        self.overall.store(overall.to_bits(), Relaxed);
        let of_class = if near_len < FEW { overall } else { median(&mut near[..near_len]) };
        self.by_class[class].store(pack(of_class, 0, now), Relaxed);
        let load = loads as f32 / all_len.max(1) as f32;
        self.load.store(load.to_bits(), Relaxed);
        self.made_ns.store(now_ns, Relaxed);
        (overall, load)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.samples.iter().chain(&self.by_class).for_each(|cell| cell.store(0, Relaxed));
        self.overall.store(0, Relaxed);
    }

    /// Gives the median of all in nanoseconds; zero when there are none.
    pub(crate) fn overall(&self) -> f32 {
        f32::from_bits(self.overall.load(Relaxed))
    }

    /// Gives the median of those whose requests in flight were near these; that of all, if none were lately.
    pub(crate) fn near(&self, in_flight: u32, now_ns: u64) -> f32 {
        let (median, _, at) = unpack(self.by_class[class(in_flight)].load(Relaxed));
        if median == 0.0 || tick(now_ns).wrapping_sub(at) > OLD_TICKS { self.overall() } else { median }
    }
}

/// Gives the class of a number of requests in flight.
fn class(in_flight: u32) -> usize {
    (u32::BITS - in_flight.saturating_sub(1).leading_zeros()).min(CLASSES as u32 - 1) as usize
}

fn tick(now_ns: u64) -> u16 {
    (now_ns >> TICK_SHIFT) as u16
}

fn pack(latency_ns: f32, in_flight: u32, tick: u16) -> u64 {
    u64::from(latency_ns.to_bits()) << 32 | u64::from(in_flight.min(0xFFFF)) << 16 | u64::from(tick)
}

fn unpack(sample: u64) -> (f32, u32, u16) {
    (f32::from_bits((sample >> 32) as u32), (sample >> 16) as u32 & 0xFFFF, sample as u16)
}

fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}
