//! Counting numbers in signed columns.

/// Integers of both engines are signed; a sequence never reaches the sign bit.
pub(in crate::engine) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(in crate::engine) fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// By how many bits the seconds since 1970 are shifted for [`beyond_all`]: more than any number that was given out
/// before, at up to 2^20 writes a second ever since, however often a backup is restored; and under JSON's 2^53 until
/// the year 2242.
const SEQUENCE_SHIFT: u32 = 20;

/// Gives a number from which a restored database's versions and fencing tokens can go on: past all given out until now.
pub(crate) fn beyond_all(now: jiff::Timestamp) -> i64 {
    now.as_second() << SEQUENCE_SHIFT
}
