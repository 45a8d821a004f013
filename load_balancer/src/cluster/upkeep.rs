//! What is looked after now and then, from the probing thread: silence, rates, limits, what is usual.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Cluster, Options};
use crate::Backend;
use crate::backend::condition::Condition;
use crate::backend::histogram::Counts;
use crate::backend::rates::Class;
use crate::dispatch::hedge;
use crate::ejection::{self, Observation, Phase};
use crate::health::State;
use crate::limit::Window;

/// How often it is looked while there are requests. A backend that stalls is suspected after two or three.
pub(crate) const BUSY_PERIOD: Duration = Duration::from_millis(50);

/// How often while there are none: there is nothing to lose.
pub(crate) const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// So long nothing may be answered before a backend is suspected; shorter pauses are every scheduler's.
const QUIET_FLOOR_NS: u64 = 100_000_000;

/// Or so many times what nineteen of twenty answers take.
const QUIET_FACTOR: u64 = 10;

/// What is usual is found out so often; it costs a look at every histogram.
const USUAL_PERIOD_NS: u64 = 1_000_000_000;

/// The least time a limit is judged by.
const WINDOW_NS: u64 = 100_000_000;

/// Without probes that ask, so many requests must have been silent for so long to prove a stall.
const PROOF_REQUESTS: u64 = 3;
const PROOF_NS: u64 = 1_000_000_000;

/// What upkeep remembers between two looks.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    looked_ns: u64,
    /// When it was last found out what is usual.
    found_ns: u64,
    begun: u64,
}

impl Cluster {
    /// Looks after everything once; gives when it should be looked again.
    pub(crate) fn look_after(&self, upkeep: &mut Upkeep, now_ns: u64) -> Duration {
        let mut roster = self.roster();
        let options = self.options.load();
        let members = self.members.load();
        // When this thread was held up, so were the others, and silence proves nothing.
        let was_held_up = now_ns.saturating_sub(upkeep.looked_ns) > 3 * BUSY_PERIOD.as_nanos() as u64;
        let is_saturated =
            self.look_at_threads(Duration::from_nanos(now_ns.saturating_sub(upkeep.looked_ns)));
        upkeep.looked_ns = now_ns;
        let is_usual_due = now_ns.saturating_sub(upkeep.found_ns) >= USUAL_PERIOD_NS;
        let (mut has_changed, mut begun, mut in_flight) = (false, 0, 0);
        for backend in &members.backends {
            let mut condition = backend.condition();
            has_changed |= self.watch_silence(backend, &mut condition, &options, was_held_up, now_ns);
            condition.quiet.window_is_ours |= is_saturated;
            has_changed |= backend.adapt_limit(&mut condition, &options, now_ns);
            begun += backend.requests();
            in_flight += backend.in_flight();
        }
        if is_usual_due {
            upkeep.found_ns = now_ns;
            self.find_usual(&members.backends, &options, now_ns);
        }
        let seconds = options.ejection.window.as_secs();
        let all: Vec<Observation> =
            members.backends.iter().map(|backend| backend.observe(seconds, now_ns)).collect();
        for (backend, verdict) in
            members.backends.iter().zip(ejection::judge(&all, &options.ejection, now_ns))
        {
            has_changed |= self.apply_verdict(backend, &mut backend.condition(), verdict, now_ns);
        }
        let leaving = roster.leaving.len();
        roster.leaving.retain(|backend| backend.in_flight() > 0);
        has_changed |= roster.leaving.len() != leaving;
        if has_changed {
            self.settle(&roster, now_ns);
        } else {
            // A place that became free just as somebody joined the queue may have gone unnoticed.
            self.tell_waiting();
        }
        let is_busy = in_flight > 0 || begun != upkeep.begun || self.waiting() > 0;
        upkeep.begun = begun;
        if is_busy { BUSY_PERIOD } else { IDLE_PERIOD }
    }

    /// Tells whether an answer is far slower than what is usual.
    pub(crate) fn is_slow(&self, latency_ns: u64) -> bool {
        latency_ns as f64 >= f64::from_bits(self.slow_from.load(Relaxed))
    }

    /// Gives the time after which a request is late and may be sent to a second backend; `None` while nothing is
    /// known and when hedging is off. While our own threads are what is slow, more work would make them slower.
    pub fn hedge_delay(&self) -> Option<Duration> {
        let delay = match self.hedge_delay_ns.load(Relaxed) {
            0 => return None,
            delay => Duration::from_nanos(delay),
        };
        Some(if self.is_saturated.load(Relaxed) { delay.max(hedge::CAUTION) } else { delay })
    }

    /// Tells whether it has answered nothing for as long as makes it suspect.
    fn is_quiet(&self, condition: &Condition, now_ns: u64) -> bool {
        let usual_ns = self.usual_ns.load(Relaxed);
        let bound_ns = QUIET_FLOOR_NS.max(usual_ns.saturating_mul(QUIET_FACTOR));
        now_ns.saturating_sub(condition.quiet.since_ns) >= bound_ns
    }

