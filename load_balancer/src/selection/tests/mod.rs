//! Choices against simple models, on a virtual clock.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

mod flow;
mod silence;

const MILLISECOND: u64 = 1_000_000;

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
    proptest::collection::vec(one, 0..24)
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
        excluded in proptest::collection::vec(0..24usize, 0..4),
        seed: u64,
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let memory = Memory::default();
        let snapshot = Snapshot { excluded: &excluded, ..Snapshot::plain(&backends, &policy, &memory) };
        let chosen = choose_backend(&snapshot, 1, &mut rng);
        let eligible = |index: usize| backends[index].is_available() && !excluded.contains(&index);
        match chosen {
            Some(choice) => prop_assert!(eligible(choice.index)),
            None => prop_assert!(!(0..backends.len()).any(eligible)),
        }
    }
}

#[test]
fn smooth_round_robin_goes_as_in_nginx() {
    let backends: Vec<_> = [5.0, 1.0, 1.0].map(weighted).into();
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(0);
    let choices: Vec<usize> = (0..7)
        .map(|_| {
            choose_backend(&Snapshot::plain(&backends, &Policy::RoundRobin, &memory), 1, &mut rng)
                .unwrap()
                .index
        })
        .collect();
    assert_eq!(choices, [0, 0, 1, 0, 2, 0, 0], "the example of nginx' own commit message");
}

fn weighted(weight: f64) -> Signals {
    let signals = Signals::new(1);
    signals.set_weight(weight);
    signals
}

#[test]
fn weights_are_respected_in_small_and_large_fleets() {
    for policy in [Policy::RoundRobin, Policy::Random, Policy::prequal()] {
        for count in [4, 40] {
            let backends: Vec<_> = (0..count).map(|n| weighted([1.0, 2.0, 0.0, 1.0][n % 4])).collect();
            let memory = Memory::default();
            let mut rng = SmallRng::seed_from_u64(3);
            let mut got = vec![0.0; count];
            for _ in 0..40_000 {
                got[choose_backend(&Snapshot::plain(&backends, &policy, &memory), 1, &mut rng)
                    .unwrap()
                    .index] += 1.0;
            }
            let group = |n: usize| got.iter().skip(n).step_by(4).sum::<f64>() / 40_000.0;
            for (n, expected) in [0.25, 0.5, 0.0, 0.25].into_iter().enumerate() {
                assert!(
                    (group(n) - expected).abs() < 0.02,
                    "{policy:?} {count}: {} for {expected}",
                    group(n)
                );
            }
        }
    }
}

#[test]
fn a_new_backend_is_not_flooded() {
    let backends: Vec<_> = (0..3).map(|_| Signals::new(1)).collect();
    for one in &backends[..2] {
        for answer in 0..32 {
            let in_flight = one.begin(1);
            one.end();
            one.note_answer(2 * MILLISECOND, in_flight, 1 + answer);
        }
        (0..8).for_each(|_| {
            one.begin(MILLISECOND);
        });
    }
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = |now: u64| {
        let index = choose_backend(&Snapshot::plain(&backends, &Policy::Latency, &memory), now, &mut rng)
            .unwrap()
            .index;
        backends[index].begin(now);
    };
    // Nothing of it is known, and nothing comes back: it may get as much as the others have, not all.
    (0..11).for_each(|_| choose(MILLISECOND));
    assert!((7..=10).contains(&backends[2].in_flight()), "{}", backends[2].in_flight());
    backends[2].start_slowly(2 * MILLISECOND, std::time::Duration::from_secs(10));
    let before = backends[2].in_flight();
    (0..20).for_each(|_| choose(2 * MILLISECOND));
    assert_eq!(
        backends[2].in_flight(),
        before,
        "while it starts slowly a tenth of the others' load is its part"
    );
}

#[test]
fn a_key_keeps_its_backend_until_that_is_out() {
    let backends: Vec<_> = (0..5).map(|_| Signals::new(1)).collect();
    let table = Maglev::new(["a", "b", "c", "d", "e"].map(|name| (name, 1.0)));
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = |key: u64| {
        let one = Snapshot::plain(&backends, &Policy::IpHash, &memory);
        choose_backend(&Snapshot { key: Some(key), table: Some(&table), ..one }, 1, &mut rng).unwrap().index
    };
    let before: Vec<usize> = (0..1000).map(|n| choose(hash_key(&[n as u8, (n >> 8) as u8]))).collect();
    backends[2].set_available(false);
    let mut heirs = [0; 5];
    for (n, before) in before.into_iter().enumerate() {
        let after = choose(hash_key(&[n as u8, (n >> 8) as u8]));
        if before == 2 {
            heirs[after] += 1;
        } else {
            assert_eq!(after, before);
        }
    }
    assert_eq!(heirs[2], 0);
    assert!([0, 1, 3, 4].iter().all(|heir| heirs[*heir] > 20), "the others share its keys: {heirs:?}");
}

#[test]
fn a_sticky_client_goes_back_unless_its_backend_is_out() {
    let backends: Vec<_> = (0..3).map(|_| Signals::new(1)).collect();
    let (policy, memory) = (Policy::StickyCookie { cookie: "c".to_owned() }, Memory::default());
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = || {
        let one = Snapshot::plain(&backends, &policy, &memory);
        choose_backend(&Snapshot { sticky: Some(1), ..one }, 1, &mut rng).unwrap()
    };
    assert_eq!((choose().index, choose().reason), (1, Reason::Sticky));
    backends[1].set_available(false);
    assert_ne!(choose().index, 1);
}
