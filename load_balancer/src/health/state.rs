//! Up, down and in between: a state machine over the results of probes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum State {
    /// Not probed yet; it gets requests.
    Unknown = 0,
    /// Probes succeed.
    Up = 1,
    /// Probes fail.
    Down = 2,
    /// Put out by failing requests, until a probe succeeds.
    Ejected = 3,
}

impl State {
    /// Tells whether a backend in this state gets requests.
    pub fn is_available(self) -> bool {
        matches!(self, Self::Unknown | Self::Up)
    }

    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Up,
            2 => Self::Down,
            3 => Self::Ejected,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
        })
    }
}

/// The results in a row that led to the present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Streak {
    good: u32,
    bad: u32,
}

impl Streak {
    /// Takes a probe's result in and gives the state that follows.
    pub(super) fn judge(&mut self, state: State, is_good: bool, rise: u32, fall: u32) -> State {
        if is_good {
            *self = Self { good: self.good.saturating_add(1), bad: 0 };
        } else {
            *self = Self { good: 0, bad: self.bad.saturating_add(1) };
        }
        match state {
            // What requests put out, one good probe brings back: the fault was seen by them alone.
            State::Unknown | State::Ejected if is_good => State::Up,
            State::Down if self.good >= rise => State::Up,
            State::Unknown | State::Up | State::Ejected if self.bad >= fall => State::Down,
            state => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = State> {
        (0..4u8).prop_map(State::from_number)
    }

    proptest! {
        #[test]
        fn the_state_follows_from_the_last_results(
            start in states(),
            results in proptest::collection::vec(any::<bool>(), 0..40),
            rise in 1..5u32,
            fall in 1..5u32,
        ) {
            let mut streak = Streak::default();
            let mut state = start;
            for (index, good) in results.iter().enumerate() {
                let before = state;
                state = streak.judge(before, *good, rise, fall);
                let run = results[..=index].iter().rev().take_while(|one| *one == good).count() as u32;
                match (before.is_available(), state.is_available()) {
                    (true, false) => prop_assert!(!good && run >= fall),
                    (false, true) => prop_assert!(*good && (run >= rise || before == State::Ejected)),
                    _ => {}
                }
                if run >= rise && *good {
                    prop_assert!(state.is_available(), "enough good probes always bring a backend back");
                }
                if run >= fall && !good {
                    prop_assert_eq!(state, State::Down, "enough bad probes always put it out");
                }
            }
        }
    }

    #[test]
    fn one_bad_probe_is_forgiven() {
        let mut streak = Streak::default();
        assert_eq!(streak.judge(State::Up, false, 2, 3), State::Up);
        assert_eq!(streak.judge(State::Up, false, 2, 3), State::Up);
        assert_eq!(streak.judge(State::Up, true, 2, 3), State::Up);
        assert_eq!(streak.judge(State::Up, false, 2, 3), State::Up);
    }
}
