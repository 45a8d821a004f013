//! One shard: the entries whose hashes fall to it, within its share of the memory.

use bytes::Bytes;
use hashbrown::HashTable;

use super::entries::{Entries, Entry, NEVER, NO_SLOT};
use super::eviction;
use super::sketch::Sketch;
use super::write::{AddError, Condition, Deadline, Lifetime, Write, Written};

/// What a shard has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
    pub(super) expirations: u64,
}

/// The entries of one shard. Everything here takes `now_ms` and nothing waits.
#[derive(Debug)]
pub(super) struct Shard {
    budget: u64,
    index: HashTable<u32>,
    entries: Entries,
    sketch: Sketch,
    counts: Counts,
    /// Where the next sweep goes on.
    hand: u32,
}

impl Shard {
    /// Makes an empty shard that holds at most `budget` bytes.
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget,
            index: HashTable::new(),
            entries: Entries::default(),
            sketch: Sketch::default(),
            counts: Counts::default(),
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.bytes()
    }

    /// Adds up the entries one by one, to check the running sum.
    #[cfg(test)]
    pub(super) fn counted_bytes(&self) -> u64 {
        let slots = 0..self.entries.slots() as u32;
        slots.filter_map(|slot| self.entries.get(slot)).map(Entry::cost).sum()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads a value, which counts as a hit or a miss.
    pub(super) fn get(&mut self, hash: u64, key: &[u8], now_ms: u64) -> Option<Bytes> {
        self.sketch.increment(hash);
        let Some(slot) = self.find(hash, key, now_ms) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        eviction::note_access(&mut self.entries, slot, self.budget);
        self.entries.get(slot).map(|entry| entry.value.clone())
    }

    /// Tells how long a key has to live.
    pub(super) fn lifetime(&mut self, hash: u64, key: &[u8], now_ms: u64) -> Lifetime {
        let found = self.find(hash, key, now_ms).and_then(|slot| self.entries.get(slot));
        match found.map(|entry| entry.expires_ms) {
            None => Lifetime::Missing,
            Some(NEVER) => Lifetime::Endless,
            Some(expires_ms) => Lifetime::Ends { in_ms: expires_ms - now_ms },
        }
    }

    /// Writes a value if its condition holds.
    pub(super) fn set(&mut self, hash: u64, key: &[u8], write: Write, now_ms: u64) -> Written {
        let found = self.find(hash, key, now_ms);
        let former = found.and_then(|slot| self.entries.get(slot)).map(|entry| entry.value.clone());
        let holds = match write.condition {
            Condition::None => true,
            Condition::Absent => found.is_none(),
            Condition::Present => found.is_some(),
        };
        if holds {
            self.store(found, hash, key, write.value, write.deadline, now_ms);
        }
        Written { stored: holds, former }
    }

    /// Adds to a decimal number, 0 where there is none.
    pub(super) fn add(&mut self, hash: u64, key: &[u8], delta: i64, now_ms: u64) -> Result<i64, AddError> {
        let found = self.find(hash, key, now_ms);
        let number = match found.and_then(|slot| self.entries.get(slot)) {
            None => 0,
            Some(entry) => super::write::parse_integer(&entry.value).ok_or(AddError::NotInteger)?,
        };
        let sum = number.checked_add(delta).ok_or(AddError::Overflow)?;
        self.store(found, hash, key, Bytes::from(sum.to_string()), Deadline::Keep, now_ms);
        Ok(sum)
    }

    /// Changes when a key ends; tells whether it was there.
    pub(super) fn expire(&mut self, hash: u64, key: &[u8], expires_ms: u64, now_ms: u64) -> bool {
        let Some(slot) = self.find(hash, key, now_ms) else { return false };
        if expires_ms <= now_ms {
            self.drop_entry(slot);
        } else {
            self.entries.set_expiry(slot, expires_ms);
        }
        true
    }

    /// Removes a key; tells whether it was there.
    pub(super) fn remove(&mut self, hash: u64, key: &[u8], now_ms: u64) -> bool {
        let found = self.find(hash, key, now_ms);
        found.is_some_and(|slot| self.drop_entry(slot).is_some())
    }

    /// Removes everything and gives the memory back.
    pub(super) fn clear(&mut self) {
        *self = Self { counts: self.counts, ..Self::new(self.budget) };
    }

    /// Visits slots from `from` until `count` entries were met; gives where to go on, if there is more.
    ///
    /// At most ten slots are looked at for each entry asked for, so a shard that was emptied costs little.
    pub(super) fn scan(
        &self,
        from: usize,
        count: usize,
        now_ms: u64,
        mut visit: impl FnMut(&[u8]),
    ) -> (usize, Option<usize>) {
        let end = from.saturating_add(count.saturating_mul(10)).min(self.entries.slots());
        let mut met = 0;
        for slot in from..end {
            if let Some(entry) = self.entries.get(slot as u32).filter(|entry| !entry.is_expired(now_ms)) {
                visit(&entry.key);
                met += 1;
                if met >= count {
                    return (met, Some(slot + 1).filter(|next| *next < self.entries.slots()));
                }
            }
        }
        (met, Some(end).filter(|next| *next < self.entries.slots()))
    }

    /// Looks at the next `slots` slots and removes what has expired; gives how many that were.
    pub(super) fn sweep(&mut self, slots: usize, now_ms: u64) -> usize {
        if self.entries.mortal() == 0 {
            return 0;
        }
        let mut removed = 0;
        for _ in 0..slots.min(self.entries.slots()) {
            if self.hand as usize >= self.entries.slots() {
                self.hand = 0;
            }
            if self.entries.get(self.hand).is_some_and(|entry| entry.is_expired(now_ms)) {
                self.drop_entry(self.hand);
                self.counts.expirations += 1;
                removed += 1;
            }
            self.hand += 1;
        }
        removed
    }

    /// Finds a key's slot, and removes the entry instead when it has expired.
    fn find(&mut self, hash: u64, key: &[u8], now_ms: u64) -> Option<u32> {
        let entries = &self.entries;
        let is_it = |slot: &u32| entries.get(*slot).is_some_and(|entry| *entry.key == *key);
        let slot = *self.index.find(hash, is_it)?;
        if self.entries.get(slot)?.is_expired(now_ms) {
            self.drop_entry(slot);
            self.counts.expirations += 1;
            return None;
        }
        Some(slot)
    }

    fn store(
        &mut self,
        found: Option<u32>,
        hash: u64,
        key: &[u8],
        value: Bytes,
        deadline: Deadline,
        now_ms: u64,
    ) {
        let slot = match found {
            Some(slot) => {
                self.entries.replace(slot, value);
                if deadline != Deadline::Keep {
                    self.entries.set_expiry(slot, deadline.expires_ms());
                }
                eviction::note_access(&mut self.entries, slot, self.budget);
                slot
            }
            None => self.insert(Entry::new(key, value, hash, deadline.expires_ms())),
        };
        self.sketch.increment(hash);
        while let Some(victim) =
            eviction::choose_victim(&mut self.entries, &self.sketch, self.budget, slot, now_ms)
        {
            match self.drop_entry(victim) {
                Some(entry) if entry.is_expired(now_ms) => self.counts.expirations += 1,
                Some(_) => self.counts.evictions += 1,
                None => break,
            }
        }
    }

    fn insert(&mut self, entry: Entry) -> u32 {
        let hash = entry.hash;
        let slot = self.entries.insert(entry);
        let entries = &self.entries;
        let rehash = |slot: &u32| entries.get(*slot).map_or(0, |entry| entry.hash);
        self.index.insert_unique(hash, slot, rehash);
        self.sketch.grow(self.entries.len());
        slot
    }

    fn drop_entry(&mut self, slot: u32) -> Option<Entry> {
        debug_assert_ne!(slot, NO_SLOT);
        let entry = self.entries.remove(slot)?;
        if let Ok(found) = self.index.find_entry(entry.hash, |candidate| *candidate == slot) {
            found.remove();
        }
        Some(entry)
    }
}
