//! Which backend gets a request: pure functions of what is known, the time and a random source.
//!
//! A [`Snapshot`] is everything a choice looks at: the [`Signals`] of each backend (atomics all threads write),
//! the [`Memory`] of the choosing thread, and what the request asks for. [`choose_backend`] is the one entry;
//! which rule it follows is the [`Policy`]. `docs/policies.md` tells them apart, `examples/simulate` measures
//! them with this very code.

mod maglev;
mod memory;
mod policy;
mod score;
mod signals;

use rand::Rng;

pub use maglev::{Maglev, hash_key};
pub use memory::Memory;
pub use policy::Policy;
pub use signals::{Load, Signals};

/// Something that can be chosen.
pub trait Candidate {
    /// Gives what a choice looks at.
    fn signals(&self) -> &Signals;
}

impl Candidate for Signals {
    fn signals(&self) -> &Signals {
        self
    }
}

impl<C: Candidate + ?Sized> Candidate for std::sync::Arc<C> {
    fn signals(&self) -> &Signals {
        (**self).signals()
    }
}

impl<C: Candidate + ?Sized> Candidate for &C {
    fn signals(&self) -> &Signals {
        (**self).signals()
    }
}

/// Everything a choice looks at, besides the time and a random source.
#[derive(Debug)]
pub struct Snapshot<'a, B> {
    /// The backends; a choice is an index into them.
    pub backends: &'a [B],
    /// The rule.
    pub policy: &'a Policy,
    /// What the choosing thread remembers between choices.
    pub memory: &'a Memory,
    /// Indices that must not be chosen, because this request failed there.
    pub excluded: &'a [usize],
    /// The hash of what the policy hashes ([`hash_key`]); `None` when the request has no such thing.
    pub key: Option<u64>,
    /// The backend a valid sticky cookie named.
    pub sticky: Option<usize>,
    /// The table a hash is looked up in; `None` for policies that do not hash.
    pub table: Option<&'a Maglev>,
    /// Ignores that backends are unavailable, because most are.
    pub panic: bool,
}

/// A chosen backend, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Which of the snapshot's backends.
    pub index: usize,
    /// How many backends were looked at.
    pub considered: u32,
    /// Why this one.
    pub reason: Reason,
}

/// Why a backend was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was the only one that could be.
    Only,
    /// Its score was the lowest.
    Lowest,
    /// It was looked at because nothing was known about it for long.
    Explored,
    /// It was its turn.
    Turn,
    /// By chance.
    Random,
    /// The request's key belongs to it.
    Hashed,
    /// The client came from it.
    Sticky,
    /// All were hot, and it had the fewest requests in flight.
    Hot,
    /// It was not hot, and the fastest that was not.
    Cold,
}

impl Reason {
    /// Gives the word for explain fields and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Lowest => "lowest",
            Self::Explored => "explored",
            Self::Turn => "turn",
            Self::Random => "random",
            Self::Hashed => "hashed",
            Self::Sticky => "sticky",
            Self::Hot => "hot",
            Self::Cold => "cold",
        }
    }
}

impl<B: Candidate> Snapshot<'_, B> {
    fn is_eligible(&self, index: usize) -> bool {
        let is_known = self.backends.get(index).is_some_and(|one| self.panic || one.signals().is_available());
        is_known && !self.excluded.contains(&index)
    }

    fn eligible(&self) -> impl Iterator<Item = usize> {
        (0..self.backends.len()).filter(|index| self.is_eligible(*index))
    }
}

/// Chooses a backend; `None` when none is available outside the excluded ones.
pub fn choose_backend<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    now_ns: u64,
    rng: &mut impl Rng,
) -> Option<Choice> {
    let count = snapshot.eligible().count();
    let pick = |rank: usize| snapshot.eligible().nth(rank);
    let choice = |index: usize, considered: u32, reason| Choice { index, considered, reason };
    match (count, snapshot.policy) {
        (0, _) => None,
        (1, _) => pick(0).map(|index| choice(index, 1, Reason::Only)),
        (_, Policy::RoundRobin) => {
            pick(snapshot.memory.next_turn() % count).map(|index| choice(index, 1, Reason::Turn))
        }
        (_, Policy::Random) => pick(rng.random_range(0..count)).map(|index| choice(index, 1, Reason::Random)),
        _ => {
            let first = rng.random_range(0..count);
            let second = (first + rng.random_range(1..count)) % count;
            let (first, second) = (pick(first)?, pick(second)?);
            let cost = |index: usize| {
                let signals = snapshot.backends[index].signals();
                match snapshot.policy {
                    Policy::LeastRequest => f64::from(signals.in_flight()),
                    _ => score::cost(signals, now_ns),
                }
            };
            let index = if cost(second) < cost(first) { second } else { first };
            Some(choice(index, 2, Reason::Lowest))
        }
    }
}

#[cfg(test)]
mod tests;
