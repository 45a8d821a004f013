//! A table that maps a hash to a backend and changes little when backends come and go (Eisenbud et al., "Maglev",
//! NSDI'16 §3.4).

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// The least size of a table, and Envoy's default: a prime, with which five backends' parts differ by under 1 %.
const SMALL: usize = 65_537;

/// The size for many backends, a prime too: at least 100 entries each, as the paper advises, for up to 6,553.
const LARGE: usize = 655_373;

/// A fleet of up to so many gets the small table.
const SMALL_UP_TO: usize = 655;

/// A table of backends, looked up by a hash. Making one takes milliseconds: do it when the backends change, apart
/// from requests.
#[derive(Debug, Default)]
pub struct Maglev {
    entries: Vec<u32>,
}

impl Maglev {
    /// Makes the table for backends given by their names and weights; one with weight 0 gets no entries.
    pub fn new<'a>(backends: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        let backends: Vec<(&str, f64)> = backends.into_iter().collect();
        let heaviest = backends.iter().map(|(_, weight)| *weight).fold(0.0, f64::max);
        if heaviest <= 0.0 {
            return Self::default();
        }
        let size = if backends.len() <= SMALL_UP_TO { SMALL } else { LARGE };
        let mut entries = vec![u32::MAX; size];
        let mut turns: Vec<Turn> =
            backends.iter().map(|(name, weight)| Turn::new(name, *weight, size)).collect();
        let mut filled = 0;
        'all: loop {
            for (index, turn) in turns.iter_mut().enumerate() {
                // One with half the heaviest weight takes its turn every second time (§3.4, weights).
                turn.credit += turn.weight / heaviest;
                if turn.credit < 1.0 - 1e-9 {
                    continue;
                }
                turn.credit -= 1.0;
                let place = loop {
                    let place = turn.advance(size);
                    if entries[place] == u32::MAX {
                        break place;
                    }
                };
                entries[place] = index as u32;
                filled += 1;
                if filled == size {
                    break 'all;
                }
            }
        }
        Self { entries }
    }

    /// Gives the backend a key belongs to; `None` of an empty table.
    pub fn get(&self, key: u64) -> Option<usize> {
        let place = usize::try_from(key.checked_rem(self.entries.len() as u64)?).ok()?;
        self.entries.get(place).map(|index| *index as usize)
    }
}

/// A backend's permutation of the table, and how far it got.
struct Turn {
    place: usize,
    skip: usize,
    weight: f64,
    credit: f64,
}

impl Turn {
    fn new(name: &str, weight: f64, size: usize) -> Self {
        let hash = |seed| {
            let mut hasher = SipHasher13::new_with_keys(seed, 0);
            hasher.write(name.as_bytes());
            hasher.finish() as usize
        };
        let weight = if weight.is_finite() { weight.max(0.0) } else { 0.0 };
        Self { place: hash(1) % size, skip: hash(2) % (size - 1) + 1, weight, credit: 0.0 }
    }

    fn advance(&mut self, size: usize) -> usize {
        let place = self.place;
        self.place = (self.place + self.skip) % size;
        place
    }
}

/// Hashes what a request is told apart by; the same in every process and version.
pub fn hash_key(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}:80")).collect()
    }

    fn table(names: &[String]) -> Maglev {
        Maglev::new(names.iter().map(|name| (name.as_str(), 1.0)))
    }

    fn parts(table: &Maglev, count: usize) -> Vec<f64> {
        let mut parts = vec![0.0; count];
        for entry in &table.entries {
            parts[*entry as usize] += 1.0 / table.entries.len() as f64;
        }
        parts
    }

    #[test]
    fn equal_backends_get_equal_parts() {
        for part in parts(&table(&names(5)), 5) {
            assert!((part - 0.2).abs() < 0.002, "{part}");
        }
    }

    #[test]
    fn parts_follow_weights() {
        let table = Maglev::new([("a", 1.0), ("b", 2.0), ("c", 0.0), ("d", 1.0)]);
        for (part, expected) in parts(&table, 4).into_iter().zip([0.25, 0.5, 0.0, 0.25]) {
            assert!((part - expected).abs() < 0.01, "{part} instead of {expected}");
        }
        assert_eq!(Maglev::new([("a", 0.0)]).get(1), None);
    }

    #[test]
    fn a_backend_that_leaves_moves_few_keys_of_others() {
        let (all, count) = (names(10), 10);
        let (before, after) = (table(&all), table(&all[..count - 1]));
        let moved = before
            .entries
            .iter()
            .zip(&after.entries)
            .filter(|(before, after)| **before as usize != count - 1 && before != after);
        // A modulus would move nine tenths; the paper's figure 12 shows a few per cent for a table this large.
        let moved = moved.count() as f64 / before.entries.len() as f64;
        assert!(moved < 0.05, "{moved}");
        assert!(moved > 0.0, "a table is no ring: some keys move");
    }
}
