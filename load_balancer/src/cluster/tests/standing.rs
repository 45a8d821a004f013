//! Who gets requests: failures, slowness, refusals, probes and panics.

use super::*;

#[test]
fn one_of_five_that_fails_is_out_after_five_failures() {
    let cluster = cluster_of(5, Options::default());
    let bad = backend(&cluster, 3);
    for _ in 0..5 {
        assert!(bad.signals().is_available());
        answer(&bad, 500, MILLISECOND, SECOND);
    }
    assert_eq!(bad.state(), State::Ejected);
    assert_eq!(available(&cluster), [true, true, true, false, true]);
    assert_eq!(cluster.counters().ejections[1].load(Relaxed), 1);
}

#[test]
fn one_that_was_out_comes_back_by_a_trial_and_then_slowly() {
    let cluster = cluster_of(5, Options::default());
    let bad = backend(&cluster, 0);
    for _ in 0..5 {
        answer(&bad, 500, MILLISECOND, SECOND);
    }
    let mut upkeep = Upkeep::default();
    cluster.look_after(&mut upkeep, 10 * SECOND);
    assert_eq!(bad.state(), State::Ejected);
    cluster.look_after(&mut upkeep, 11 * SECOND);
    assert_eq!(bad.state(), State::Trial);
    assert!(bad.signals().is_available() && bad.signals().weight() < 0.1);
    let only = bad.try_begin(11 * SECOND).unwrap();
    assert!(bad.try_begin(11 * SECOND).is_none(), "one at a time");
    drop(only);
    answer(&bad, 500, MILLISECOND, 11 * SECOND);
    assert_eq!(bad.state(), State::Ejected, "one failure is enough");
    cluster.look_after(&mut upkeep, 30 * SECOND);
    assert_eq!(bad.state(), State::Ejected, "twice as long");
    cluster.look_after(&mut upkeep, 32 * SECOND);
    for _ in 0..3 {
        answer(&bad, 200, MILLISECOND, 32 * SECOND);
    }
    assert_eq!(bad.state(), State::Unknown, "no probe has told");
    assert_eq!(bad.signals().weight(), 1.0);
    assert!(bad.signals().share(32 * SECOND) < 0.2, "slowly");
    assert_eq!(bad.signals().share(43 * SECOND), 1.0);
}

#[test]
fn one_twenty_times_slower_is_put_out_and_what_is_late_is_known() {
    let cluster = cluster_of(5, Options::default());
    let mut upkeep = Upkeep::default();
    assert_eq!(cluster.hedge_delay(), None);
    let mut now = 100 * SECOND;
    for _ in 0..300 {
        for index in 0..5 {
            let latency = if index == 4 { 40 } else { 2 };
            answer(&backend(&cluster, index), 200, latency * MILLISECOND, now);
        }
        cluster.look_after(&mut upkeep, now);
        now += 10 * MILLISECOND;
    }
    assert_eq!(backend(&cluster, 4).state(), State::Ejected);
    assert_eq!(available(&cluster), [true, true, true, true, false]);
    let delay = cluster.hedge_delay().unwrap();
    assert!(delay > Duration::from_millis(30), "a fifth of all was slow: {delay:?}");
    // On trial two slow answers are enough to put it out again.
    now += 10 * SECOND;
    cluster.look_after(&mut upkeep, now);
    assert_eq!(backend(&cluster, 4).state(), State::Trial);
    for index in 0..4 {
        for _ in 0..100 {
            answer(&backend(&cluster, index), 200, 2 * MILLISECOND, now);
        }
    }
    cluster.look_after(&mut upkeep, now + SECOND);
    answer(&backend(&cluster, 4), 200, 40 * MILLISECOND, now + SECOND);
    assert_eq!(backend(&cluster, 4).state(), State::Trial);
    answer(&backend(&cluster, 4), 200, 40 * MILLISECOND, now + SECOND);
    assert_eq!(backend(&cluster, 4).state(), State::Ejected);
    assert!(backend(&cluster, 4).report().ejections["latency"] == 2);
}

#[test]
fn what_one_stall_held_up_puts_nobody_out_once_it_is_over() {
    let cluster = cluster_of(5, Options::default());
    let mut upkeep = Upkeep::default();
    let mut now = 100 * SECOND;
    let held_up = backend(&cluster, 4);
    for at in 0..300 {
        (0..4).for_each(|index| answer(&backend(&cluster, index), 200, 2 * MILLISECOND, now));
        match at {
            // The first that it got, all answered at once.
            2 => (0..22).for_each(|_| answer(&held_up, 200, 80 * MILLISECOND, now)),
            3 => answer(&held_up, 200, 2 * MILLISECOND, now),
            _ => {}
        }
        cluster.look_after(&mut upkeep, now);
        now += 10 * MILLISECOND;
    }
    assert_eq!(held_up.signals().latency_ns(), 2e6);
    assert!(available(&cluster)[4], "{:?}", held_up.state());
}

