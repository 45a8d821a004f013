//! The circuit breaker of one service, as a state machine that is told the time.
//!
//! Closed, it counts outcomes over a sliding window and opens when too many fail. Open, it refuses until a
//! time. Half-open, it lets a few trials through: all must succeed for it to close, one failure opens it again.

use std::time::{Duration, Instant};

use crate::config::BreakerConfig;

/// Parts of the sliding window; outcomes leave it a part at a time.
const PARTS: usize = 10;

/// Where a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// A few trials pass.
    HalfOpen,
}

impl BreakerState {
    /// Names the state in figures and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }

    /// Gives the state as a number for figures: the larger, the worse.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }

    /// Gives the state a number stands for.
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Closed,
            1 => Self::HalfOpen,
            _ => Self::Open,
        }
    }
}

/// How a request that passed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The service answered, whatever it said.
    Success,
    /// It was not reached, took too long, or answered 502, 503 or 504.
    Failure,
    /// Nobody knows, because the client went away, fell silent or broke its request off.
    Unknown,
}

/// The permission to send one request; hand it back with [`Breaker::record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    /// The change of state it was given after; what ends later says nothing about the present state.
    epoch: u64,
}

/// The circuit breaker of one service.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    since: Instant,
    epoch: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { window: Box<[Part; PARTS]>, consecutive_failures: u32 },
    Open { until: Instant },
    HalfOpen { under_way: u32, succeeded: u32 },
}

/// The outcomes of one part of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Which part of all time this is; an older one in its place has left the window.
    number: u128,
    requests: u32,
    failures: u32,
}

impl Breaker {
    /// Makes a closed circuit.
    pub(crate) fn new(config: BreakerConfig, now: Instant) -> Self {
        Self { config, since: now, epoch: 0, state: closed() }
    }

    /// Takes new settings. A closed circuit counts anew, since its window may have another length; one that
    /// is not closed stays as it is.
    pub(crate) fn reconfigure(&mut self, config: BreakerConfig) {
        if self.config != config {
            self.config = config;
            if matches!(self.state, State::Closed { .. }) {
                self.state = closed();
            }
        }
    }

    /// Lets a request pass, or says when to try again.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        if let State::Open { until } = self.state
            && now >= until
        {
            self.change(State::HalfOpen { under_way: 0, succeeded: 0 });
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { until } => return Err(*until - now),
            State::HalfOpen { under_way, succeeded } => {
                if *under_way + *succeeded >= self.config.trials {
                    return Err(self.config.open_for);
                }
                *under_way += 1;
            }
        }
        Ok(Pass { epoch: self.epoch })
    }

    /// Notes how a request that passed ended.
    pub(crate) fn record(&mut self, pass: Pass, outcome: Outcome, now: Instant) {
        if !self.config.enabled || pass.epoch != self.epoch {
            return;
        }
        let opens = match &mut self.state {
            State::Closed { window, consecutive_failures } => {
                if outcome == Outcome::Unknown {
                    return;
                }
                let failed = outcome == Outcome::Failure;
                *consecutive_failures = if failed { consecutive_failures.saturating_add(1) } else { 0 };
                let number = part_number(now - self.since, self.config.window);
                count(window, number, failed);
                failed && is_failing(window, number, *consecutive_failures, &self.config)
            }
            State::Open { .. } => false,
            State::HalfOpen { under_way, succeeded } => {
                *under_way = under_way.saturating_sub(1);
                *succeeded += u32::from(outcome == Outcome::Success);
                if *succeeded >= self.config.trials {
                    self.change(closed());
                    return;
                }
                outcome == Outcome::Failure
            }
        };
        if opens {
            self.change(State::Open { until: now + self.config.open_for });
        }
    }

    /// Tells where the circuit stands.
    pub(crate) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

fn closed() -> State {
    State::Closed { window: Box::new([Part::default(); PARTS]), consecutive_failures: 0 }
}

fn part_number(elapsed: Duration, window: Duration) -> u128 {
    // From 1, so that a part never written to is older than all.
    elapsed.as_nanos() * PARTS as u128 / window.as_nanos().max(1) + PARTS as u128
}

fn count(window: &mut [Part; PARTS], number: u128, failed: bool) {
    let part = &mut window[(number % PARTS as u128) as usize];
    if part.number != number {
        *part = Part { number, ..Part::default() };
    }
    part.requests += 1;
    part.failures += u32::from(failed);
}

