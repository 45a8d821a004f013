//! Backends that went silent, requests that were given up, and pauses of our own.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

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
        let chosen =
            choose_backend(&Snapshot::plain(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap();
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
        choose_backend(&Snapshot::plain(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap().index
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
        let snapshot = Snapshot { is_repeatable, ..Snapshot::plain(&backends, &Policy::Latency, &memory) };
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
        let snapshot =
            Snapshot { is_repeatable: false, ..Snapshot::plain(&backends, &Policy::Latency, &memory) };
        choose_backend(&snapshot, now * MILLISECOND, &mut rng).unwrap().index
    };
    assert_eq!(choose(90_500), 1);
    assert_eq!(choose(91_100), 0, "a second after one that can be sent elsewhere");
}

#[test]
fn a_pause_of_all_at_once_tells_none_from_the_others() {
    // As when this process was held up itself; by chance one had more in flight than the other.
    let backends = usual_backends(2);
    for (one, held_up) in backends.iter().zip([30, 20]) {
        (2..10).for_each(|at| one.note_answer(2 * MILLISECOND, 1, at * 10 * MILLISECOND));
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
        let chosen =
            choose_backend(&Snapshot::plain(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap();
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
        let chosen =
            choose_backend(&Snapshot::plain(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap();
        backends[chosen.index].begin(now);
    }
    let idle = backends[4].in_flight();
    assert!((20..35).contains(&idle), "{idle} of 100");
}

#[test]
fn one_stall_of_a_cold_backend_is_over_with_its_first_good_answer() {
    let backends: Vec<_> = (0..2).map(|_| Signals::new(1)).collect();
    let (cold, other) = (&backends[0], &backends[1]);
    // All that came first were held up together, enough of them to be called slow by.
    let sent: Vec<_> = (0..32).map(|_| cold.begin(1)).collect();
    for in_flight in sent {
        cold.end();
        cold.note_answer(90 * MILLISECOND, in_flight, 90 * MILLISECOND);
    }
    (1..10).for_each(|at| other.note_answer(2 * MILLISECOND, 1, at * 10 * MILLISECOND));
    other.begin(90 * MILLISECOND);
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = |now: u64| {
        choose_backend(&Snapshot::plain(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap().index
    };
    assert_eq!(choose(91 * MILLISECOND), 0, "one moment is not enough to call it slow");
    let tried = cold.begin(91 * MILLISECOND);
    cold.end();
    cold.note_answer(2 * MILLISECOND, tried, 93 * MILLISECOND);
    assert_eq!(cold.latency_ns(), 2e6);
    (10..20).for_each(|at| {
        cold.note_answer(2 * MILLISECOND, 1, at * 10 * MILLISECOND);
        other.note_answer(2 * MILLISECOND, 1, at * 10 * MILLISECOND);
    });
    assert_eq!(choose(191 * MILLISECOND), 0);
}

#[test]
fn one_that_was_slow_and_is_fast_after_a_pause_is_taken_for_fast_at_once() {
    let backends = usual_backends(2);
    let (slow, other) = (&backends[0], &backends[1]);
    (0..32).for_each(|at| slow.note_answer(90 * MILLISECOND, 1, (100 + at * 10) * MILLISECOND));
    other.note_answer(2 * MILLISECOND, 1, 410 * MILLISECOND);
    other.begin(410 * MILLISECOND);
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut choose = |now: u64| {
        choose_backend(&Snapshot::plain(&backends, &Policy::Latency, &memory), now, &mut rng).unwrap().index
    };
    assert_eq!(choose(411 * MILLISECOND), 1);
    // Amid its slow answers one fast one is an accident.
    slow.note_answer(2 * MILLISECOND, 1, 412 * MILLISECOND);
    assert_eq!(slow.latency_ns(), 90e6);
    slow.note_answer(2 * MILLISECOND, 1, 600 * MILLISECOND);
    assert_eq!(slow.latency_ns(), 2e6);
}
