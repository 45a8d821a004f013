//! Which backend gets a request: pure functions of what is known, the time and a random source.
//!
//! A [`Snapshot`] is everything a choice looks at: the [`Signals`] of each backend (atomics all threads write),
//! the [`Memory`] of the choosing thread, and what the request asks for. [`choose_backend`] is the one entry;
//! which rule it follows is the [`Policy`]. `docs/policies.md` tells them apart, `examples/simulate` measures
//! them with this very code.

mod bounded;
mod candidates;
mod latency;
mod maglev;
mod memory;
mod policy;
mod pool;
mod prequal;
mod score;
mod signals;
mod sticky;
mod turn;

use rand::Rng;

use candidates::{ALL_UP_TO, Candidates};

pub use maglev::{Maglev, hash_key};
pub use memory::Memory;
pub use policy::{Policy, Q_RIF};
pub use signals::{Load, Signals};
pub use sticky::Sticky;

/// How often a key whose backend is out is hashed once more; of a fleet of which half is out all miss once in
/// 65,000, and the default rule decides.
const REHASHES: usize = 16;

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
    /// How much more than its part of all requests in flight a backend may have before its keys go elsewhere, as a
    /// factor above 1; `None` lets them stay.
    pub balance_factor: Option<f64>,
    /// Whether the request can be sent elsewhere if no answer comes; one that cannot is not the one that finds out
    /// whether a backend that fell silent is back.
    pub is_repeatable: bool,
}

impl<'a, B> Snapshot<'a, B> {
    /// Makes the snapshot of a request that asks for nothing particular.
    pub fn plain(backends: &'a [B], policy: &'a Policy, memory: &'a Memory) -> Self {
        Self {
            backends,
            policy,
            memory,
            excluded: &[],
            key: None,
            sticky: None,
            table: None,
            balance_factor: None,
            is_repeatable: true,
        }
    }
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
        // In a panic the cluster makes backends available that are out.
        let is_usable = |signals: &Signals| signals.is_available() && signals.weight() > 0.0;
        self.backends.get(index).is_some_and(|one| is_usable(one.signals()))
            && !self.excluded.contains(&index)
    }

    fn eligible(&self) -> impl Iterator<Item = usize> {
        (0..self.backends.len()).filter(|index| self.is_eligible(*index))
    }

    /// Gives the backend the key belongs to among those that can be chosen and that `fits`; when one does not, the
    /// one the key hashed once more belongs to, so that the keys of a backend that is out are spread over the
    /// others.
    fn hashed(&self, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let (table, mut key) = (self.table?, self.key?);
        for _ in 0..REHASHES {
            let index = table.get(key)?;
            if self.is_eligible(index) && fits(index) {
                return Some(index);
            }
            key = hash_key(&key.to_le_bytes());
        }
        None
    }
}

/// Chooses a backend; `None` when none is available outside the excluded ones.
pub fn choose_backend<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    now_ns: u64,
    rng: &mut impl Rng,
) -> Option<Choice> {
    let chosen = |index, considered: usize, reason| Choice { index, considered: considered as u32, reason };
    if let Some(index) = bounded::hashed(snapshot, now_ns) {
        return Some(chosen(index, 1, Reason::Hashed));
    }
    match snapshot.policy {
        Policy::Random => turn::any(snapshot, now_ns, rng).map(|index| chosen(index, 1, Reason::Random)),
        Policy::RoundRobin => turn::next(snapshot, now_ns).map(|index| chosen(index, 1, Reason::Turn)),
        Policy::Prequal { q_rif } if snapshot.backends.len() > ALL_UP_TO => {
            let (index, considered, reason) = prequal::choose_from_pool(snapshot, *q_rif, now_ns, rng)?;
            Some(chosen(index, considered, reason))
        }
        Policy::PeakEwma => {
            let candidates = Candidates::sample(snapshot, 2, rng);
            let index = score::least(snapshot, &candidates, |signals| score::peak_ewma(signals, now_ns))?;
            Some(chosen(index, candidates.as_slice().len(), Reason::Lowest))
        }
        Policy::StickyCookie { .. } if snapshot.sticky.is_some_and(|index| snapshot.is_eligible(index)) => {
            snapshot.sticky.map(|index| chosen(index, 1, Reason::Sticky))
        }
        policy => {
            let candidates = Candidates::gather(snapshot, rng);
            let (index, reason) = match policy {
                Policy::LowestLatency => {
                    (score::least(snapshot, &candidates, |one| one.last_ns() as f64)?, Reason::Lowest)
                }
                rule => match (turn::of_small_share(snapshot, &candidates, now_ns, rng), rule) {
                    (Some(index), _) => (index, Reason::Turn),
                    (None, Policy::Prequal { q_rif }) => {
                        prequal::choose_slot(snapshot, &candidates, *q_rif, now_ns)?
                    }
                    (None, Policy::LeastRequest) => {
                        (score::least(snapshot, &candidates, |one| score::load(one, now_ns))?, Reason::Lowest)
                    }
                    _ => latency::choose(snapshot, &candidates, now_ns)?,
                },
            };
            let count = candidates.as_slice().len();
            Some(chosen(index, count, if count == 1 { Reason::Only } else { reason }))
        }
    }
}

#[cfg(test)]
mod tests;
