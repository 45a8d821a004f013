//! Prequal's hot–cold lexicographic rule (Wydrowski et al., "Load is not what you should balance", NSDI'24 §4).
//!
//! A backend is hot when its requests in flight reach a quantile of what all are seen to have (in the paper: exceed
//! it). Among those that are not hot the one with the lowest latency at its load is taken; if all are hot, the least
//! loaded.

use rand::Rng;

use super::candidates::{ALL_UP_TO, Candidates};
use super::pool::{CAPACITY, R_PROBE, TOO_FEW};
use super::{Candidate, Reason, Signals, Snapshot, score, turn};

/// What the rule compares.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    load: f64,
    latency_ns: f64,
}

/// Chooses among slots, one a backend.
///
/// The paper has no weights: here a backend of half the share is as if each of its requests, the next one too, were two
/// and took twice as long.
pub(crate) fn choose_slot<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    candidates: &Candidates,
    q_rif: f64,
    now_ns: u64,
) -> Option<(usize, Reason)> {
    let mut seen = [Seen::default(); ALL_UP_TO];
    for (seen, index) in seen.iter_mut().zip(candidates.as_slice()) {
        let signals = snapshot.backends[*index as usize].signals();
        let (own, times) = (look(signals, now_ns), 1.0 / score::positive_share(signals, now_ns));
        *seen = Seen { load: own.load + times, latency_ns: own.latency_ns * times };
    }
    let seen = &seen[..candidates.as_slice().len()];
    let (place, reason) = hot_cold(seen, hot_from(seen, q_rif))?;
    Some((candidates.as_slice()[place] as usize, reason))
}

/// Chooses from the pool of probes.
///
/// Probes that were sent come by [`Memory::note_probe`](super::Memory::note_probe). What answers told of a backend
/// picked at random counts as one too, so the pool is fed when nobody sends any.
pub(crate) fn choose_from_pool<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    q_rif: f64,
    now_ns: u64,
    rng: &mut impl Rng,
) -> Option<(usize, usize, Reason)> {
    let mut pool = snapshot.memory.pool.borrow_mut();
    pool.remove_old(now_ns);
    let count = snapshot.backends.len();
    for _ in 0..R_PROBE as usize {
        // By weight, as those that are taken at random are.
        let drawn = turn::draw(snapshot, now_ns, rng);
        if let Some(index) = drawn.filter(|_| snapshot.memory.sends_no_probes()) {
            let seen = look(snapshot.backends[index].signals(), now_ns);
            pool.add(index, seen.load, seen.latency_ns, now_ns);
        }
    }
    let mut seen = [Seen::default(); CAPACITY];
    let mut places = [0; CAPACITY];
    let mut len = 0;
    for (place, probe) in pool.as_slice().iter().enumerate() {
        let index = probe.index as usize;
        if snapshot.is_eligible(index) {
            let penalty_ns = snapshot.backends[index].signals().penalty_ns(now_ns);
            let load = probe.load + penalty_ns / score::PENALTY_PER_REQUEST_NS;
            seen[len] = Seen { load, latency_ns: probe.latency_ns };
            places[len] = place;
            len += 1;
        }
    }
    if len < TOO_FEW {
        return turn::any(snapshot, now_ns, rng).map(|index| (index, len, Reason::Random));
    }
    let seen = &seen[..len];
    let hot_from = hot_from(seen, q_rif);
    let (slot, reason) = hot_cold(seen, hot_from)?;
    let place = places[slot];
    let index = pool.as_slice()[place].index as usize;
    pool.use_up(place, count, rng);
    pool.remove_one(hot_from);
    Some((index, len, reason))
}

fn look(signals: &Signals, now_ns: u64) -> Seen {
    let load = score::total_load(signals, now_ns);
    Seen { load, latency_ns: signals.latency_near_ns(load as u32 + 1, now_ns) }
}

/// Gives the load from which a backend is hot: the quantile of those seen.
fn hot_from(seen: &[Seen], q_rif: f64) -> f64 {
    let mut loads = [0.0; ALL_UP_TO];
    let loads = &mut loads[..seen.len()];
    for (load, seen) in loads.iter_mut().zip(seen) {
        *load = seen.load;
    }
    loads.sort_unstable_by(f64::total_cmp);
    let rank = (q_rif * loads.len() as f64) as usize;
    // With a quantile of 1 none is hot: the rule is latency alone.
    loads.get(rank).copied().unwrap_or(f64::INFINITY)
}

fn hot_cold(seen: &[Seen], hot_from: f64) -> Option<(usize, Reason)> {
    let mut cold: (f64, Option<usize>) = (f64::INFINITY, None);
    let mut hot: (f64, Option<usize>) = (f64::INFINITY, None);
    for (place, seen) in seen.iter().enumerate() {
        if seen.load < hot_from && (cold.1.is_none() || seen.latency_ns < cold.0) {
            cold = (seen.latency_ns, Some(place));
        }
        if hot.1.is_none() || seen.load < hot.0 {
            hot = (seen.load, Some(place));
        }
    }
    let cold = cold.1.map(|place| (place, Reason::Cold));
    cold.or_else(|| hot.1.map(|place| (place, Reason::Hot)))
}
