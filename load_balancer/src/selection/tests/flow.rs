//! How requests spread over backends that behave in their ways.

use std::collections::BinaryHeap;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

/// One backend of a simulation: how long it takes, and whether it fails.
#[derive(Clone, Copy)]
struct Behaviour {
    latency_ns: u64,
    fails: bool,
}

/// Sends requests at a fixed pace on a virtual clock; gives how many each backend got.
fn simulate(
    policy: Policy,
    count: usize,
    requests: u64,
    pace_ns: u64,
    behaves: impl Fn(usize, u64) -> Behaviour,
) -> Vec<u64> {
    let backends: Vec<_> = (0..count).map(|_| Signals::new(1)).collect();
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(7);
    let mut got = vec![0; backends.len()];
    let mut ends = BinaryHeap::new();
    for request in 0..requests {
        let now = 1 + request * pace_ns;
        while let Some(std::cmp::Reverse((end, index, latency, in_flight, fails))) = ends.peek().copied()
            && end <= now
        {
            ends.pop();
            let signals: &Signals = &backends[index];
            signals.end();
            signals.note_answer(latency, in_flight, end);
            if fails {
                signals.note_failure(end);
            }
        }
        let index =
            choose_backend(&Snapshot::plain(&backends, &policy, &memory), now, &mut rng).unwrap().index;
        let behaviour = behaves(index, now);
        got[index] += 1;
        let in_flight = backends[index].begin(now);
        // The latency grows with what is in flight, as at a real backend.
        let latency = behaviour.latency_ns * (1 + u64::from(in_flight) / 8);
        ends.push(std::cmp::Reverse((now + latency, index, latency, in_flight, behaviour.fails)));
    }
    got
}

const GOOD: Behaviour = Behaviour { latency_ns: 2 * MILLISECOND, fails: false };

#[test]
fn a_slow_backend_gets_less_traffic() {
    let slow = Behaviour { latency_ns: 40 * MILLISECOND, ..GOOD };
    let all = [GOOD, GOOD, GOOD, GOOD, slow];
    let got = simulate(Policy::Latency, all.len(), 20_000, MILLISECOND, |index, _| all[index]);
    assert!(got[4] < 200, "the slow one got {got:?}");
    assert!(got[..4].iter().all(|count| *count > 2_500), "the others share evenly: {got:?}");
    let turns = simulate(Policy::RoundRobin, all.len(), 20_000, MILLISECOND, |index, _| all[index]);
    assert_eq!(turns[4], 4_000, "the same load without looking");
}

#[test]
fn a_backend_that_fails_fast_does_not_draw_traffic() {
    let failing = Behaviour { latency_ns: MILLISECOND / 10, fails: true };
    let all = [GOOD, GOOD, failing];
    let got = simulate(Policy::Latency, all.len(), 20_000, MILLISECOND, |index, _| all[index]);
    assert!(got[2] < 100, "{got:?}");
}

#[test]
fn a_backend_that_recovers_gets_its_share_again() {
    let slow_at_first = |index: usize, now: u64| match index {
        2 if now < 20_000 * MILLISECOND => Behaviour { latency_ns: 100 * MILLISECOND, fails: false },
        _ => GOOD,
    };
    let early = simulate(Policy::Latency, 3, 20_000, MILLISECOND, slow_at_first)[2];
    let whole = simulate(Policy::Latency, 3, 120_000, MILLISECOND, slow_at_first)[2];
    assert!(early < 500, "while slow it got {early}");
    assert!(whole - early > 10_000, "after it recovered it got {}", whole - early);
}

/// Gives how many of 10,000 requests the first of five gets where nobody ever waits; it answers in `own_ns`, the
/// others in `usual_ns`.
fn share_of_first(policy: &Policy, own_ns: u64, usual_ns: u64, prepare: impl Fn(&Signals)) -> u32 {
    let backends: Vec<_> = (0..5).map(|_| Signals::new(1)).collect();
    for (index, one) in backends.iter().enumerate() {
        let latency_ns = if index == 0 { own_ns } else { usual_ns };
        (0..32).for_each(|at| one.note_answer(latency_ns, 1, 10 * MILLISECOND * at));
    }
    let now = 310 * MILLISECOND + 2;
    prepare(&backends[0]);
    let (memory, mut rng) = (Memory::default(), SmallRng::seed_from_u64(7));
    let choices = (0..10_000)
        .map(|_| choose_backend(&Snapshot::plain(&backends, policy, &memory), now, &mut rng).unwrap().index);
    choices.filter(|index| *index == 0).count() as u32
}

#[test]
fn a_small_share_is_given_where_nobody_waits_too() {
    for policy in [Policy::Latency, Policy::LeastRequest, Policy::prequal()] {
        let halved = share_of_first(&policy, 2 * MILLISECOND, 2 * MILLISECOND, |one| one.set_weight(0.5));
        assert!((1_000..1_250).contains(&halved), "{policy:?} {halved}");
        let failed = share_of_first(&policy, 2 * MILLISECOND, 2 * MILLISECOND, |one| {
            one.set_weight(0.5);
            one.note_failure(310 * MILLISECOND);
        });
        assert_eq!(failed, 0, "{policy:?}");
    }
}

#[test]
fn a_small_share_is_not_lost_for_less_than_a_millisecond() {
    for policy in [Policy::Latency, Policy::LeastRequest, Policy::prequal()] {
        let answering_in =
            |own_ns| share_of_first(&policy, own_ns, MILLISECOND / 10, |one| one.set_weight(0.5));
        let (colder, slow) = (answering_in(MILLISECOND / 3), answering_in(2 * MILLISECOND));
        assert!((1_000..1_250).contains(&colder), "{policy:?} {colder}");
        assert_eq!(slow, 0, "{policy:?}");
    }
}
