//! How often a key was asked for lately: a count-min sketch of 4-bit counters that ages as it counts.
//!
//! TinyLFU (Einziger, Friedman, Manes, 2017) halves every counter after so many increments. Here a hand
//! halves one word in every few increments instead, which forgets at the same rate and never stops a
//! request for a pass over the table.

/// Counters of one key; the least of them is the estimate, so a collision must hit all four.
const PROBES: u32 = 4;

/// Increments per word that is halved: with one word an entry, counters halve once in ten accesses an entry,
/// the sample TinyLFU's authors and Caffeine use.
const INCREMENTS_PER_HALVING: u32 = 10;

/// Counters in a word, and the largest value of one.
const COUNTERS: u64 = 16;
const FULL: u64 = 15;

/// All bits of a word but the highest of each counter, which a shift moves in from its neighbour.
const HALVED: u64 = 0x7777_7777_7777_7777;

/// Multipliers that make each probe's position independent of the others (splitmix64's constants).
const SEEDS: [u64; PROBES as usize] =
    [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

/// Estimates of how often hashes were seen, from 0 to 15.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    words: Vec<u64>,
    hand: usize,
    increments: u32,
}

impl Sketch {
    /// Makes room for this many entries; what was counted stays counted.
    pub(super) fn grow(&mut self, entries: usize) {
        let wanted = entries.next_power_of_two().max(64);
        if self.words.is_empty() {
            self.words = vec![0; wanted];
        }
        while self.words.len() < wanted {
            // A position is the low bits of a hash, so a copy of the table answers for the next higher bit.
            self.words.extend_from_within(..);
        }
    }

    /// Counts one access.
    pub(super) fn increment(&mut self, hash: u64) {
        if self.words.is_empty() {
            return;
        }
        for seed in SEEDS {
            let (word, shift) = self.position(hash, seed);
            if (self.words[word] >> shift) & FULL < FULL {
                self.words[word] += 1 << shift;
            }
        }
        self.increments += 1;
        if self.increments == INCREMENTS_PER_HALVING {
            self.increments = 0;
            self.words[self.hand] = (self.words[self.hand] >> 1) & HALVED;
            self.hand = (self.hand + 1) % self.words.len();
        }
    }

    /// Estimates how often a hash was seen lately.
    pub(super) fn estimate(&self, hash: u64) -> u64 {
        if self.words.is_empty() {
            return 0;
        }
        SEEDS
            .iter()
            .map(|seed| {
                let (word, shift) = self.position(hash, *seed);
                (self.words[word] >> shift) & FULL
            })
            .min()
            .unwrap_or(0)
    }

    fn position(&self, hash: u64, seed: u64) -> (usize, u64) {
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(seed);
        // The high half is the better mixed one after a multiplication.
        let word = (mixed >> 32) as usize & (self.words.len() - 1);
        (word, ((mixed >> 28) % COUNTERS) * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_popular_key_is_estimated_above_a_rare_one() {
        let mut sketch = Sketch::default();
        sketch.grow(1000);
        for round in 0..8 {
            for rare in 0..500u64 {
                sketch.increment(rare.wrapping_mul(0x1234_5678_9abc_def1) ^ (round << 40));
            }
            sketch.increment(42);
        }
        assert!(sketch.estimate(42) > sketch.estimate(77_777));
    }

    #[test]
    fn what_is_no_longer_asked_for_is_forgotten() {
        let mut sketch = Sketch::default();
        sketch.grow(64);
        for _ in 0..20 {
            sketch.increment(42);
        }
        let before = sketch.estimate(42);
        for _ in 0..64 * INCREMENTS_PER_HALVING * 4 {
            sketch.increment(7);
        }
        assert!(before >= 14 && sketch.estimate(42) <= 1, "{before} to {}", sketch.estimate(42));
    }

    #[test]
    fn growing_keeps_the_estimates() {
        let mut sketch = Sketch::default();
        sketch.grow(64);
        for _ in 0..9 {
            sketch.increment(42);
        }
        let before = sketch.estimate(42);
        sketch.grow(100_000);
        assert_eq!(sketch.estimate(42), before);
    }
}
