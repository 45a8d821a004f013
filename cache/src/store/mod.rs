//! The server's memory: keys and values within a bound of bytes, each with its own deadline.
//!
//! A key's hash picks a shard; a shard is a plain structure behind a mutex that is held for a lookup and
//! never across a wait. Values are shared, so reading one copies nothing. What has expired is not seen
//! any more, and goes when it is touched, evicted, or met by [`Store::sweep`].

mod entries;
mod eviction;
mod shard;
mod sketch;
#[cfg(test)]
mod tests;
mod write;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use write::parse_integer;
pub(crate) use write::{AddError, Condition, Deadline, Lifetime, Write, Written};

use shard::Shard;

/// The most shards: more than the threads that will contend for them on the machines we know.
const SHARDS_LIMIT: u64 = 16;

/// A shard holds at least this many of the largest values, so that one of them does not empty it.
const LARGEST_VALUES_PER_SHARD: u64 = 4;

/// Slots one step of a sweep looks at with the lock held; some ten microseconds.
const SWEEP_SLOTS: usize = 1024;

/// Steps of one sweep in one shard, while a quarter of what they meet has expired (Redis' measure).
const SWEEP_STEPS: usize = 16;

/// Where the shard's number lies in a scan's cursor; the slot is below. With 16 shards a cursor stays
/// under 2^53, which JavaScript clients keep exactly.
const CURSOR_SHARD_BITS: u32 = 36;

/// Keys and values in shards; all of it can be called from any thread.
#[derive(Debug)]
pub(crate) struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    memory: u64,
}

/// What the store holds and has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Entries held.
    pub entries: u64,
    /// Bytes of keys, values and what keeping them takes.
    pub bytes: u64,
    /// The most bytes that may be held.
    pub bytes_limit: u64,
    /// Entries removed to make room.
    pub evictions: u64,
    /// Entries removed because their time was over.
    pub expirations: u64,
}

impl Store {
    /// Makes an empty store that holds at most `memory` bytes; none of it is taken before it is needed.
    pub(crate) fn new(memory: u64, largest_value: u64) -> Self {
        let wanted = memory / largest_value.saturating_mul(LARGEST_VALUES_PER_SHARD).max(1);
        let count = wanted.clamp(1, SHARDS_LIMIT).next_power_of_two();
        let count = if count > wanted.max(1) { count / 2 } else { count };
        let shards = (0..count).map(|_| Mutex::new(Shard::new(memory / count))).collect();
        Self { shards, hasher: RandomState::new(), memory }
    }

    /// Reads a value; counts as a hit or a miss.
    pub(crate) fn get(&self, key: &[u8], now_ms: u64) -> Option<Bytes> {
        let (hash, mut shard) = self.lock(key);
        shard.get(hash, key, now_ms)
    }

    /// Writes a value if its condition holds; an entry that exceeds the budget by itself is not kept.
    pub(crate) fn set(&self, key: &[u8], write: Write, now_ms: u64) -> Written {
        let (hash, mut shard) = self.lock(key);
        shard.set(hash, key, write, now_ms)
    }

    /// Adds to a decimal number, 0 where there is none, and gives the sum; the deadline stays.
    pub(crate) fn add(&self, key: &[u8], delta: i64, now_ms: u64) -> Result<i64, AddError> {
        let (hash, mut shard) = self.lock(key);
        shard.add(hash, key, delta, now_ms)
    }

    /// Removes a key; tells whether it was there.
    pub(crate) fn remove(&self, key: &[u8], now_ms: u64) -> bool {
        let (hash, mut shard) = self.lock(key);
        shard.remove(hash, key, now_ms)
    }

    /// Makes a key end at a moment, at once if that is past; tells whether it was there.
    pub(crate) fn expire(&self, key: &[u8], expires_ms: u64, now_ms: u64) -> bool {
        let (hash, mut shard) = self.lock(key);
        shard.expire(hash, key, expires_ms, now_ms)
    }

    /// Tells how long a key has to live; counts neither as a hit nor as a miss.
    pub(crate) fn lifetime(&self, key: &[u8], now_ms: u64) -> Lifetime {
        let (hash, mut shard) = self.lock(key);
        shard.lifetime(hash, key, now_ms)
    }

    /// Removes everything, one shard after the other.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            lock(shard).clear();
        }
    }

    /// Visits about `count` keys from a cursor (0 starts) and gives the next cursor (0: that was all).
    ///
    /// A key present from the first call to the last is visited exactly once; one that came or went
    /// in between may be visited or not.
    pub(crate) fn scan(&self, cursor: u64, count: usize, now_ms: u64, mut visit: impl FnMut(&[u8])) -> u64 {
        let mut shard = (cursor >> CURSOR_SHARD_BITS) as usize;
        let mut slot = (cursor & ((1 << CURSOR_SHARD_BITS) - 1)) as usize;
        let mut wanted = count.max(1);
        while let Some(locked) = self.shards.get(shard) {
            let (met, next) = lock(locked).scan(slot, wanted, now_ms, &mut visit);
            wanted -= met.min(wanted);
            (shard, slot) = match next {
                Some(next) => (shard, next),
                None => (shard + 1, 0),
            };
            if wanted == 0 || next.is_some() {
                break;
            }
        }
        if shard >= self.shards.len() { 0 } else { (shard as u64) << CURSOR_SHARD_BITS | slot as u64 }
    }

    /// Removes some of what has expired: a few slots of each shard, more while many of them had expired.
    pub(crate) fn sweep(&self, now_ms: u64) {
        for shard in &self.shards {
            for _ in 0..SWEEP_STEPS {
                // Locked anew for each step, so that a request waits for one step at most.
                if lock(shard).sweep(SWEEP_SLOTS, now_ms) < SWEEP_SLOTS / 4 {
                    break;
                }
            }
        }
    }

    /// Counts the entries, with those that have expired and are not collected yet.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Sums up what the store holds and has done.
    pub(crate) fn statistics(&self) -> Statistics {
        let mut sum = Statistics { bytes_limit: self.memory, ..Statistics::default() };
        for shard in &self.shards {
            let shard = lock(shard);
            let counts = shard.counts();
            sum.hits += counts.hits;
            sum.misses += counts.misses;
            sum.evictions += counts.evictions;
            sum.expirations += counts.expirations;
            sum.entries += shard.len() as u64;
            sum.bytes += shard.bytes();
        }
        sum
    }

    fn lock(&self, key: &[u8]) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one(key);
        // The table of a shard uses the low bits and the top seven; these lie between.
        let shard = (hash >> 48) as usize & (self.shards.len() - 1);
        (hash, lock(&self.shards[shard]))
    }
}

/// A panic elsewhere leaves a shard consistent enough for a cache.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
