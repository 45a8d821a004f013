//! Choices against simple models, on a virtual clock.

use std::collections::BinaryHeap;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

fn snapshot<'a>(backends: &'a [Signals], policy: &'a Policy, memory: &'a Memory) -> Snapshot<'a, Signals> {
    Snapshot {
        backends,
        policy,
        memory,
        excluded: &[],
        key: None,
        sticky: None,
        table: None,
        balance_factor: None,
        panic: false,
        is_repeatable: true,
    }
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

#[test]
fn smooth_round_robin_goes_as_in_nginx() {
    let backends: Vec<_> = [5.0, 1.0, 1.0].map(weighted).into();
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(0);
    let choices: Vec<usize> = (0..7)
        .map(|_| {
            choose_backend(&snapshot(&backends, &Policy::RoundRobin, &memory), 1, &mut rng).unwrap().index
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
    for policy in [Policy::RoundRobin, Policy::Random] {
        for count in [4, 40] {
            let backends: Vec<_> = (0..count).map(|n| weighted([1.0, 2.0, 0.0, 1.0][n % 4])).collect();
            let memory = Memory::default();
            let mut rng = SmallRng::seed_from_u64(3);
            let mut got = vec![0.0; count];
            for _ in 0..40_000 {
                got[choose_backend(&snapshot(&backends, &policy, &memory), 1, &mut rng).unwrap().index] +=
                    1.0;
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
        let index =
            choose_backend(&snapshot(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap().index;
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
fn a_backend_that_went_silent_gets_nothing_until_it_answers() {
    let backends: Vec<_> = (0..2).map(|_| Signals::new(1)).collect();
    for one in &backends {
        for answer in 0..32 {
            let in_flight = one.begin(1);
            one.end();
            one.note_answer(2 * MILLISECOND, in_flight, 1 + answer);
        }
        one.begin(MILLISECOND);
    }
    backends[1].note_answer(2 * MILLISECOND, 1, 40 * MILLISECOND);
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    for _ in 0..30 {
        let now = 41 * MILLISECOND;
        let chosen = choose_backend(&snapshot(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap();
        assert_eq!(chosen.index, 1);
        backends[1].begin(now);
    }
}

#[test]
fn a_silence_outlasts_the_requests_that_were_given_up() {
    let backends = usual_backends(2);
    let (stalled, other) = (&backends[0], &backends[1]);
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = |now: u64| {
        choose_backend(&snapshot(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap().index
    };
    // All it worked on is given up after 20 ms, sent elsewhere, and answered there.
    let sent: Vec<_> = (0..8).map(|_| stalled.begin(2 * MILLISECOND)).collect();
    for in_flight in sent {
        stalled.end();
        stalled.note_given_up(20 * MILLISECOND, in_flight, 22 * MILLISECOND);
    }
    (0..4).for_each(|_| {
        other.begin(22 * MILLISECOND);
    });
    other.note_answer(2 * MILLISECOND, 1, 25 * MILLISECOND);
    assert_eq!(choose(25 * MILLISECOND), 1, "idle, and silent all the same");
    // After half of the silence one request is to tell, and only one.
    other.note_answer(2 * MILLISECOND, 1, 33 * MILLISECOND);
    assert_eq!(choose(33 * MILLISECOND), 0);
    let trial = stalled.begin(33 * MILLISECOND);
    assert_eq!(choose(33 * MILLISECOND), 1, "the trial stands for the whole silence");
    // Given up as well, it makes the silence longer.
    stalled.end();
    stalled.note_given_up(12 * MILLISECOND, trial, 45 * MILLISECOND);
    other.note_answer(2 * MILLISECOND, 1, 60 * MILLISECOND);
    assert_eq!(choose(60 * MILLISECOND), 1);
    // An answer ends it.
    let trial = stalled.begin(68 * MILLISECOND);
    stalled.end();
    stalled.note_answer(2 * MILLISECOND, trial, 70 * MILLISECOND);
    assert_eq!(choose(70 * MILLISECOND), 0);
}

#[test]
fn a_request_given_up_long_ago_is_no_silence() {
    let backends = usual_backends(2);
    let given_up = backends[0].begin(2 * MILLISECOND);
    backends[0].end();
    backends[0].note_given_up(20 * MILLISECOND, given_up, 22 * MILLISECOND);
    backends[0].begin(60_000 * MILLISECOND);
    assert_eq!(backends[0].silent_ns(true, 60_000 * MILLISECOND), 0);
}

#[test]
fn what_cannot_be_sent_elsewhere_is_not_the_trial_of_a_silent_backend_while_others_are_there() {
    let backends = usual_backends(2);
    let (stalled, other) = (&backends[0], &backends[1]);
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = |is_repeatable: bool, now: u64| {
        let snapshot = Snapshot { is_repeatable, ..snapshot(&backends, &Policy::Latency, &memory) };
        choose_backend(&snapshot, now, &mut rng).unwrap().index
    };
    let sent = stalled.begin(2 * MILLISECOND);
    stalled.end();
    stalled.note_given_up(20 * MILLISECOND, sent, 22 * MILLISECOND);
    (0..4).for_each(|_| {
        other.begin(22 * MILLISECOND);
    });
    for now in [33, 60, 180] {
        other.note_answer(2 * MILLISECOND, 1, now * MILLISECOND);
        assert_eq!(choose(false, now * MILLISECOND), 1, "at {now} ms");
        assert_eq!(choose(true, now * MILLISECOND), 0, "at {now} ms");
    }
    // Nor while one that can be sent elsewhere is at it.
    stalled.begin(100 * MILLISECOND);
    other.note_answer(2 * MILLISECOND, 1, 101 * MILLISECOND);
    assert_eq!(choose(false, 101 * MILLISECOND), 1, "the trial stands for the whole silence");
    stalled.end();
    // Where nothing else comes, it is tried all the same.
    other.note_answer(2 * MILLISECOND, 1, 190 * MILLISECOND);
    assert_eq!(choose(false, 190 * MILLISECOND), 0);
}

#[test]
fn a_client_that_hangs_up_after_a_minute_keeps_nobody_away_for_minutes() {
    let backends = usual_backends(2);
    let (held, other) = (&backends[0], &backends[1]);
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let sent = held.begin(2 * MILLISECOND);
    held.end();
    held.note_given_up(60_000 * MILLISECOND, sent, 60_002 * MILLISECOND);
    other.begin(60_002 * MILLISECOND);
    let mut choose = |now: u64| {
        other.note_answer(2 * MILLISECOND, 1, now * MILLISECOND);
        let snapshot = Snapshot { is_repeatable: false, ..snapshot(&backends, &Policy::Latency, &memory) };
        choose_backend(&snapshot, now * MILLISECOND, &mut rng).unwrap().index
    };
    assert_eq!(choose(90_500), 1);
    assert_eq!(choose(91_100), 0, "a second after one that can be sent elsewhere");
}

/// Makes backends that have answered 32 times in 2 ms, the last time at 1 ms.
fn usual_backends(count: usize) -> Vec<Signals> {
    let backends: Vec<_> = (0..count).map(|_| Signals::new(1)).collect();
    for one in &backends {
        for _ in 0..32 {
            let in_flight = one.begin(1);
            one.end();
            one.note_answer(2 * MILLISECOND, in_flight, MILLISECOND);
        }
    }
    backends
}

#[test]
fn a_pause_of_all_at_once_tells_none_from_the_others() {
    // As when this process was held up itself; by chance one had more in flight than the other.
    let backends = usual_backends(2);
    for (one, held_up) in backends.iter().zip([30, 20]) {
        for at in 0..1000 {
            let latency = if at < held_up { 80 * MILLISECOND } else { 2 * MILLISECOND };
            one.note_answer(latency, 1, 100 * MILLISECOND + at);
        }
        (0..10).for_each(|_| {
            one.begin(101 * MILLISECOND);
        });
    }
    let (memory, mut rng) = (Memory::default(), SmallRng::seed_from_u64(5));
    for _ in 0..10 {
        let now = 101 * MILLISECOND;
        let chosen = choose_backend(&snapshot(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap();
        backends[chosen.index].begin(now);
    }
    let loads = [backends[0].in_flight(), backends[1].in_flight()];
    assert!(loads[0].abs_diff(loads[1]) <= 1, "{loads:?}");
}

#[test]
fn an_idle_backend_does_not_get_all_that_came_in_a_pause_of_our_own() {
    let backends = usual_backends(5);
    for one in &backends[..4] {
        (0..7).for_each(|_| {
            one.begin(MILLISECOND);
        });
    }
    // Nothing was read for 80 ms, answers lie in the sockets, and a thousand requests came.
    let (memory, mut rng) = (Memory::default(), SmallRng::seed_from_u64(5));
    for _ in 0..100 {
        let now = 81 * MILLISECOND;
        let chosen = choose_backend(&snapshot(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap();
        backends[chosen.index].begin(now);
    }
    let idle = backends[4].in_flight();
    assert!((20..35).contains(&idle), "{idle} of 100");
}

#[test]
fn a_key_keeps_its_backend_until_that_is_out() {
    let backends: Vec<_> = (0..5).map(|_| Signals::new(1)).collect();
    let table = Maglev::new(["a", "b", "c", "d", "e"].map(|name| (name, 1.0)));
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = |key: u64| {
        let one = snapshot(&backends, &Policy::IpHash, &memory);
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
        let one = snapshot(&backends, &policy, &memory);
        choose_backend(&Snapshot { sticky: Some(1), ..one }, 1, &mut rng).unwrap()
    };
    assert_eq!((choose().index, choose().reason), (1, Reason::Sticky));
    backends[1].set_available(false);
    assert_ne!(choose().index, 1);
}

#[test]
fn panic_chooses_among_those_that_are_out() {
    let backends = [Signals::new(1)];
    backends[0].set_available(false);
    let (policy, memory) = (Policy::Latency, Memory::default());
    let mut rng = SmallRng::seed_from_u64(5);
    let calm = snapshot(&backends, &policy, &memory);
    assert_eq!(choose_backend(&calm, 1, &mut rng), None);
    assert!(choose_backend(&Snapshot { panic: true, ..calm }, 1, &mut rng).is_some());
}

/// Gives how many of 10,000 requests the first of five gets where nobody ever waits; it answers in `own_ns`, the
/// others in `usual_ns`.
fn share_of_first(policy: &Policy, own_ns: u64, usual_ns: u64, prepare: impl Fn(&Signals)) -> u32 {
    let backends: Vec<_> = (0..5).map(|_| Signals::new(1)).collect();
    for (index, one) in backends.iter().enumerate() {
        let latency_ns = if index == 0 { own_ns } else { usual_ns };
        (0..32).for_each(|_| one.note_answer(latency_ns, 1, 1));
    }
    prepare(&backends[0]);
    let (memory, mut rng) = (Memory::default(), SmallRng::seed_from_u64(7));
    let choices = (0..10_000)
        .map(|_| choose_backend(&snapshot(&backends, policy, &memory), 2, &mut rng).unwrap().index);
    choices.filter(|index| *index == 0).count() as u32
}

#[test]
fn a_small_share_is_given_where_nobody_waits_too() {
    for policy in [Policy::Latency, Policy::LeastRequest] {
        let halved = share_of_first(&policy, 2 * MILLISECOND, 2 * MILLISECOND, |one| one.set_weight(0.5));
        assert!((1_000..1_250).contains(&halved), "{policy:?} {halved}");
        let failed = share_of_first(&policy, 2 * MILLISECOND, 2 * MILLISECOND, |one| {
            one.set_weight(0.5);
            one.note_failure(2);
        });
        assert_eq!(failed, 0, "{policy:?}");
    }
}

#[test]
fn a_small_share_is_not_lost_for_less_than_a_millisecond() {
    for policy in [Policy::Latency, Policy::LeastRequest] {
        let answering_in =
            |own_ns| share_of_first(&policy, own_ns, MILLISECOND / 10, |one| one.set_weight(0.5));
        let (colder, slow) = (answering_in(MILLISECOND / 3), answering_in(2 * MILLISECOND));
        assert!((1_000..1_250).contains(&colder), "{policy:?} {colder}");
        assert_eq!(slow, 0, "{policy:?}");
    }
}
