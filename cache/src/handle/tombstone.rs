//! What stands in a key's place while fills begun before its invalidation may still come.

use rand::Rng;

/// What no value begins with; a value that does is not stored.
const MARKER: &[u8] = b"\0sixfold tombstone\0";

/// One invalidation of one key; no two are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tombstone(u64);

impl Tombstone {
    /// Makes a tombstone unlike any other.
    pub(super) fn new(rng: &mut impl Rng) -> Self {
        Self(rng.random())
    }

    /// Writes it as the value of a key.
    pub(super) fn write(self) -> Vec<u8> {
        [MARKER, &self.0.to_be_bytes()].concat()
    }

    /// Reads a value that is a tombstone; one with an end we do not know is one too.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let number = value.strip_prefix(MARKER)?;
        Some(Self(number.try_into().map_or(0, u64::from_be_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_reads_back_as_written_and_a_value_is_none() {
        let tombstone = Tombstone::new(&mut rand::rng());
        assert_eq!(Tombstone::read(&tombstone.write()), Some(tombstone));
        assert_ne!(tombstone, Tombstone::new(&mut rand::rng()));
        assert!(Tombstone::read(MARKER).is_some());
        assert_eq!(Tombstone::read(b"{}"), None);
        assert_eq!(Tombstone::read(b""), None);
    }
}