fn is_failing(window: &[Part; PARTS], number: u128, consecutive: u32, config: &BreakerConfig) -> bool {
    if config.consecutive_failures > 0 && consecutive >= config.consecutive_failures {
        return true;
    }
    let within = window.iter().filter(|part| part.number + PARTS as u128 > number);
    let (requests, failures) = within
        .fold((0, 0), |(requests, failures), part| (requests + part.requests, failures + part.failures));
    requests >= config.minimum_requests && f64::from(failures) >= config.failure_rate * f64::from(requests)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn config() -> BreakerConfig {
        BreakerConfig { consecutive_failures: 3, minimum_requests: 10, trials: 2, ..BreakerConfig::default() }
    }

    fn fail(breaker: &mut Breaker, now: Instant) {
        let pass = breaker.admit(now).unwrap();
        breaker.record(pass, Outcome::Failure, now);
    }

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(config(), now);
        (0..3).for_each(|_| fail(&mut breaker, now));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_which_says_when_to_come_back() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert_eq!(breaker.admit(now + 1000 * MS), Err(4000 * MS));
    }

    #[test]
    fn the_failure_rate_opens_it_only_above_the_minimum() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(BreakerConfig { consecutive_failures: 0, ..config() }, now);
        for turn in 0..10 {
            assert_eq!(breaker.state(), BreakerState::Closed, "{turn}");
            now += MS;
            let pass = breaker.admit(now).unwrap();
            let outcome = if turn % 2 == 1 { Outcome::Failure } else { Outcome::Success };
            breaker.record(pass, outcome, now);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn old_failures_leave_the_window() {
        let start = Instant::now();
        let mut breaker = Breaker::new(BreakerConfig { consecutive_failures: 0, ..config() }, start);
        (0..9).for_each(|_| fail(&mut breaker, start));
        // Not a whole number of windows later, where a part would be overwritten by chance.
        fail(&mut breaker, start + Duration::from_millis(13_500));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn half_open_lets_so_many_trials_through_and_closes_when_they_succeed() {
        let now = Instant::now();
        let mut breaker = open(now);
        let later = now + Duration::from_secs(5);
        let first = breaker.admit(later).unwrap();
        let second = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err());
        breaker.record(first, Outcome::Success, later);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.record(second, Outcome::Success, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_trial_opens_it_again_and_an_abandoned_one_makes_way() {
        let now = Instant::now();
        let mut breaker = open(now);
        let later = now + Duration::from_secs(5);
        let abandoned = breaker.admit(later).unwrap();
        let _second = breaker.admit(later).unwrap();
        breaker.record(abandoned, Outcome::Unknown, later);
        let third = breaker.admit(later).unwrap();
        breaker.record(third, Outcome::Failure, later);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit(later).is_err());
    }

    #[test]
    fn what_ends_after_a_change_does_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(config(), now);
        let late = breaker.admit(now).unwrap();
        (0..3).for_each(|_| fail(&mut breaker, now));
        let later = now + Duration::from_secs(5);
        let _trial = breaker.admit(later).unwrap();
        breaker.record(late, Outcome::Failure, later);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn switched_off_it_never_opens() {
        let now = Instant::now();
        let mut breaker = Breaker::new(BreakerConfig { enabled: false, ..config() }, now);
        (0..100).for_each(|_| fail(&mut breaker, now));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    proptest! {
        /// It never admits more trials than configured at once, never stays open past its time, and a service
        /// that only succeeds is never cut off.
        #[test]
        fn it_keeps_its_promises_whatever_happens(steps in proptest::collection::vec((0u64..3000, 0u8..4), 1..300)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(config(), now);
            let mut passes: Vec<(Pass, BreakerState)> = Vec::new();
            let mut opened = now;
            for (gap, step) in steps {
                now += gap as u32 * MS;
                let before = breaker.state();
                match step {
                    0 | 1 => match breaker.admit(now) {
                        Ok(pass) => {
                            prop_assert_ne!(breaker.state(), BreakerState::Open);
                            passes.push((pass, breaker.state()));
                        }
                        Err(wait) => {
                            prop_assert_ne!(breaker.state(), BreakerState::Closed);
                            prop_assert!(wait <= config().open_for);
                            if breaker.state() == BreakerState::Open {
                                prop_assert!(now < opened + config().open_for);
                            }
                        }
                    },
                    _ => {
                        let outcome = [Outcome::Success, Outcome::Failure][usize::from(step == 3)];
                        if let Some((pass, _)) = passes.pop() {
                            breaker.record(pass, outcome, now);
                            if outcome == Outcome::Success {
                                prop_assert!(before == breaker.state() || breaker.state() == BreakerState::Closed);
                            }
                        }
                    }
                }
                if before != BreakerState::Open && breaker.state() == BreakerState::Open {
                    opened = now;
                    passes.retain(|_| false);
                }
                let trials = passes.iter().filter(|(pass, _)| pass.epoch == breaker.epoch).count();
                if breaker.state() == BreakerState::HalfOpen {
                    prop_assert!(trials <= config().trials as usize);
                }
            }
        }
    }
}
