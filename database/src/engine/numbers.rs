//! Counting numbers in signed columns.

/// Integers of both engines are signed; a sequence never reaches the sign bit.
pub(in crate::engine) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(in crate::engine) fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
