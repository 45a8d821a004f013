//! Choices against simple models, on a virtual clock.

use std::collections::BinaryHeap;
use std::rc::Rc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::Backend;

#[derive(Debug, Clone)]
struct Fake {
    available: bool,
    in_flight: u32,
    latency_ns: f64,
    penalty_ns: f64,
}

impl Candidate for Fake {
    fn is_available(&self) -> bool {
        self.available
    }
    fn in_flight(&self) -> u32 {
        self.in_flight
    }
    fn latency_ns(&self, _: u64) -> f64 {
        self.latency_ns
    }
    fn penalty_ns(&self, _: u64) -> f64 {
        self.penalty_ns
    }
}

fn fakes() -> impl Strategy<Value = Vec<Rc<Fake>>> {
    let fake = (any::<bool>(), 0..100u32, 0.0..1e9, 0.0..1e9).prop_map(
        |(available, in_flight, latency_ns, penalty_ns)| {
            Rc::new(Fake { available, in_flight, latency_ns, penalty_ns })
        },
    );
    proptest::collection::vec(fake, 0..12)
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::PeakEwma),
        Just(Policy::LeastRequest),
        Just(Policy::RoundRobin),
        Just(Policy::Random)
    ]
}

proptest! {
    #[test]
    fn a_choice_is_available_and_made_whenever_it_can_be(
        backends in fakes(),
        policy in policies(),
        excluded in proptest::collection::vec(0..12usize, 0..4),
        turn: usize,
        seed: u64,
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let chosen = choose_backend(&backends, policy, &excluded, turn, 1, &mut rng);
        let eligible = |index: usize| backends[index].available && !excluded.contains(&index);
        match chosen {
            Some(index) => prop_assert!(eligible(index)),
            None => prop_assert!(!(0..backends.len()).any(eligible)),
        }
    }

    #[test]
    fn the_worst_of_all_is_never_chosen(backends in fakes(), seed: u64) {
        let available: Vec<usize> = (0..backends.len()).filter(|index| backends[*index].available).collect();
        let cost = |index: &usize| score(&*backends[*index], 1);
        let worst = available.iter().copied().max_by(|a, b| cost(a).total_cmp(&cost(b)));
        let is_alone = available.iter().filter(|index| cost(index) == worst.as_ref().map_or(0.0, cost)).count() == 1;
        let mut rng = SmallRng::seed_from_u64(seed);
        let chosen = choose_backend(&backends, Policy::PeakEwma, &[], 0, 1, &mut rng);
        if available.len() > 1 && is_alone {
            prop_assert_ne!(chosen, worst);
        }
    }
}

#[test]
fn round_robin_takes_each_in_turn() {
    let up = Rc::new(Fake { available: true, in_flight: 0, latency_ns: 0.0, penalty_ns: 0.0 });
    let down = Rc::new(Fake { available: false, ..(*up).clone() });
    let backends = [up.clone(), down, up.clone(), up];
    let mut rng = SmallRng::seed_from_u64(0);
    let choices: Vec<_> = (0..4)
        .map(|turn| choose_backend(&backends, Policy::RoundRobin, &[], turn, 1, &mut rng).unwrap())
        .collect();
    assert_eq!(choices, [0, 2, 3, 0]);
}

/// One backend of a simulation: how long it takes, and whether it fails.
#[derive(Clone, Copy)]
struct Behaviour {
    latency_ns: u64,
    fails: bool,
}

/// Sends requests at a fixed pace on a virtual clock; gives how many each backend got.
fn simulate(
    behaviours: &[Behaviour],
    policy: Policy,
    requests: u64,
    pace_ns: u64,
    behaves: impl Fn(usize, u64) -> Behaviour,
) -> Vec<u64> {
    let backends: Vec<_> = behaviours
        .iter()
        .enumerate()
        .map(|(n, _)| Rc::new(Backend::for_tests(&format!("127.0.0.1:{}", n + 1))))
        .collect();
    let mut rng = SmallRng::seed_from_u64(7);
    let mut got = vec![0; backends.len()];
    let mut ends: BinaryHeap<std::cmp::Reverse<(u64, usize, u64, bool)>> = BinaryHeap::new();
    for request in 0..requests {
        let now = 1 + request * pace_ns;
        while let Some(std::cmp::Reverse((end, index, latency, fails))) = ends.peek().copied()
            && end <= now
        {
            ends.pop();
            backends[index].end_for_tests(latency, !fails, end);
        }
        let index = choose_backend(&backends, policy, &[], request as usize, now, &mut rng).unwrap();
        let behaviour = behaves(index, now);
        got[index] += 1;
        backends[index].begin_for_tests();
        // The latency grows with what is in flight, as at a real backend.
        let latency = behaviour.latency_ns * (1 + u64::from(backends[index].in_flight()) / 8);
        ends.push(std::cmp::Reverse((now + latency, index, latency, behaviour.fails)));
    }
    got
}

const MILLISECOND: u64 = 1_000_000;
const GOOD: Behaviour = Behaviour { latency_ns: 2 * MILLISECOND, fails: false };

#[test]
fn a_slow_backend_gets_less_traffic() {
    let slow = Behaviour { latency_ns: 40 * MILLISECOND, ..GOOD };
    let all = [GOOD, GOOD, GOOD, GOOD, slow];
    let got = simulate(&all, Policy::PeakEwma, 20_000, MILLISECOND, |index, _| all[index]);
    assert!(got[4] < 200, "the slow one got {got:?}");
    assert!(got[..4].iter().all(|count| *count > 2_500), "the others share evenly: {got:?}");
    let turns = simulate(&all, Policy::RoundRobin, 20_000, MILLISECOND, |index, _| all[index]);
    assert_eq!(turns[4], 4_000, "the same load without looking");
}

#[test]
fn a_backend_that_fails_fast_does_not_draw_traffic() {
    let failing = Behaviour { latency_ns: MILLISECOND / 10, fails: true };
    let all = [GOOD, GOOD, failing];
    let got = simulate(&all, Policy::PeakEwma, 20_000, MILLISECOND, |index, _| all[index]);
    assert!(got[2] < 100, "{got:?}");
}

#[test]
fn a_backend_that_recovers_gets_its_share_again() {
    let slow_at_first = |index: usize, now: u64| match index {
        2 if now < 20_000 * MILLISECOND => Behaviour { latency_ns: 100 * MILLISECOND, fails: false },
        _ => GOOD,
    };
    let early = simulate(&[GOOD; 3], Policy::PeakEwma, 20_000, MILLISECOND, slow_at_first)[2];
    let whole = simulate(&[GOOD; 3], Policy::PeakEwma, 120_000, MILLISECOND, slow_at_first)[2];
    assert!(early < 500, "while slow it got {early}");
    assert!(whole - early > 10_000, "after it recovered it got {}", whole - early);
}
