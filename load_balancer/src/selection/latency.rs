//! The default rule: the least of what a request would cost at each backend.
//!
//! cost = ratio² × stalls × (load + 1) ÷ share + penalty, where
//!
//! * *ratio* is how much slower the backend is than the fastest candidate: its median over the last answers, or
//!   the time nothing came back although something is awaited, whichever is longer. While nobody answers, the pause
//!   is our own: were it held against those who work, an idle one would get all that came meanwhile. What a higher
//!   load explains is forgiven, and so is what chance explains ([`TOLERANCE`]): equals are told apart by load alone.
//! * *stalls* is one plus the mean excess over the median, in medians: a stall outweighs the next good answers. What
//!   all have is forgiven, with the same tolerance: a pause of all at once was our own.
//! * *load* is the requests in flight here, and those of other balancers as far as the backend told of them.
//!
//! The square is what keeps a slow backend idle until the fast ones are truly full: a gateway works on several
//! requests at a time, so eight in flight at a fast one are better than one at a slow one. It was found with
//! `examples/simulate`; `docs/simulation.md` has the measurements.

use super::candidates::{ALL_UP_TO, Candidates};
use super::signals::FRESH_NS;
use super::{Candidate, Reason, Signals, Snapshot, score};
use crate::estimate::fade;

/// A backend this much slower than the fastest still counts as equal: medians of 32 log-normal answers (σ = 0.5)
/// differ by a quarter by chance. Without it equal backends at 90 % have a p99 a twentieth worse.
const TOLERANCE: f64 = 1.5;

/// The unit of cost: a penalty of 250 ms weighs as much as 125 requests in flight.
const UNIT_NS: f64 = 2e6;

/// The time in which what is known to a backend's disadvantage loses 1/e of its weight when nothing new comes.
///
/// This bounds exploration: a backend 10 times slower gets one request in about 5 s, one 1,000 times slower one
/// in half a minute, and none starves.
const OBLIVION_NS: f64 = 4e9;

/// Chooses the least cost.
pub(crate) fn choose<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    candidates: &Candidates,
    now_ns: u64,
) -> Option<(usize, Reason)> {
    let signals = |index: u32| snapshot.backends[index as usize].signals();
    let mut medians = [0.0; ALL_UP_TO];
    let mut penalties = [0.0; ALL_UP_TO];
    let mut fastest = (f64::INFINITY, 0.0, 0.0);
    for (slot, index) in candidates.as_slice().iter().enumerate() {
        let signals = signals(*index);
        let (median, penalty) = (signals.latency_ns(), signals.penalty_ns(now_ns));
        (medians[slot], penalties[slot]) = (median, penalty);
        // One that fails fast is not the measure of the others.
        if median > 0.0 && median + penalty < fastest.0 {
            fastest = (median + penalty, median, signals.typical_load());
        }
    }
    let (_, reference_ns, reference_load) = fastest;
    let known = candidates.as_slice().iter().map(|index| signals(*index)).filter(|one| one.is_known());
    let common_ns = known.map(Signals::excess_ns).fold(f64::INFINITY, f64::min);
    let ages = candidates.as_slice().iter().map(|index| signals(*index).age_ns(now_ns));
    let pause_ns = ages.min().unwrap_or_default();
    let mut best = (f64::INFINITY, None);
    for (slot, index) in candidates.as_slice().iter().enumerate() {
        let signals = signals(*index);
        let silent_ns = signals.silent_ns(snapshot.is_repeatable, now_ns).saturating_sub(pause_ns);
        let (ratio, reason) =
            ratio(signals, medians[slot], (reference_ns, reference_load), silent_ns, now_ns);
        let load = (signals.load(now_ns) + 1.0) / score::positive_share(signals, now_ns);
        let stalls = if signals.is_known() && medians[slot] > 0.0 {
            1.0 + (signals.excess_ns() - common_ns * TOLERANCE).max(0.0) / medians[slot]
        } else {
            1.0
        };
        let cost = UNIT_NS * ratio * ratio * stalls * load + penalties[slot];
        if cost < best.0 || best.1.is_none() {
            best = (cost, Some((*index as usize, reason)));
        }
    }
    best.1
}

/// Gives how much slower than the fastest a backend is, at least 1, and what it would be chosen for.
fn ratio(
    signals: &Signals,
    median_ns: f64,
    (reference_ns, reference_load): (f64, f64),
    silent_ns: u64,
    now_ns: u64,
) -> (f64, Reason) {
    if reference_ns == 0.0 {
        return (1.0, Reason::Lowest);
    }
    let mut reason = Reason::Lowest;
    // One hardly measured is taken for the fastest: it is tried at once, and by its load alone not flooded.
    let mut latency_ns = if signals.is_known() { median_ns } else { reference_ns };
    if latency_ns > reference_ns {
        let age_ns = signals.age_ns(now_ns);
        if age_ns > FRESH_NS {
            latency_ns = reference_ns + (latency_ns - reference_ns) * fade(age_ns, OBLIVION_NS);
            reason = Reason::Explored;
        }
    }
    latency_ns = latency_ns.max(silent_ns as f64);
    let forgiven = (reference_load + 1.0) / (reference_load.max(signals.typical_load()) + 1.0);
    ((latency_ns * forgiven / (reference_ns * TOLERANCE)).max(1.0), reason)
}
