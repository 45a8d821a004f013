//! Virtual time: events in the order of their times, and random draws that depend on the seed alone.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use rand::Rng;
use rand::rngs::SmallRng;

/// Nanoseconds in a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Events to come; of two at one time the one planned first comes first.
pub(crate) struct Events<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
    pub(crate) now: u64,
}

struct Planned<E> {
    at: u64,
    turn: u64,
    event: E,
}

impl<E> Events<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0, now: 1 }
    }

    pub(crate) fn plan(&mut self, at: u64, event: E) {
        self.planned += 1;
        self.heap.push(Reverse(Planned { at: at.max(self.now), turn: self.planned, event }));
    }

    /// Moves the time to the next event.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

/// Draws from the exponential distribution: the time to the next of events that come at random.
pub(crate) fn exponential(mean_ns: f64, rng: &mut SmallRng) -> u64 {
    (-mean_ns * (1.0 - rng.random::<f64>()).ln()) as u64
}

/// Draws from the normal distribution with mean 0 and deviation 1 (Box–Muller).
pub(crate) fn normal(rng: &mut SmallRng) -> f64 {
    let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
