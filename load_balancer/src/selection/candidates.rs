//! Which backends a choice looks at: all of a small fleet, a few at random of a large one.

use rand::Rng;

use super::{Candidate, Snapshot};

/// A choice scores at most so many backends, whatever the size of the fleet.
///
/// Up to 16 all are scored (Prequal's pool has 16 too, §4). Of more a sample, see [`SAMPLE`].
pub(crate) const ALL_UP_TO: usize = 16;

/// How many of a large fleet are sampled.
///
/// With many balancers a larger sample makes all of them choose the same few; with two the worst is often met.
pub(crate) const SAMPLE: usize = 5;

/// Draws for each candidate wanted: half of a fleet may be out before one misses.
const DRAWS: usize = 4;

/// The indices a choice looks at.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    indices: [u32; ALL_UP_TO],
    len: usize,
}

impl Candidates {
    /// Gathers all of a small fleet, in turn from a random one, or a sample of a large one.
    pub(crate) fn gather<B: Candidate>(snapshot: &Snapshot<'_, B>, rng: &mut impl Rng) -> Self {
        if snapshot.backends.len() > ALL_UP_TO {
            Self::sample(snapshot, SAMPLE, rng)
        } else {
            Self::all(snapshot, rng)
        }
    }

    /// Gathers some at random.
    pub(crate) fn sample<B: Candidate>(snapshot: &Snapshot<'_, B>, most: usize, rng: &mut impl Rng) -> Self {
        let mut found = Self::default();
        let count = snapshot.backends.len() as u32;
        if count == 0 {
            return found;
        }
        for _ in 0..DRAWS * most {
            let index = rng.random_range(0..count);
            if !found.as_slice().contains(&index) && snapshot.is_eligible(index as usize) {
                found.push(index);
                if found.len == most {
                    return found;
                }
            }
        }
        // Hardly any is eligible: a few draws more would not find them either.
        if found.len == 0 { Self::all(snapshot, rng) } else { found }
    }

    fn all<B: Candidate>(snapshot: &Snapshot<'_, B>, rng: &mut impl Rng) -> Self {
        let mut found = Self::default();
        let count = snapshot.backends.len();
        if count == 0 {
            return found;
        }
        // The start is random, so that of equal ones each is as often the first.
        let first = rng.random_range(0..count as u32) as usize;
        for index in (first..count).chain(0..first) {
            if snapshot.is_eligible(index) {
                found.push(index as u32);
                if found.len == ALL_UP_TO {
                    break;
                }
            }
        }
        found
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.indices[..self.len]
    }

    fn push(&mut self, index: u32) {
        self.indices[self.len] = index;
        self.len += 1;
    }
}
