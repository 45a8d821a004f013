//! Each in turn, and any: the rules that look at weights alone.

use rand::Rng;

use super::candidates::{ALL_UP_TO, Candidates};
use super::{Candidate, Memory, Snapshot};

/// Draws at random before every backend is looked at: of a fleet of which half is out, all miss once in 65,000.
const DRAWS: usize = 16;

/// One this many times slower than the fastest gets nothing for its share alone.
const SLOW_FACTOR: f64 = 2.0;

/// And at least by so much: a backend that gets little answers from cold caches and a thread that sleeps, which among
/// answers of a tenth of a millisecond makes more than that factor.
const SLOW_FLOOR_NS: f64 = 1e6;

/// A penalty below this is forgotten: less than one failure leaves after 10 s.
const FORGIVEN_NS: f64 = 25e6;

/// Takes the next in turn by the smooth weighted rule of nginx (`ngx_http_upstream_round_robin.c`): everyone's
/// credit grows by its weight, the richest is chosen and pays what all got together.
///
/// In a fleet of more than [`ALL_UP_TO`] the turn goes on from the last one, and one with a part of the
/// greatest weight is passed over as often as it lacks of it: nginx' rule looks at all.
pub(crate) fn next<B: Candidate>(snapshot: &Snapshot<'_, B>, now_ns: u64) -> Option<usize> {
    if snapshot.backends.len() > ALL_UP_TO {
        return next_of_many(snapshot, now_ns);
    }
    let mut total = 0.0;
    let mut richest: (f64, Option<usize>) = (0.0, None);
    for index in snapshot.eligible() {
        let share = snapshot.backends[index].signals().share(now_ns);
        total += share;
        let credit = snapshot.memory.credit(index) + share;
        snapshot.memory.set_credit(index, credit);
        if richest.1.is_none() || credit > richest.0 {
            richest = (credit, Some(index));
        }
    }
    let (credit, index) = richest;
    let index = index?;
    snapshot.memory.set_credit(index, credit - total);
    Some(index)
}

/// Takes one with a smaller share than others and nothing to do, by chance as often as its share asks for.
///
/// Rules that divide a load by the share need load at the others: where nobody ever waits, one in its slow start
/// or on trial would get nothing at all. One known to be slow, or that failed lately, is left to the rule.
pub(crate) fn of_small_share<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    candidates: &Candidates,
    now_ns: u64,
    rng: &mut impl Rng,
) -> Option<usize> {
    let signals = |index: &u32| snapshot.backends[*index as usize].signals();
    let (mut greatest, mut total, mut least) = (0.0_f64, 0.0, f64::INFINITY);
    for index in candidates.as_slice() {
        let share = signals(index).share(now_ns);
        (greatest, total, least) = (greatest.max(share), total + share, least.min(share));
    }
    if least >= greatest {
        return None;
    }
    let mut left = rng.random::<f64>() * total;
    let drawn = candidates.as_slice().iter().find(|index| {
        left -= signals(index).share(now_ns);
        left < 0.0
    })?;
    let one = signals(drawn);
    let fastest = candidates.as_slice().iter().map(|index| signals(index).latency_ns());
    let fastest_ns = fastest.filter(|latency_ns| *latency_ns > 0.0).fold(f64::INFINITY, f64::min);
    let slow_from_ns = (SLOW_FACTOR * fastest_ns).max(fastest_ns + SLOW_FLOOR_NS);
    let is_slow = one.is_known() && one.latency_ns() > slow_from_ns;
    let is_fit = one.share(now_ns) < greatest
        && one.in_flight() == 0
        && one.penalty_ns(now_ns) < FORGIVEN_NS
        && !is_slow;
    is_fit.then_some(*drawn as usize)
}

fn next_of_many<B: Candidate>(snapshot: &Snapshot<'_, B>, now_ns: u64) -> Option<usize> {
    let count = snapshot.backends.len();
    let memory: &Memory = snapshot.memory;
    let mut passed_over = None;
    for _ in 0..2 * count {
        let index = memory.next_turn() % count;
        if !snapshot.is_eligible(index) {
            continue;
        }
        let share = snapshot.backends[index].signals().share(now_ns);
        // What one lacks of its turn is saved up; the greatest weight of a round is the price of one.
        let credit = memory.large_credit(index, count) + share / memory.price(share, index);
        if credit >= 1.0 - 1e-9 {
            memory.set_large_credit(index, (credit - 1.0).max(0.0));
            return Some(index);
        }
        memory.set_large_credit(index, credit);
        passed_over.get_or_insert(index);
    }
    passed_over
}

/// Takes any, by weight.
pub(crate) fn any<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    now_ns: u64,
    rng: &mut impl Rng,
) -> Option<usize> {
    let share = |index: usize| snapshot.backends[index].signals().share(now_ns);
    if snapshot.backends.len() > ALL_UP_TO
        && let Some(index) = draw(snapshot, now_ns, rng)
    {
        return Some(index);
    }
    let total: f64 = snapshot.eligible().map(share).sum();
    let mut left = rng.random::<f64>() * total;
    let mut last = None;
    for index in snapshot.eligible() {
        last = Some(index);
        left -= share(index);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Draws one of a fleet by weight without looking at all of them; `None` if none of the draws fitted.
pub(crate) fn draw<B: Candidate>(
    snapshot: &Snapshot<'_, B>,
    now_ns: u64,
    rng: &mut impl Rng,
) -> Option<usize> {
    let greatest = snapshot.memory.greatest_share();
    for _ in 0..DRAWS {
        let index = rng.random_range(0..snapshot.backends.len());
        if !snapshot.is_eligible(index) {
            continue;
        }
        let share = snapshot.backends[index].signals().share(now_ns);
        snapshot.memory.see_share(share);
        if share >= greatest || rng.random::<f64>() * greatest < share {
            return Some(index);
        }
    }
    None
}
