//! What a request is expected to cost at a backend.

use super::Signals;

/// The latency assumed of a backend that was never measured, in nanoseconds: less than any answer takes, so
/// that a new backend is tried soon.
const UNKNOWN_LATENCY_NS: f64 = 50_000.0;

/// Gives the cost in nanoseconds.
pub(crate) fn cost(signals: &Signals, now_ns: u64) -> f64 {
    let latency = signals.latency_ns(now_ns).max(UNKNOWN_LATENCY_NS);
    latency * (f64::from(signals.in_flight()) + 1.0) + signals.penalty_ns(now_ns)
}
