//! What is wrong with one of the five backends.

use clap::ValueEnum;

use super::service::{Behaviour, HEALTHY};

/// How many backends there are.
pub(crate) const BACKENDS: usize = 5;

/// Which of them is the odd one, from 0: in the middle, so that no tie broken by order finds or avoids it.
const ODD: usize = 2;

/// One of the four situations of issue 3, bar 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// All backends are the same
    Equal,
    /// One is 20 times slower
    Slow,
    /// One stalls for 200 ms in every second
    Stalling,
    /// One answers 500 at once
    Failing,
}

impl Scenario {
    pub(crate) const ALL: [Self; 4] = [Self::Equal, Self::Slow, Self::Stalling, Self::Failing];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Slow => "slow",
            Self::Stalling => "stalling",
            Self::Failing => "failing",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Equal => "(a) all equal",
            Self::Slow => "(b) the third 20 × slower",
            Self::Stalling => "(c) the third stalls 200 ms in every second",
            Self::Failing => "(d) the third answers 500 at once",
        }
    }

    pub(crate) fn behaviours(self) -> [Behaviour; BACKENDS] {
        let mut all = [HEALTHY; BACKENDS];
        all[ODD] = match self {
            Self::Equal => HEALTHY,
            Self::Slow => Behaviour { slowness: 20.0, ..HEALTHY },
            Self::Stalling => Behaviour { stall_ns: 200_000_000, ..HEALTHY },
            Self::Failing => Behaviour { fails: true, ..HEALTHY },
        };
        all
    }

    /// Gives how many requests a second all backends together can serve well.
    pub(crate) fn capacity(self) -> f64 {
        self.behaviours().iter().map(Behaviour::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_counts_only_what_is_served_well() {
        let healthy = HEALTHY.capacity();
        let of = |scenario: Scenario| scenario.capacity() / healthy;
        for (scenario, expected) in [
            (Scenario::Equal, 5.0),
            (Scenario::Slow, 4.05),
            (Scenario::Stalling, 4.8),
            (Scenario::Failing, 4.0),
        ] {
            assert!((of(scenario) - expected).abs() < 1e-9, "{scenario:?}");
        }
    }
}
