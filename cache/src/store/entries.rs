//! The entries of one shard in numbered slots, chained into the segments of the eviction policy.
//!
//! An entry keeps its slot from its first write to its removal, also when its value is replaced. `SCAN`
//! rests on that: walking the slots by number meets every entry that was there all along, once.

use bytes::Bytes;

/// The number of no slot.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// The deadline of an entry that does not expire.
pub(super) const NEVER: u64 = u64::MAX;

/// What an entry costs beside its key and value, in bytes on a 64-bit machine: its slot (88), its place in the
/// index (9) and among the frequencies (up to 16), the allocators' headers of key and value (32) and the counters
/// of a shared value (24).
pub(super) const ENTRY_OVERHEAD: u64 = 169;

/// Which queue of the eviction policy an entry waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// New; here every entry gets a while to be asked for again.
    Window,
    /// Past the window, and the first to go.
    Probation,
    /// Asked for again while on probation.
    Protected,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Box<[u8]>,
    pub(super) value: Bytes,
    pub(super) hash: u64,
    pub(super) expires_ms: u64,
    pub(super) segment: Segment,
    newer: u32,
    older: u32,
}

impl Entry {
    pub(super) fn new(key: &[u8], value: Bytes, hash: u64, expires_ms: u64) -> Self {
        Self {
            key: key.into(),
            value,
            hash,
            expires_ms,
            segment: Segment::Window,
            newer: NO_SLOT,
            older: NO_SLOT,
        }
    }

    pub(super) fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms <= now_ms
    }

    /// The bytes the entry counts for.
    pub(super) fn cost(&self) -> u64 {
        self.key.len() as u64 + self.value.len() as u64 + ENTRY_OVERHEAD
    }
}

/// A doubly linked list through the slots, by age, with the bytes in it.
#[derive(Debug, Clone, Copy)]
struct Chain {
    newest: u32,
    oldest: u32,
    bytes: u64,
}

const EMPTY_CHAIN: Chain = Chain { newest: NO_SLOT, oldest: NO_SLOT, bytes: 0 };

/// The slots of a shard.
#[derive(Debug)]
pub(super) struct Entries {
    slots: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    chains: [Chain; 3],
    /// How many entries have a deadline, so that a shard without any is not swept.
    mortal: usize,
}

impl Default for Entries {
    fn default() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new(), chains: [EMPTY_CHAIN; 3], mortal: 0 }
    }
}

impl Entries {
    /// Counts the entries, with those that have expired and are not collected yet.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Counts the slots, vacant ones too.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn mortal(&self) -> usize {
        self.mortal
    }

    /// The bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.chains.iter().map(|chain| chain.bytes).sum()
    }

    pub(super) fn segment_bytes(&self, segment: Segment) -> u64 {
        self.chains[segment as usize].bytes
    }

    pub(super) fn oldest(&self, segment: Segment) -> Option<u32> {
        Some(self.chains[segment as usize].oldest).filter(|slot| *slot != NO_SLOT)
    }

    pub(super) fn newest(&self, segment: Segment) -> Option<u32> {
        Some(self.chains[segment as usize].newest).filter(|slot| *slot != NO_SLOT)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Puts a new entry into the window as its newest.
    pub(super) fn insert(&mut self, entry: Entry) -> u32 {
        self.mortal += usize::from(entry.expires_ms != NEVER);
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.slots.push(Some(entry));
                (self.slots.len() - 1) as u32
            }
        };
        self.link(slot, Segment::Window);
        slot
    }

    /// Takes an entry out and leaves its slot vacant.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry> {
        self.get(slot)?;
        self.unlink(slot);
        let entry = self.slots[slot as usize].take()?;
        self.mortal -= usize::from(entry.expires_ms != NEVER);
        self.vacant.push(slot);
        Some(entry)
    }

    /// Replaces an entry's value and gives the former one.
    pub(super) fn replace(&mut self, slot: u32, value: Bytes) -> Option<Bytes> {
        let entry = self.slots.get_mut(slot as usize)?.as_mut()?;
        let chain = &mut self.chains[entry.segment as usize];
        chain.bytes = chain.bytes - entry.value.len() as u64 + value.len() as u64;
        Some(std::mem::replace(&mut entry.value, value))
    }

    pub(super) fn set_expiry(&mut self, slot: u32, expires_ms: u64) {
        if let Some(entry) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) {
            self.mortal -= usize::from(entry.expires_ms != NEVER);
            self.mortal += usize::from(expires_ms != NEVER);
            entry.expires_ms = expires_ms;
        }
    }

    /// Makes an entry the newest of a segment.
    pub(super) fn move_to(&mut self, slot: u32, segment: Segment) {
        if self.chains[segment as usize].newest == slot || self.get(slot).is_none() {
            return;
        }
        self.unlink(slot);
        self.link(slot, segment);
    }

    fn link(&mut self, slot: u32, segment: Segment) {
        let newest = self.chains[segment as usize].newest;
        let Some(entry) = self.slots[slot as usize].as_mut() else { return };
        entry.segment = segment;
        entry.newer = NO_SLOT;
        entry.older = newest;
        let cost = entry.cost();
        if let Some(Some(neighbour)) = self.slots.get_mut(newest as usize) {
            neighbour.newer = slot;
        }
        let chain = &mut self.chains[segment as usize];
        chain.newest = slot;
        if chain.oldest == NO_SLOT {
            chain.oldest = slot;
        }
        chain.bytes += cost;
    }

    fn unlink(&mut self, slot: u32) {
        let Some(entry) = self.get(slot) else { return };
        let (newer, older, segment, cost) = (entry.newer, entry.older, entry.segment, entry.cost());
        if let Some(Some(neighbour)) = self.slots.get_mut(newer as usize) {
            neighbour.older = older;
        }
        if let Some(Some(neighbour)) = self.slots.get_mut(older as usize) {
            neighbour.newer = newer;
        }
        let chain = &mut self.chains[segment as usize];
        if chain.newest == slot {
            chain.newest = older;
        }
        if chain.oldest == slot {
            chain.oldest = newer;
        }
        chain.bytes -= cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_as_large_as_the_overhead_says() {
        assert!(size_of::<Option<Entry>>() <= 88);
    }
}
