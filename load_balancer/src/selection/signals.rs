//! What is known about one backend, in atomics that every thread writes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::estimate::{Excess, PeakEwma, Penalty, Recent};

/// The share a backend has at the beginning of its slow start, as Envoy's `min_weight_percent`.
const FIRST_SHARE: f64 = 0.1;

/// The time in which what a backend said of its other callers fades to nothing: a few of its answers later they
/// have others in flight.
const OTHERS_FADE_NS: f64 = 50e6;

/// A backend that fell silent, so that all it worked on was given up, is tried again after this part of the silence.
/// With 1 one that stalls for 200 ms is left idle for as long again; with 2, 4 and 8 it is found well in time, and with
/// each some more requests are late by the time of a hedge (`examples/simulate`, stalling, hedges).
const TRIALS_A_SILENCE: u64 = 2;

/// A request that cannot be sent elsewhere tries such a backend only after so many times the silence: long before, one
/// that can has told, unless there is none. And so much later than that one at the most: a client that hangs up after
/// minutes says nothing of the minutes to come.
const CAUTIOUS_SILENCES: u64 = 8;
const CAUTION_NS: u64 = 1_000_000_000;

/// By answers of fewer moments than this no backend is called slow: all that one stall held up come at once.
const ENOUGH_MOMENTS: u32 = 8;

/// How far apart two moments are: longer than it takes to read what a stall held up. A guess.
const MOMENT_NS: u64 = 10_000_000;

/// An answer so many times faster than the median is not chance: a log-normal time with σ = 0.5 is that once in 30,000.
const CHANGED: f64 = 8.0;

/// After so long without an answer what was known may be over.
pub(super) const FRESH_NS: u64 = 100_000_000;

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
/// What a choice reads is in the first two cache lines; what only answers write comes after them.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Signals {
    in_flight: AtomicU32,
    /// Those of them whose answer has not begun.
    awaited: AtomicU32,
    is_available: AtomicBool,
    /// An `f32` as bits.
    weight: AtomicU32,
    /// The median, and what answers took longer on average, as `f32` bits; zero when nothing is known.
    typical_ns: AtomicU32,
    excess_ns: AtomicU32,
    /// The mean of requests in flight over the same answers as the median, `f32` bits.
    typical_load: AtomicU32,
    /// What it has in flight for others, as far as it told, as `f32` bits, and when.
    others: AtomicU32,
    others_at_ns: AtomicU64,
    /// The last time something came back, or something was sent to it while idle.
    moved_ns: AtomicU64,
    /// The last time a request was given up unanswered, if no answer came since; else zero.
    given_up_ns: AtomicU64,
    /// The last time an answer was taken in.
    answered_ns: AtomicU64,
    started_ns: AtomicU64,
    /// How long the slow start takes; zero when it is over.
    slow_ns: AtomicU64,
    penalty: Penalty,
    /// Moments in which it answered, up to [`ENOUGH_MOMENTS`], and the last one counted.
    moments: AtomicU32,
    moment_ns: AtomicU64,
    peak: PeakEwma,
    last_ns: AtomicU64,
    recent: Recent,
    excess: Excess,
}

