//! Counting numbers in signed columns.

/// SQLite's integers are signed; a sequence never reaches the sign bit.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
