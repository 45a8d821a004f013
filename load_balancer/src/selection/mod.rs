//! Which backend gets a request: pure functions of what is known, the time and a random source.

use rand::Rng;
use serde::{Deserialize, Serialize};

/// The latency assumed of a backend that was never measured, in nanoseconds: less than any answer takes, so
/// that a new backend is tried soon.
const UNKNOWN_LATENCY_NS: f64 = 50_000.0;

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Of two at random, the one with the lower peak EWMA latency × (requests in flight + 1), plus a penalty
    /// for recent failures.
    #[default]
    PeakEwma,
    /// Of two at random, the one with fewer requests in flight.
    LeastRequest,
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
}

/// What a choice looks at.
pub trait Candidate {
    /// Tells whether the backend may get requests at all.
    fn is_available(&self) -> bool;
    /// Gives the requests it is working on.
    fn in_flight(&self) -> u32;
    /// Gives the latency estimate in nanoseconds; zero when nothing is known.
    fn latency_ns(&self, now_ns: u64) -> f64;
    /// Gives the penalty for recent failures in nanoseconds.
    fn penalty_ns(&self, now_ns: u64) -> f64;
}

/// What a request is expected to cost at a backend, in nanoseconds.
pub fn score(candidate: &impl Candidate, now_ns: u64) -> f64 {
    let latency = candidate.latency_ns(now_ns).max(UNKNOWN_LATENCY_NS);
    latency * (f64::from(candidate.in_flight()) + 1.0) + candidate.penalty_ns(now_ns)
}

/// Chooses a backend by its index; `None` when none is available outside `excluded`.
///
/// `turn` is used by [`Policy::RoundRobin`] alone and should grow by one with every choice.
pub fn choose_backend<C: Candidate, T: std::ops::Deref<Target = C>>(
    backends: &[T],
    policy: Policy,
    excluded: &[usize],
    turn: usize,
    now_ns: u64,
    rng: &mut impl Rng,
) -> Option<usize> {
    let eligible = || {
        let all = backends.iter().enumerate();
        all.filter(|(index, backend)| backend.is_available() && !excluded.contains(index))
            .map(|(index, _)| index)
    };
    // Counted and found again, because a list of them would be an allocation a request.
    let count = eligible().count();
    let pick = |rank: usize| eligible().nth(rank);
    match (count, policy) {
        (0, _) => None,
        (1, _) => pick(0),
        (_, Policy::RoundRobin) => pick(turn % count),
        (_, Policy::Random) => pick(rng.random_range(0..count)),
        (_, Policy::PeakEwma | Policy::LeastRequest) => {
            let first = rng.random_range(0..count);
            let second = (first + rng.random_range(1..count)) % count;
            let (first, second) = (pick(first)?, pick(second)?);
            let cost = |index: usize| match policy {
                Policy::LeastRequest => f64::from(backends[index].in_flight()),
                _ => score(&*backends[index], now_ns),
            };
            Some(if cost(second) < cost(first) { second } else { first })
        }
    }
}

#[cfg(test)]
mod tests;
