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
    /// Put out by failing requests for a time, or until a probe connects.
    Ejected = 3,
    /// It gets no new requests, by order.
    Draining = 4,
    /// Back from being put out, and getting a trickle to show what it can do.
    Trial = 5,
    /// It has answered nothing for a while, and a probe is to tell; until then it gets nothing new.
    Suspect = 6,
}

impl State {
    /// Tells whether a backend in this state gets requests.
    pub fn is_available(self) -> bool {
        matches!(self, Self::Unknown | Self::Up | Self::Trial)
    }

    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Up,
            2 => Self::Down,
            3 => Self::Ejected,
            4 => Self::Draining,
            5 => Self::Trial,
            6 => Self::Suspect,
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
            Self::Draining => "draining",
            Self::Trial => "trial",
            Self::Suspect => "suspect",
        })
    }
}

/// The results in a row that led to the present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streak {
    good: u32,
    bad: u32,
}

impl Streak {
    /// Takes a probe's result in and gives what follows from what probes said: unknown, up or down.
    pub(crate) fn judge(&mut self, state: State, is_good: bool, rise: u32, fall: u32) -> State {
        if is_good {
            *self = Self { good: self.good.saturating_add(1), bad: 0 };
        } else {
            *self = Self { good: 0, bad: self.bad.saturating_add(1) };
        }
        match state {
            State::Unknown if is_good => State::Up,
            State::Down if self.good >= rise => State::Up,
            State::Unknown | State::Up if self.bad >= fall => State::Down,
            state => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = State> {
        (0..3u8).prop_map(State::from_number)
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
                    (false, true) => prop_assert!(*good && run >= rise),
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
