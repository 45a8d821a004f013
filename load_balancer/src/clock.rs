//! Time as a number that fits an atomic: nanoseconds since the first look at the clock.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Gives the present time in nanoseconds; never zero, which stands for "not yet".
pub(crate) fn now_ns() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
}