    /// Suspects a backend that has requests to answer and answers none, and has it probed at once.
    fn watch_silence(
        &self,
        backend: &Backend,
        condition: &mut Condition,
        options: &Options,
        was_held_up: bool,
        now_ns: u64,
    ) -> bool {
        let (begun, answers, ended) = backend.counts();
        let quiet = &mut condition.quiet;
        let waits_for_none = begun <= ended && begun == quiet.begun;
        quiet.begun = begun;
        if answers != quiet.answers || waits_for_none || was_held_up {
            (quiet.answers, quiet.since_ns) = (answers, now_ns);
            condition.is_cleared = false;
            return std::mem::take(&mut condition.is_suspect);
        }
        if !self.is_quiet(condition, now_ns) || condition.is_cleared || !condition.is_usable() {
            return false;
        }
        let silent_ns = now_ns.saturating_sub(condition.quiet.since_ns);
        if options.health.path.is_empty() {
            // A connection tells nothing: the kernel opens it for a process that is stopped.
            condition.is_stalled |= begun.saturating_sub(ended) >= PROOF_REQUESTS && silent_ns >= PROOF_NS;
        } else if !condition.is_suspect && condition.record.phase == Phase::In {
            backend.nudge.notify_one();
        }
        !std::mem::replace(&mut condition.is_suspect, true)
    }

    /// Finds out what is usual, from where on an answer is late, and from where on it is slow.
    fn find_usual(&self, backends: &[Arc<Backend>], options: &Options, now_ns: u64) {
        let mut all = Counts::default();
        let mut medians = Vec::with_capacity(backends.len());
        for backend in backends {
            let mut condition = backend.condition();
            let since_ns = if condition.record.times == 0 { 0 } else { condition.record.since_ns };
            let mut own = Counts::default();
            backend.histogram.add_recent(&mut own, since_ns, now_ns);
            backend.histogram.add_recent(&mut all, 0, now_ns);
            let is_enough = own.total() >= u64::from(options.ejection.minimum_requests);
            condition.median_ns = is_enough.then(|| own.quantile(0.5));
            if condition.is_full() {
                medians.extend(condition.median_ns);
            }
        }
        let (usual_ns, late) = match all.total() {
            0 => (0.0, None),
            answers => {
                let usual_ns = all.quantile(hedge::QUANTILE);
                let late = options.hedge.delay(answers, usual_ns);
                (usual_ns, late.or_else(|| options.hedge.delay_of_few(answers, all.quantile(1.0))))
            }
        };
        let late_ns = late.map_or(0, |late| u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
        self.usual_ns.store(usual_ns as u64, Relaxed);
        self.hedge_delay_ns.store(late_ns, Relaxed);
        let middle = medians.len() / 2;
        let slow_from = match (medians.is_empty(), options.ejection.latency_factor) {
            (false, factor) if factor > 0.0 => {
                let median = *medians.select_nth_unstable_by(middle, f64::total_cmp).1;
                (median * factor).max(median + options.ejection.latency_floor.as_nanos() as f64)
            }
            _ => f64::INFINITY,
        };
        self.slow_from.store(slow_from.to_bits(), Relaxed);
    }
}

impl Backend {
    /// Gives the requests begun, those answered, and those that ended in any way.
    fn counts(&self) -> (u64, u64, u64) {
        let ended: u64 = self.rates.totals().iter().sum();
        let errors = self.rates.totals()[Class::Error as usize];
        (self.requests(), ended - errors, ended + self.canceled.load(Relaxed))
    }

    pub(super) fn in_flight(&self) -> u32 {
        crate::selection::Candidate::signals(self).in_flight()
    }

    /// Judges the limit by the window that ends now; tells whether it changed.
    fn adapt_limit(&self, condition: &mut Condition, options: &Options, now_ns: u64) -> bool {
        let length_ns = now_ns.saturating_sub(condition.quiet.window_ns);
        if length_ns < WINDOW_NS || self.state() == State::Trial {
            return false;
        }
        let (_, answers, _) = self.counts();
        let sum_ns = self.latency_sum_ns.load(Relaxed);
        let quiet = &mut condition.quiet;
        let window = Window {
            answers: answers.saturating_sub(quiet.window_answers),
            latency_sum_ns: sum_ns.saturating_sub(quiet.window_sum_ns),
            peak: self.peak.load(Relaxed),
            length: Duration::from_nanos(length_ns),
            is_ours: quiet.window_is_ours,
        };
        if !condition.limit.update(&window, &options.limit) {
            return false;
        }
        (quiet.window_ns, quiet.window_answers, quiet.window_sum_ns) = (now_ns, answers, sum_ns);
        quiet.window_is_ours = false;
        self.peak.store(crate::selection::Candidate::signals(self).awaited(), Relaxed);
        let limit = condition.limit.limit(&options.limit);
        self.limit.swap(limit, Relaxed) < limit
    }
}
