//! Choices against simple models, on a virtual clock.

use std::collections::BinaryHeap;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

fn snapshot<'a>(backends: &'a [Signals], policy: &'a Policy, memory: &'a Memory) -> Snapshot<'a, Signals> {
    Snapshot { backends, policy, memory, excluded: &[], key: None, sticky: None, table: None, panic: false }
}

fn some_signals() -> impl Strategy<Value = Vec<Signals>> {
    let one = (any::<bool>(), 0..20u32, 0..1_000_000_000u64, 0..3u32).prop_map(
        |(is_available, in_flight, latency_ns, failures)| {
            let signals = Signals::new(1);
            signals.set_available(is_available);
            for _ in 0..in_flight {
                signals.begin(1);
            }
            signals.note_answer(latency_ns, in_flight, 1);
            (0..failures).for_each(|_| signals.note_failure(1));
            signals
        },
    );
    proptest::collection::vec(one, 0..12)
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Latency),
        Just(Policy::prequal()),
        Just(Policy::PeakEwma),
        Just(Policy::LeastRequest),
        Just(Policy::RoundRobin),
        Just(Policy::Random),
        Just(Policy::LowestLatency),
        Just(Policy::IpHash),
    ]
}

proptest! {
    #[test]
    fn a_choice_is_available_and_made_whenever_it_can_be(
        backends in some_signals(),
        policy in policies(),
        excluded in proptest::collection::vec(0..12usize, 0..4),
        seed: u64,
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let memory = Memory::default();
        let snapshot = Snapshot { excluded: &excluded, ..snapshot(&backends, &policy, &memory) };
        let chosen = choose_backend(&snapshot, 1, &mut rng);
        let eligible = |index: usize| backends[index].is_available() && !excluded.contains(&index);
        match chosen {
            Some(choice) => prop_assert!(eligible(choice.index)),
            None => prop_assert!(!(0..backends.len()).any(eligible)),
        }
    }
}

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
        let index = choose_backend(&snapshot(&backends, &policy, &memory), now, &mut rng).unwrap().index;
        let behaviour = behaves(index, now);
        got[index] += 1;
        let in_flight = backends[index].begin(now);
        // The latency grows with what is in flight, as at a real backend.
        let latency = behaviour.latency_ns * (1 + u64::from(in_flight) / 8);
        ends.push(std::cmp::Reverse((now + latency, index, latency, in_flight, behaviour.fails)));
    }
    got
}

const MILLISECOND: u64 = 1_000_000;
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
