//! Which backends get requests: the sum of probes, failures and orders, drawn for all at once.

use std::sync::atomic::Ordering::Relaxed;

use super::{Cluster, Roster};
use crate::Backend;
use crate::backend::condition::Condition;
use crate::backend::rates::Class;
use crate::ejection::{self, Observation, Phase, Reason, Verdict};
use crate::health::State;
use crate::selection::Candidate;

/// The share of its weight a backend has on trial.
const TRIAL_SHARE: f64 = 0.05;

/// A backend that refuses connections is tried again after this part of the time others are out: a refusal
/// costs next to nothing, and a restart takes seconds.
const DEAD_PART: u32 = 10;

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is well.
    Good,
    /// It answers, but not well.
    Unwell,
    /// Nobody listens there.
    Refused,
    /// Nothing was answered in time.
    Silent,
}

impl Cluster {
    /// Looks at a backend after a failure, or after an answer on trial; costs little if nothing is amiss.
    pub(crate) fn consider(&self, backend: &Backend, now_ns: u64) {
        let options = self.options.load();
        let config = &options.ejection;
        let (state, run) = (backend.state(), backend.run.load(Relaxed));
        if state == State::Suspect && run == 0 {
            self.clear(backend, now_ns);
            return;
        }
        // Upkeep looks at everything a moment later; here no flood of failures may cost a look at all each.
        let least = config.consecutive_failures;
        let is_due = state == State::Trial || run == least || (run > least && run.is_power_of_two());
        if !config.enabled || !is_due || state == State::Ejected {
            return;
        }
        let roster = self.roster();
        let members = self.members.load();
        let Some(index) = members.backends.iter().position(|one| std::ptr::eq(&**one, backend)) else {
            return;
        };
        let seconds = config.window.as_secs();
        let all: Vec<Observation> = members.backends.iter().map(|one| one.observe(seconds, now_ns)).collect();
        let verdict = ejection::judge_one(&all, index, config, now_ns);
        if self.apply_verdict(backend, &mut backend.condition(), verdict, now_ns) {
            self.settle(&roster, now_ns);
        }
    }

    /// Takes a backend's verdict in; tells whether that changed where it stands.
    pub(super) fn apply_verdict(
        &self,
        backend: &Backend,
        condition: &mut Condition,
        verdict: Verdict,
        now_ns: u64,
    ) -> bool {
        let before = condition.record.phase;
        if !condition.record.apply(verdict, now_ns) {
            return false;
        }
        if let Verdict::Eject { reason, .. } = verdict {
            condition.ejections[reason.index()] += 1;
            self.counters.ejections[reason.index()].fetch_add(1, Relaxed);
            let out = self.options.load().ejection.time_out(condition.record.times);
            let (cluster, backend) = (self.name(), backend.name());
            tracing::warn!(cluster, backend, %reason, ?out, "a backend was put out");
        }
        // Where nobody probes, requests must find out whether somebody listens again.
        if verdict == Verdict::Try && condition.health != State::Down {
            condition.is_dead = false;
        }
        // What was seen before belongs to the phase before; after a trial its answers are what is known.
        let is_after_trial = matches!(before, Phase::Trial { .. });
        if matches!(condition.record.phase, Phase::In | Phase::Trial { .. }) && !is_after_trial {
            backend.signals().forget();
        }
        backend.run.store(0, Relaxed);
        backend.trial_good.store(0, Relaxed);
        backend.trial_slow.store(0, Relaxed);
        condition.median_ns = None;
        (condition.is_suspect, condition.is_cleared, condition.is_stalled) = (false, false, false);
        true
    }

    /// Puts a backend out that refuses connections. It counts neither against the share that may be out nor
    /// as the last one: there is nobody to send anything to.
    pub(crate) fn note_dead(&self, backend: &Backend, now_ns: u64) {
        let roster = self.roster();
        let mut condition = backend.condition();
        let is_out = matches!(condition.record.phase, Phase::Out { .. });
        if !condition.is_dead {
            condition.is_dead = true;
            if !is_out {
                let times = condition.record.times.saturating_add(1);
                let time = self.options.load().ejection.time_out(times) / DEAD_PART;
                let until_ns = now_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
                let verdict = Verdict::Eject { reason: Reason::Connect, until_ns };
                self.apply_verdict(backend, &mut condition, verdict, now_ns);
            }
            drop(condition);
            self.settle(&roster, now_ns);
            backend.nudge.notify_one();
        }
    }

