//! The verdicts.

use super::{Config, Phase, Reason, Record};

/// The odds that a run of failures or a rate is mere chance, below which a backend is to blame. A balancer
/// looks at some 10⁵ runs an hour of each backend; this lets one in thousands of hours deceive it.
const CHANCE: f64 = 1e-9;

/// The same for a rate, in standard deviations of the others' rate.
const DEVIATIONS: f64 = 6.0;

/// So many good answers in a row end a trial; as many as a slow backend gives within an instant of load.
const TRIAL_GOOD: u32 = 3;

/// So many slow answers end it badly; one may be an accident.
const TRIAL_SLOW: u32 = 2;

/// What was observed of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Observation {
    /// What is remembered of its ejections.
    pub record: Record,
    /// Whether nothing but its phase keeps requests from it: it is up and not drained.
    pub is_usable: bool,
    /// Failures since the last good answer.
    pub run: u32,
    /// Requests that ended within the window.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// The median latency of the window in nanoseconds, if at least the minimum of requests was answered.
    pub median_ns: Option<f64>,
    /// Whether requests pile up at it and neither they nor a probe are answered.
    pub is_stalled: bool,
    /// Good answers in a row since its trial began.
    pub trial_good: u32,
    /// Slow answers since its trial began.
    pub trial_slow: u32,
}

impl Observation {
    /// Tells whether others are compared with it.
    fn is_of_crowd(&self) -> bool {
        self.is_usable && self.record.phase == Phase::In
    }
}

/// What becomes of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing changes.
    Stay,
    /// It is put out.
    Eject {
        /// Why.
        reason: Reason,
        /// When its trial begins.
        until_ns: u64,
    },
    /// Its time out is over, and its trial begins.
    Try,
    /// It is one of them again.
    Return,
    /// It behaved well so long that it was put out one time less.
    Forgive,
}

/// Judges all backends of a cluster; gives a verdict for each.
///
/// At most `max_share` of them are out at a time, and never the last that could be used; when more deserve it,
/// those that fail go before those that are slow.
pub(crate) fn judge(all: &[Observation], config: &Config, now_ns: u64) -> Vec<Verdict> {
    let (mut census, crowd) = (Census::take(all), Crowd::of(all));
    let mut verdicts: Vec<Verdict> = all.iter().map(|one| judge_return(one, config, now_ns)).collect();
    let mut accused: Vec<(usize, Reason, f64)> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        if matches!(verdicts[index], Verdict::Stay | Verdict::Forgive) {
            let accusation = accuse(one, &crowd.without(one), config);
            accused.extend(accusation.map(|(reason, badness)| (index, reason, badness)));
        }
    }
    accused.sort_by(|a, b| a.1.index().cmp(&b.1.index()).then(b.2.total_cmp(&a.2)));
    for (index, reason, _) in accused {
        let one = &all[index];
        if census.may_eject(one, config) {
            census.eject(one);
            verdicts[index] = eject(&one.record, reason, config, now_ns);
        }
    }
    verdicts
}

/// Judges one backend among all, at once after a failure or an answer on trial; costs a look at each.
pub(crate) fn judge_one(all: &[Observation], index: usize, config: &Config, now_ns: u64) -> Verdict {
    let one = &all[index];
    if let Some((reason, _)) = accuse(one, &Crowd::of(all).without(one), config)
        && Census::take(all).may_eject(one, config)
    {
        return eject(&one.record, reason, config, now_ns);
    }
    judge_return(one, config, now_ns)
}

fn eject(record: &Record, reason: Reason, config: &Config, now_ns: u64) -> Verdict {
    let time = config.time_out(record.times.saturating_add(1));
    Verdict::Eject { reason, until_ns: now_ns.saturating_add(nanoseconds(time)) }
}

/// Judges whether a backend comes back, or is forgiven a time.
fn judge_return(one: &Observation, config: &Config, now_ns: u64) -> Verdict {
    let record = &one.record;
    match record.phase {
        Phase::Out { until_ns, .. } if now_ns >= until_ns => Verdict::Try,
        Phase::Trial { .. } if one.trial_good >= TRIAL_GOOD => Verdict::Return,
        // As long as it would be out the next time, but at peace.
        Phase::In
            if record.times > 0
                && now_ns.saturating_sub(record.since_ns) >= nanoseconds(config.time_out(record.times)) =>
        {
            Verdict::Forgive
        }
        _ => Verdict::Stay,
    }
}

