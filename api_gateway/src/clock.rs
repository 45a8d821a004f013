//! The time of day, read in one place so that everything else is told it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