    /// Has every backend that gets requests probed at once, because one request failed at all it was sent to.
    pub(crate) fn doubt_all(&self) {
        self.members.load().backends.iter().for_each(|backend| backend.doubt());
    }

    /// Takes a suspicion back: something was answered.
    fn clear(&self, backend: &Backend, now_ns: u64) {
        let roster = self.roster();
        let mut condition = backend.condition();
        if condition.is_suspect {
            condition.is_suspect = false;
            drop(condition);
            self.settle(&roster, now_ns);
        }
    }

    /// Takes in what a probe found, and what follows from it and those before: unknown, up or down.
    pub(crate) fn note_probe(&self, backend: &Backend, finding: Finding, health: State, now_ns: u64) {
        let roster = self.roster();
        let mut condition = backend.condition();
        let was_suspect = condition.is_suspect;
        let before = std::mem::replace(&mut condition.health, health);
        match finding {
            Finding::Good => {
                if health == State::Up && before == State::Down {
                    backend.signals().forget();
                }
                backend.note_listening();
                condition.is_dead = false;
                condition.is_suspect = false;
                condition.is_cleared |= was_suspect;
                match condition.record.phase {
                    // The fault was that nobody listened, and somebody does.
                    Phase::Out { reason: Reason::Connect, .. } => {
                        self.apply_verdict(backend, &mut condition, Verdict::Return, now_ns);
                    }
                    // It did not answer, and now it does; whether to requests too, the trial shows.
                    Phase::Out { reason: Reason::Stalled, .. } => {
                        self.apply_verdict(backend, &mut condition, Verdict::Try, now_ns);
                    }
                    Phase::Trial { reason: Reason::Stalled | Reason::Connect } => {
                        backend.trial_good.fetch_add(1, Relaxed);
                    }
                    _ => {}
                }
            }
            // One refusal may be a restart; after several nobody is there.
            Finding::Refused => condition.is_dead |= health == State::Down,
            // What answers neither requests nor probes is dead for all that can be told from here.
            Finding::Silent => {
                condition.is_stalled |= was_suspect;
                condition.is_dead |= health == State::Down && !backend.answers(now_ns);
            }
            Finding::Unwell => {
                condition.is_suspect = false;
                condition.is_cleared |= was_suspect;
            }
        }
        drop(condition);
        self.settle(&roster, now_ns);
    }

    /// Tells whether any backend can be used.
    pub fn is_available(&self) -> bool {
        self.outage_ns.load(Relaxed) == 0
    }

    /// Tells whether so few backends are well that all are used.
    pub fn is_panicking(&self) -> bool {
        self.is_panicking.load(Relaxed)
    }