/// Gives the reason to put a backend out, if there is one, and how bad it is.
fn accuse(one: &Observation, others: &Others, config: &Config) -> Option<(Reason, f64)> {
    if !config.enabled || matches!(one.record.phase, Phase::Out { .. }) {
        return None;
    }
    if let Phase::Trial { reason } = one.record.phase {
        // It was out before, so little is enough.
        if one.run > 0 {
            return Some((Reason::ConsecutiveFailures, f64::from(one.run)));
        }
        if one.trial_slow >= TRIAL_SLOW {
            return Some((if reason == Reason::Stalled { reason } else { Reason::Latency }, 0.0));
        }
    }
    if !others.fail_alike && one.run >= required_run(config.consecutive_failures, others.failure_rate) {
        return Some((Reason::ConsecutiveFailures, f64::from(one.run)));
    }
    if one.requests >= u64::from(config.minimum_requests) {
        let rate = one.failures as f64 / one.requests as f64;
        let deviation =
            (others.failure_rate * (1.0 - others.failure_rate) / one.requests as f64).sqrt() * DEVIATIONS;
        if rate >= config.failure_rate && rate >= others.failure_rate + deviation {
            return Some((Reason::FailureRate, rate));
        }
    }
    if one.is_stalled {
        return Some((Reason::Stalled, 0.0));
    }
    if config.latency_factor > 0.0
        && let (Some(own), Some(theirs)) = (one.median_ns, others.median_ns)
        && own >= theirs * config.latency_factor
        && own >= theirs + config.latency_floor.as_nanos() as f64
    {
        return Some((Reason::Latency, own / theirs.max(1.0)));
    }
    None
}

/// Gives how many failures in a row are asked for when the others fail at a rate: so many that chance alone
/// gives such a run with odds of [`CHANCE`], and at least `least`.
///
/// Behind a gateway one broken service fails a share of the requests of every gateway alike, and five of them
/// in a row are then nothing special.
pub(crate) fn required_run(least: u32, others_failure_rate: f64) -> u32 {
    if others_failure_rate >= 1.0 {
        return u32::MAX;
    }
    let by_chance = CHANCE.ln() / others_failure_rate.max(f64::MIN_POSITIVE).ln();
    least.max(by_chance.ceil() as u32)
}

/// The backends that get their share of requests, taken together.
struct Crowd {
    count: usize,
    requests: u64,
    failures: u64,
    /// Sorted.
    medians: Vec<f64>,
    /// Sorted.
    runs: Vec<u32>,
}

impl Crowd {
    fn of(all: &[Observation]) -> Self {
        let mut crowd = Self { count: 0, requests: 0, failures: 0, medians: Vec::new(), runs: Vec::new() };
        for one in all.iter().filter(|one| one.is_of_crowd()) {
            crowd.count += 1;
            crowd.requests += one.requests;
            crowd.failures += one.failures;
            crowd.medians.extend(one.median_ns);
            crowd.runs.push(one.run);
        }
        crowd.medians.sort_unstable_by(f64::total_cmp);
        crowd.runs.sort_unstable();
        crowd
    }

    /// Gives what the others are like, to one who may be of the crowd.
    fn without(&self, one: &Observation) -> Others {
        let is_in = one.is_of_crowd();
        let (requests, failures) = match is_in {
            true => (self.requests - one.requests, self.failures - one.failures),
            false => (self.requests, self.failures),
        };
        let left_out = one.median_ns.filter(|_| is_in);
        let place = left_out.map(|own| self.medians.partition_point(|median| *median < own));
        let medians = self.medians.len() - usize::from(place.is_some());
        // The middle of what is left when the own one is taken away.
        let middle = medians / 2 + usize::from(place.is_some_and(|place| place <= medians / 2));
        let failing_too = self.runs.len() - self.runs.partition_point(|run| run.saturating_mul(2) < one.run);
        Others {
            failure_rate: if requests == 0 { 0.0 } else { failures as f64 / requests as f64 },
            // With one other alone nobody can tell which of the two is the odd one.
            median_ns: (medians >= 2).then(|| self.medians[middle]),
            fail_alike: one.run > 0
                && self.count > usize::from(is_in)
                && (failing_too - usize::from(is_in)) * 2 >= self.count - usize::from(is_in),
        }
    }
}

/// What the others are like.
struct Others {
    failure_rate: f64,
    median_ns: Option<f64>,
    /// Whether at least half of them have a run of failures half as long: what they stand on has failed.
    fail_alike: bool,
}

/// How many are there, out, and usable.
struct Census {
    total: usize,
    out: usize,
    usable: usize,
}

impl Census {
    fn take(all: &[Observation]) -> Self {
        let is_out = |one: &&Observation| matches!(one.record.phase, Phase::Out { .. });
        Self {
            total: all.len(),
            out: all.iter().filter(is_out).count(),
            usable: all.iter().filter(|one| one.is_usable && !is_out(one)).count(),
        }
    }

    fn may_eject(&self, one: &Observation, config: &Config) -> bool {
        let remaining = self.usable - usize::from(one.is_usable && self.usable > 0);
        remaining > 0 && (self.out + 1) as f64 <= config.max_share * self.total as f64
    }

    fn eject(&mut self, one: &Observation) {
        self.out += 1;
        self.usable -= usize::from(one.is_usable);
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