impl Signals {
    /// Makes the signals of a backend nothing is known about; it is available and has weight 1.
    pub fn new(now_ns: u64) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            awaited: AtomicU32::new(0),
            is_available: AtomicBool::new(true),
            weight: AtomicU32::new(1.0_f32.to_bits()),
            typical_ns: AtomicU32::new(0),
            excess_ns: AtomicU32::new(0),
            typical_load: AtomicU32::new(0),
            others: AtomicU32::new(0),
            others_at_ns: AtomicU64::new(0),
            moved_ns: AtomicU64::new(now_ns),
            given_up_ns: AtomicU64::new(0),
            answered_ns: AtomicU64::new(0),
            started_ns: AtomicU64::new(0),
            slow_ns: AtomicU64::new(0),
            penalty: Penalty::default(),
            moments: AtomicU32::new(0),
            moment_ns: AtomicU64::new(0),
            peak: PeakEwma::default(),
            last_ns: AtomicU64::new(0),
            recent: Recent::default(),
            excess: Excess::default(),
        }
    }

    /// Counts a request in, whose answer is awaited; gives the requests in flight with it.
    pub fn begin(&self, now_ns: u64) -> u32 {
        if self.awaited.fetch_add(1, Relaxed) == 0 && !self.is_in_doubt(now_ns) {
            self.given_up_ns.store(0, Relaxed);
            self.moved_ns.store(now_ns, Relaxed);
        }
        self.in_flight.fetch_add(1, Relaxed) + 1
    }

    /// Counts a request out whose answer was awaited to its end.
    pub fn end(&self) {
        self.note_head();
        self.end_passing();
    }

    /// Notes that a request's answer has begun, or that it is not the backend that is waited for.
    pub fn note_head(&self) {
        self.awaited.fetch_sub(1, Relaxed);
    }

    /// Counts a request out for which there was [`Self::note_head`].
    pub fn end_passing(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Gives the requests whose answer has not begun. A stream, a tunnel or a slow reader may last for hours; it
    /// says nothing about how much the backend can take.
    pub fn awaited(&self) -> u32 {
        self.awaited.load(Relaxed)
    }

    /// Takes in an answer: how long it took, and what [`Self::begin`] gave for it.
    pub fn note_answer(&self, latency_ns: u64, in_flight_at_begin: u32, now_ns: u64) {
        self.moved_ns.store(now_ns, Relaxed);
        let pause_ns = self.age_ns(now_ns);
        self.answered_ns.store(now_ns, Relaxed);
        if (pause_ns > FRESH_NS || !self.is_known()) && latency_ns as f64 * CHANGED < self.latency_ns() {
            // One stall held up all that is known of it, and it is over.
            self.recent.clear();
        }
        if self.given_up_ns.load(Relaxed) != 0 {
            self.given_up_ns.store(0, Relaxed);
        }
        self.learn(latency_ns, in_flight_at_begin, now_ns);
    }

    /// Takes in that a request was given up unanswered: how long it was waited for, and what [`Self::begin`] gave
    /// for it. It would have taken longer, and ends no silence.
    pub fn note_given_up(&self, elapsed_ns: u64, in_flight_at_begin: u32, now_ns: u64) {
        self.given_up_ns.store(now_ns, Relaxed);
        if elapsed_ns as f64 > self.latency_ns() {
            self.learn(elapsed_ns, in_flight_at_begin, now_ns);
        }
    }

    fn learn(&self, latency_ns: u64, in_flight_at_begin: u32, now_ns: u64) {
        self.last_ns.store(latency_ns, Relaxed);
        self.count_moment(now_ns);
        self.peak.observe(latency_ns, now_ns);
        let latency_ns = (latency_ns as f32).max(1.0);
        let (typical_ns, load) = self.recent.observe(latency_ns, in_flight_at_begin, now_ns);
        let excess_ns = self.excess.observe(latency_ns, typical_ns, now_ns);
        self.typical_ns.store(typical_ns.to_bits(), Relaxed);
        self.typical_load.store(load.to_bits(), Relaxed);
        self.excess_ns.store(excess_ns.to_bits(), Relaxed);
    }

    fn count_moment(&self, now_ns: u64) {
        let moments = self.moments.load(Relaxed);
        let elapsed_ns = now_ns.saturating_sub(self.moment_ns.load(Relaxed));
        if moments < ENOUGH_MOMENTS && (moments == 0 || elapsed_ns >= MOMENT_NS) {
            self.moments.store(moments + 1, Relaxed);
            self.moment_ns.store(now_ns, Relaxed);
        }
    }

    /// Takes in a failure: no answer, or one of 500 to 599.
    pub fn note_failure(&self, now_ns: u64) {
        self.penalty.add(now_ns);
    }

    /// Forgets what was known of its answers and failures: what is there now may be another process.
    pub fn forget(&self) {
        self.penalty.clear();
        self.peak.clear();
        self.recent.clear();
        self.excess.clear();
        self.moments.store(0, Relaxed);
        for figure in [&self.typical_ns, &self.typical_load, &self.excess_ns] {
            figure.store(0, Relaxed);
        }
    }

    /// Takes in a probe's latency; it counts when there were no requests lately.
    pub fn note_probe(&self, latency_ns: u64, now_ns: u64) {
        self.last_ns.store(latency_ns, Relaxed);
        if self.in_flight() == 0 {
            self.peak.observe(latency_ns, now_ns);
        }
    }

    /// Takes in what the backend tells of itself.
    pub fn note_load(&self, load: Load, now_ns: u64) {
        let others = load.in_flight.saturating_sub(self.in_flight()) as f32;
        self.others.store(others.to_bits(), Relaxed);
        self.others_at_ns.store(now_ns, Relaxed);
    }

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
        self.weight() * (elapsed_ns as f64 / slow_ns as f64).max(FIRST_SHARE)
    }

    /// Gives the requests it is working on, as far as this process sent them.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Gives the requests it is working on, with those of others it told of lately.
    pub fn load(&self, now_ns: u64) -> f64 {
        let own = f64::from(self.in_flight());
        let others = f32::from_bits(self.others.load(Relaxed));
        if others == 0.0 {
            return own;
        }
        let elapsed_ns = now_ns.saturating_sub(self.others_at_ns.load(Relaxed));
        own + f64::from(others) * (1.0 - elapsed_ns as f64 / OTHERS_FADE_NS).max(0.0)
    }

    /// Gives the estimated latency in nanoseconds, the median of recent answers; zero when nothing is known.
    pub fn latency_ns(&self) -> f64 {
        f64::from(f32::from_bits(self.typical_ns.load(Relaxed)))
    }

    /// Gives the median of recent answers whose load was near the present one.
    pub fn latency_near_ns(&self, in_flight: u32, now_ns: u64) -> f64 {
        f64::from(self.recent.near(in_flight, now_ns))
    }

    /// Gives the mean of requests in flight when those answers were asked for.
    pub(crate) fn typical_load(&self) -> f64 {
        f64::from(f32::from_bits(self.typical_load.load(Relaxed)))
    }

    /// Gives how much longer than the median answers took on average.
    pub fn excess_ns(&self) -> f64 {
        f64::from(f32::from_bits(self.excess_ns.load(Relaxed)))
    }

    /// Gives the peak EWMA of the latency.
    pub fn peak_ns(&self, now_ns: u64) -> f64 {
        self.peak.get(now_ns)
    }

    /// Gives the latency of the last answer or probe.
    pub fn last_ns(&self) -> u64 {
        self.last_ns.load(Relaxed)
    }

    /// Gives for how long nothing came back, though something is awaited, or was until it was given up lately.
    ///
    /// A silence that ended with nobody waiting any more is not over: were it, each batch of requests that is
    /// hedged away from a backend that stalls would be followed by another. After a half of its length one
    /// request is let through to see, and stands for the whole silence while it is not answered; one that could not be
    /// sent elsewhere is spared that for longer.
    pub fn silent_ns(&self, is_repeatable: bool, now_ns: u64) -> u64 {
        let silent_ns = now_ns.saturating_sub(self.moved_ns.load(Relaxed));
        if self.awaited() > 0 {
            return silent_ns;
        }
        match self.given_up_ns.load(Relaxed) {
            0 => 0,
            given_up_ns => {
                let length_ns = given_up_ns.saturating_sub(self.moved_ns.load(Relaxed));
                let until_trial_ns =
                    if is_repeatable { length_ns / TRIALS_A_SILENCE } else { cautious_ns(length_ns) };
                let is_fresh = now_ns.saturating_sub(given_up_ns) < until_trial_ns;
                if is_fresh { silent_ns } else { 0 }
            }
        }
    }

    /// Tells whether requests were given up so lately that one which is sent now continues their silence.
    fn is_in_doubt(&self, now_ns: u64) -> bool {
        let given_up_ns = self.given_up_ns.load(Relaxed);
        let length_ns = given_up_ns.saturating_sub(self.moved_ns.load(Relaxed));
        given_up_ns != 0 && now_ns.saturating_sub(given_up_ns) < length_ns.max(cautious_ns(length_ns))
    }

    /// Gives for how long there was no answer.
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.answered_ns.load(Relaxed))
    }

    /// Tells whether it has answered at moments enough to be compared with others: the first answers of a process
    /// are slow, and one that is judged by them gets no others for long.
    pub(crate) fn is_known(&self) -> bool {
        self.moments.load(Relaxed) >= ENOUGH_MOMENTS
    }

    /// Gives what its recent failures cost, in nanoseconds.
    pub fn penalty_ns(&self, now_ns: u64) -> f64 {
        self.penalty.get(now_ns)
    }
}

/// Gives how long after a silence of a length a request that cannot be sent elsewhere stays away.
fn cautious_ns(length_ns: u64) -> u64 {
    length_ns.saturating_mul(CAUTIOUS_SILENCES).min(length_ns / TRIALS_A_SILENCE + CAUTION_NS)
}