    /// Draws the sum for every backend: whether it gets requests, its weight, its limit, its state.
    pub(super) fn settle(&self, roster: &Roster, now_ns: u64) {
        let options = self.options.load();
        let members = self.members.load();
        let is_well = |backend: &Backend, condition: &Condition| {
            // A backend whose name was never resolved has generation 0.
            condition.is_normal() && backend.generation() != 0
        };
        // Of the ranks in which a backend is well the first; where none is, all serve as far as they can.
        let ranks = members.backends.iter().filter_map(|backend| {
            let condition = backend.condition();
            is_well(backend, &condition).then_some(condition.rank)
        });
        let on_duty = ranks.min();
        let serves = |condition: &Condition| on_duty.is_none_or(|rank| condition.rank == rank);
        let (mut wanted, mut normal) = (0_usize, 0_usize);
        for backend in &members.backends {
            let condition = backend.condition();
            if serves(&condition) {
                wanted += usize::from(condition.is_wanted());
                normal += usize::from(is_well(backend, &condition));
            }
        }
        let is_panicking = (normal as f64) < options.panic_threshold * wanted as f64;
        let mut available = 0;
        for backend in members.backends.iter().chain(&roster.leaving) {
            let mut condition = backend.condition();
            let is_usable_in_panic = is_panicking && condition.is_wanted() && !condition.is_dead;
            let is_available =
                is_well(backend, &condition) || is_usable_in_panic && backend.generation() != 0;
            let is_available = is_available && serves(&condition);
            available += usize::from(is_available);
            let on_trial = matches!(condition.record.phase, Phase::Trial { .. }) && !is_panicking;
            let share = if on_trial { TRIAL_SHARE } else { 1.0 };
            let signals = backend.signals();
            signals.set_weight(condition.weight * share);
            let is_full = condition.is_full();
            if is_full && !condition.was_full && normal > 1 && !options.slow_start.is_zero() {
                signals.start_slowly(now_ns, options.slow_start);
            }
            condition.was_full = is_full;
            let limit = if on_trial { 1 } else { condition.limit.limit(&options.limit) };
            backend.limit.store(limit, Relaxed);
            signals.set_available(is_available);
            self.show_state(backend, &mut condition, now_ns);
        }
        if self.is_panicking.swap(is_panicking, Relaxed) != is_panicking {
            let cluster = self.name();
            if is_panicking {
                tracing::warn!(cluster, normal, wanted, "few backends are well, so all are used");
            } else {
                tracing::info!(cluster, normal, wanted, "enough backends are well again");
            }
        }
        let queue = &self.home.queue;
        if available == 0 {
            if self.outage_ns.load(Relaxed) == 0 {
                self.outage_ns.store(now_ns, Relaxed);
                queue.extend(options.limit.outage_wait);
            }
        } else if self.outage_ns.swap(0, Relaxed) != 0 {
            // What they waited for is there; now they wait for a place like everybody.
            queue.extend(options.limit.queue_wait);
        }
        self.tell_waiting();
    }

    fn show_state(&self, backend: &Backend, condition: &mut Condition, now_ns: u64) {
        let to = condition.state();
        let from = State::from_number(backend.standing.swap(to as u8, Relaxed));
        if from == to {
            return;
        }
        condition.since_ns = now_ns;
        backend.uptime().change(!matches!(to, State::Down | State::Ejected), now_ns);
        let (cluster, backend) = (self.name(), backend.name());
        let is_expected = (from, to) == (State::Unknown, State::Up);
        if is_expected || from == State::Suspect || to == State::Suspect {
            // Every start would tell it of every backend, and it is what everybody expects.
            tracing::debug!(cluster, backend, %from, %to, "a backend changed its state");
        } else {
            tracing::info!(cluster, backend, %from, %to, "a backend changed its state");
        }
    }
}

impl Backend {
    /// Tells whether requests were answered within the last second or two: under too much load probes may go
    /// unanswered where requests do not.
    fn answers(&self, now_ns: u64) -> bool {
        let classes = self.rates.tally(1, now_ns).classes;
        classes.iter().sum::<u64>() > classes[Class::Error as usize]
    }

    /// Gives the median of the window, or that of the last answers if they are faster: all of the window may have been
    /// held up by one stall that is over.
    fn lasting_median_ns(&self, median_ns: f64) -> f64 {
        match self.signals().latency_ns() {
            0.0 => median_ns,
            last_ns => median_ns.min(last_ns),
        }
    }

    /// Gives what the judgement of its requests needs.
    pub(super) fn observe(&self, seconds: u64, now_ns: u64) -> Observation {
        let condition = self.condition();
        // Not what was seen before it was out.
        let own = now_ns.saturating_sub(condition.record.since_ns) / 1_000_000_000;
        let seconds = if condition.record.times == 0 { seconds } else { seconds.min(own) };
        let tally = self.rates.tally(seconds, now_ns);
        Observation {
            record: condition.record,
            is_usable: condition.is_usable() && self.generation() != 0,
            run: self.run.load(Relaxed),
            requests: tally.requests(),
            failures: tally.failures,
            median_ns: condition.median_ns.map(|median_ns| self.lasting_median_ns(median_ns)),
            is_stalled: condition.is_stalled,
            trial_good: self.trial_good.load(Relaxed),
            trial_slow: self.trial_slow.load(Relaxed),
        }
    }
}
