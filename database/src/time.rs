//! Points in time, in whole microseconds: what the engines store and what answers carry.

use std::time::Duration;

use jiff::Timestamp;

/// Gives the present time in whole microseconds.
pub(crate) fn now() -> Timestamp {
    from_stored(to_stored(Timestamp::now()))
}

/// Gives the time a duration later, or the last there is.
pub(crate) fn later(now: Timestamp, by: Duration) -> Timestamp {
    from_stored(to_stored(now.checked_add(by).unwrap_or(Timestamp::MAX)))
}

/// Gives how long it is from `now` until `then`; zero once it has passed.
pub(crate) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Gives the number that is stored for a time.
pub(crate) fn to_stored(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// Reads a stored time; a number no time has becomes the last there is.
pub(crate) fn from_stored(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX)
}
