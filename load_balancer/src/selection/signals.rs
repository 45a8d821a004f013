//! What is known about one backend, in atomics that every thread writes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::estimate::{PeakEwma, Penalty};

/// What a backend tells of itself in an answer (`Sixfold-Load`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests it is working on.
    pub in_flight: u32,
    /// Its own estimate of how long a request takes at that load, in nanoseconds.
    pub latency_ns: u64,
}

/// What a choice looks at, kept in atomics written by every thread; one per backend.
///
/// Aligned to two cache lines, so that threads counting at neighbours do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
pub struct Signals {
    in_flight: AtomicU32,
    is_available: AtomicBool,
    /// An `f32` as bits.
    weight: AtomicU32,
    started_ns: AtomicU64,
    /// How long the slow start takes; zero when it is over.
    slow_ns: AtomicU64,
    latency: PeakEwma,
    penalty: Penalty,
}

impl Signals {
    /// Makes the signals of a backend nothing is known about; it is available and has weight 1.
    pub fn new(_now_ns: u64) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            is_available: AtomicBool::new(true),
            weight: AtomicU32::new(1.0_f32.to_bits()),
            started_ns: AtomicU64::new(0),
            slow_ns: AtomicU64::new(0),
            latency: PeakEwma::default(),
            penalty: Penalty::default(),
        }
    }

    /// Counts a request in; gives the requests in flight with it.
    pub fn begin(&self, _now_ns: u64) -> u32 {
        self.in_flight.fetch_add(1, Relaxed) + 1
    }

    /// Counts a request out.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Takes in an answer: how long it took, and what [`Self::begin`] gave for it.
    pub fn note_answer(&self, latency_ns: u64, _in_flight_at_begin: u32, now_ns: u64) {
        self.latency.observe(latency_ns, now_ns);
    }

    /// Takes in a failure: no answer, or one of 500 to 599.
    pub fn note_failure(&self, now_ns: u64) {
        self.penalty.add(now_ns);
    }

    /// Takes in a probe's latency; it counts when there were no requests lately.
    pub fn note_probe(&self, latency_ns: u64, now_ns: u64) {
        self.latency.observe(latency_ns, now_ns);
    }

    /// Takes in what the backend tells of itself.
    pub fn note_load(&self, _load: Load, _now_ns: u64) {}

    /// Says whether it may be chosen.
    pub fn set_available(&self, is_available: bool) {
        self.is_available.store(is_available, Relaxed);
    }

    /// Tells whether it may be chosen.
    pub fn is_available(&self) -> bool {
        self.is_available.load(Relaxed)
    }

    /// Sets its weight; one with weight 2 gets twice the requests of one with weight 1, one with 0 none.
    pub fn set_weight(&self, weight: f64) {
        self.weight.store((weight as f32).to_bits(), Relaxed);
    }

    /// Gives its weight.
    pub fn weight(&self) -> f64 {
        f64::from(f32::from_bits(self.weight.load(Relaxed)))
    }

    /// Lets its share grow from little to all over a time.
    pub fn start_slowly(&self, now_ns: u64, over: Duration) {
        self.started_ns.store(now_ns, Relaxed);
        self.slow_ns.store(u64::try_from(over.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Gives its weight, less while it starts slowly.
    pub fn share(&self, now_ns: u64) -> f64 {
        let slow_ns = self.slow_ns.load(Relaxed);
        if slow_ns == 0 {
            return self.weight();
        }
        let elapsed_ns = now_ns.saturating_sub(self.started_ns.load(Relaxed));
        if elapsed_ns >= slow_ns {
            self.slow_ns.store(0, Relaxed);
            return self.weight();
        }
        self.weight() * (elapsed_ns as f64 / slow_ns as f64).max(0.1)
    }

    /// Gives the requests it is working on, as far as this process sent them.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Gives the estimated latency in nanoseconds; zero when nothing is known.
    pub fn latency_ns(&self, now_ns: u64) -> f64 {
        self.latency.get(now_ns)
    }

    /// Gives what its recent failures cost, in nanoseconds.
    pub fn penalty_ns(&self, now_ns: u64) -> f64 {
        self.penalty.get(now_ns)
    }
}