#[test]
fn a_backend_that_comes_back_is_judged_afresh() {
    let cluster = cluster_of(2, Options::default());
    let one = backend(&cluster, 0);
    (0..9).for_each(|at| answer(&one, 200, 40 * MILLISECOND, SECOND - (90 - 10 * at) * MILLISECOND));
    one.begin(SECOND).note_error(SECOND);
    assert!(one.signals().is_known() && one.signals().penalty_ns(SECOND) > 0.0);
    (0..2).for_each(|_| one.begin(SECOND).note_connect_failure(SECOND));
    probe(&cluster, 0, Finding::Good, SECOND + 1);
    assert_eq!(one.state(), State::Up);
    assert!(!one.signals().is_known());
    assert_eq!((one.signals().latency_ns(), one.signals().penalty_ns(SECOND + 1)), (0.0, 0.0));
    one.begin(SECOND + 2).note_connect_failure(SECOND + 2);
    assert_eq!(one.signals().penalty_ns(SECOND + 2), 0.0, "a refusal costs a request next to nothing");
    assert_eq!(one.state(), State::Up, "and the ones before the probe do not count");
}

#[test]
fn refused_connects_put_a_backend_out_until_a_probe_connects() {
    let cluster = cluster_of(1, Options::default());
    let dead = backend(&cluster, 0);
    let refuse = |now| dead.begin(now).note_connect_failure(now);
    refuse(1);
    answer(&dead, 200, 1, 2);
    refuse(3);
    assert!(dead.signals().is_available(), "an answer in between forgives the first");
    refuse(4);
    assert_eq!(dead.state(), State::Ejected);
    assert!(!dead.signals().is_available() && !cluster.is_available());
    assert_eq!(dead.report().errors, 3);
    probe(&cluster, 0, Finding::Good, 5);
    assert_eq!(dead.state(), State::Up);
    assert!(dead.signals().is_available() && cluster.is_available());
}

#[test]
fn without_probes_a_trial_shows_whether_somebody_listens_again() {
    let cluster = cluster_of(2, Options::default());
    let dead = backend(&cluster, 0);
    for now in [SECOND, SECOND + 1] {
        dead.begin(now).note_connect_failure(now);
    }
    let mut upkeep = Upkeep::default();
    cluster.look_after(&mut upkeep, SECOND + SECOND / 2);
    assert_eq!(available(&cluster), [false, true]);
    cluster.look_after(&mut upkeep, 3 * SECOND);
    assert_eq!((dead.state(), available(&cluster)), (State::Trial, vec![true, true]));
    // Where probes are refused, time alone brings nothing back.
    probe(&cluster, 0, Finding::Refused, 3 * SECOND);
    cluster.look_after(&mut upkeep, 60 * SECOND);
    assert_eq!(available(&cluster), [false, true]);
}

#[test]
fn a_refused_probe_is_proof_where_requests_failed_and_else_counts_by_itself() {
    let cluster = cluster_of(2, Options::default());
    let one = backend(&cluster, 0);
    one.note_refused_probe(SECOND);
    assert_eq!(available(&cluster), [true, true]);
    cluster.doubt_all();
    assert_eq!(available(&cluster), [true, true], "a doubt alone proves nothing");
    one.note_refused_probe(SECOND);
    assert_eq!(available(&cluster), [false, true]);
    let other = backend(&cluster, 1);
    other.note_listening();
    other.note_refused_probe(SECOND);
    assert_eq!(available(&cluster), [false, true], "it had answered meanwhile");
    other.note_connect_failure(SECOND);
    other.note_refused_probe(SECOND);
    assert!(!cluster.is_available());
}

#[test]
fn refusals_that_come_to_light_after_a_backend_is_back_do_not_put_it_out_for_long() {
    let cluster = cluster_of(3, Options::default());
    let one = backend(&cluster, 0);
    // Begun while nobody listened, and refused as somebody did again.
    let begun: Vec<_> = (0..40).map(|_| one.begin(SECOND)).collect();
    (0..2).for_each(|_| one.begin(SECOND).note_connect_failure(SECOND));
    assert_eq!(available(&cluster), [false, true, true]);
    probe(&cluster, 0, Finding::Good, 2 * SECOND);
    begun.into_iter().for_each(|mut request| request.note_connect_failure(2 * SECOND));
    cluster.look_after(&mut Upkeep::default(), 2 * SECOND + MILLISECOND);
    probe(&cluster, 0, Finding::Good, 2 * SECOND + 50 * MILLISECOND);
    assert_eq!((one.state(), available(&cluster)), (State::Up, vec![true, true, true]));
}

#[test]
fn when_most_are_unwell_all_are_used_but_the_dead() {
    let cluster = cluster_of(5, Options::default());
    probe(&cluster, 0, Finding::Unwell, 1);
    probe(&cluster, 1, Finding::Unwell, 1);
    assert_eq!(available(&cluster), [false, false, true, true, true]);
    probe(&cluster, 2, Finding::Refused, 1);
    assert!(cluster.is_panicking());
    assert_eq!(available(&cluster), [true, true, false, true, true]);
    probe(&cluster, 2, Finding::Good, 2);
    assert_eq!(available(&cluster), [false, false, true, true, true]);
    let strict = cluster_of(1, Options { panic_threshold: 0.0, ..Options::default() });
    probe(&strict, 0, Finding::Unwell, 1);
    assert_eq!(available(&strict), [false]);
}

#[test]
fn what_answers_neither_probes_nor_requests_is_not_used_in_a_panic() {
    let cluster = cluster_of(5, Options::default());
    answer(&backend(&cluster, 0), 200, MILLISECOND, SECOND);
    for index in 0..3 {
        probe(&cluster, index, Finding::Silent, SECOND);
    }
    assert!(cluster.is_panicking());
    assert_eq!(available(&cluster), [true, false, false, true, true], "the first one answers requests");
}
