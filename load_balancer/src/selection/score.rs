//! The rules that take the lowest of one figure.

use super::candidates::Candidates;
use super::{Candidate, Signals, Snapshot};

/// The latency assumed of a backend that was never measured, in nanoseconds: less than any answer takes, so
/// that a new backend is tried soon.
const UNKNOWN_LATENCY_NS: f64 = 50_000.0;

/// What a penalty weighs against requests in flight: 250 ms, one failure, as much as 125 of them.
pub(crate) const PENALTY_PER_REQUEST_NS: f64 = 2e6;

/// The least share that is divided by.
const LEAST_SHARE: f64 = 1e-3;

/// Gives the candidate with the least figure; of equal ones the first.
pub(crate) fn least<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    candidates: &Candidates,
    figure: impl Fn(&Signals) -> f64,
) -> Option<usize> {
    let mut best = (f64::INFINITY, None);
    for index in candidates.as_slice() {
        let figure = figure(snapshot.backends[*index as usize].signals());
        if figure < best.0 || best.1.is_none() {
            best = (figure, Some(*index as usize));
        }
    }
    best.1
}

/// Gives what `peak_ewma` compares, in nanoseconds.
pub(crate) fn peak_ewma(signals: &Signals, now_ns: u64) -> f64 {
    let latency_ns = signals.peak_ns(now_ns).max(UNKNOWN_LATENCY_NS);
    let load = f64::from(signals.in_flight()) + 1.0;
    latency_ns * load / positive_share(signals, now_ns) + signals.penalty_ns(now_ns)
}

/// Gives what `least_request` compares: requests in flight for the share, and failures as if they were some.
pub(crate) fn load(signals: &Signals, now_ns: u64) -> f64 {
    let load = f64::from(signals.in_flight()) + 1.0;
    load / positive_share(signals, now_ns) + signals.penalty_ns(now_ns) / PENALTY_PER_REQUEST_NS
}

/// Gives the requests in flight at a backend for all its callers, as far as known, in the same way.
pub(crate) fn total_load(signals: &Signals, now_ns: u64) -> f64 {
    let load = signals.load(now_ns) / positive_share(signals, now_ns);
    load + signals.penalty_ns(now_ns) / PENALTY_PER_REQUEST_NS
}

/// Gives a share that can be divided by.
pub(crate) fn positive_share(signals: &Signals, now_ns: u64) -> f64 {
    signals.share(now_ns).max(LEAST_SHARE)
}
