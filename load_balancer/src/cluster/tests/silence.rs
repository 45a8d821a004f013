//! Who is suspected because it has requests and answers none.

use super::*;

/// Four answer every 10 ms; the last one takes requests and answers none.
fn stall(cluster: &Arc<Cluster>, upkeep: &mut Upkeep, from: u64, to: u64) -> Vec<crate::InFlight> {
    let mut stuck = Vec::new();
    let mut now = from;
    while now < to {
        for index in 0..4 {
            answer(&backend(cluster, index), 200, 2 * MILLISECOND, now);
        }
        if let Some(request) = backend(cluster, 4).try_begin(now) {
            stuck.push(request);
        }
        cluster.look_after(upkeep, now);
        now += 10 * MILLISECOND;
    }
    stuck
}

#[test]
fn one_that_answers_nothing_is_suspected_at_once_and_a_bad_probe_puts_it_out() {
    let cluster = cluster_of(5, Options::default());
    let (mut upkeep, frozen) = (Upkeep::default(), backend(&cluster, 4));
    cluster.look_after(&mut upkeep, SECOND);
    let stuck = stall(&cluster, &mut upkeep, SECOND, SECOND + 90 * MILLISECOND);
    assert!(frozen.signals().is_available(), "not yet");
    let _more = stall(&cluster, &mut upkeep, SECOND + 90 * MILLISECOND, SECOND + 150 * MILLISECOND);
    assert_eq!(frozen.state(), State::Suspect);
    assert!(frozen.is_lost() && !backend(&cluster, 0).is_lost());
    cluster.note_probe(&frozen, Finding::Silent, State::Unknown, SECOND + 200 * MILLISECOND);
    cluster.look_after(&mut upkeep, SECOND + 200 * MILLISECOND);
    assert_eq!(frozen.state(), State::Ejected);
    assert_eq!(cluster.counters().ejections[3].load(Relaxed), 1);
    drop(stuck);
    probe(&cluster, 4, Finding::Good, 2 * SECOND);
    assert_eq!(frozen.state(), State::Trial, "it answers again");
}

#[test]
fn one_that_is_merely_slow_is_cleared_by_a_probe_and_by_an_answer() {
    let cluster = cluster_of(5, Options::default());
    let (mut upkeep, slow) = (Upkeep::default(), backend(&cluster, 4));
    cluster.look_after(&mut upkeep, SECOND);
    let mut stuck = stall(&cluster, &mut upkeep, SECOND, SECOND + 150 * MILLISECOND);
    assert_eq!(slow.state(), State::Suspect);
    probe(&cluster, 4, Finding::Good, SECOND + 151 * MILLISECOND);
    assert_eq!(slow.state(), State::Up);
    stuck.extend(stall(&cluster, &mut upkeep, SECOND + 160 * MILLISECOND, SECOND + 500 * MILLISECOND));
    assert_eq!(slow.state(), State::Up, "not suspected again before it answers something");
    stuck[0].note_response(200, Some(300 * MILLISECOND), SECOND + 500 * MILLISECOND);
    stuck.extend(stall(&cluster, &mut upkeep, SECOND + 500 * MILLISECOND, SECOND + 700 * MILLISECOND));
    assert_eq!(slow.state(), State::Suspect);
    stuck[1].note_response(200, Some(300 * MILLISECOND), SECOND + 700 * MILLISECOND);
    assert_eq!(slow.state(), State::Up, "an answer is enough");
}

/// One of five has a request to answer; gives where it stands after a lull, where answers usually take 300 ms.
fn after_a_lull(hedge: hedge::Config, answers: u64, lull: u64) -> State {
    let options = Options { hedge, ..Options::default() };
    let (cluster, mut upkeep) = (cluster_of(5, options), Upkeep::default());
    for number in 0..answers {
        answer(&backend(&cluster, (number % 5) as usize), 200, 300 * MILLISECOND, SECOND);
    }
    cluster.look_after(&mut upkeep, SECOND);
    let _working = backend(&cluster, 4).begin(SECOND);
    let mut now = SECOND;
    while now < SECOND + lull {
        cluster.look_after(&mut upkeep, now);
        now += 50 * MILLISECOND;
    }
    backend(&cluster, 4).state()
}

#[test]
fn without_hedges_a_backend_that_is_usually_slow_is_not_suspected() {
    let off = hedge::Config { enabled: false, ..hedge::Config::default() };
    let none = hedge::Config { budget: 0.0, ..hedge::Config::default() };
    for hedge in [hedge::Config::default(), off, none] {
        for answers in [10, 200] {
            let state = |lull| after_a_lull(hedge.clone(), answers, lull);
            assert_eq!(state(2 * SECOND), State::Unknown, "{hedge:?}, {answers} answers");
            assert_eq!(state(4 * SECOND), State::Suspect, "{hedge:?}, {answers} answers");
        }
    }
}

#[test]
fn how_late_is_hedged_says_nothing_of_when_a_backend_is_suspected() {
    let late = hedge::Config { factor: 20.0, ..hedge::Config::default() };
    assert_eq!(after_a_lull(late, 200, 4 * SECOND), State::Suspect);
}

#[test]
fn a_quiet_time_without_requests_is_no_silence() {
    let cluster = cluster_of(5, Options::default());
    let mut upkeep = Upkeep::default();
    for tick in 0..200 {
        cluster.look_after(&mut upkeep, SECOND + tick * 50 * MILLISECOND);
    }
    assert_eq!(available(&cluster), [true; 5]);
    // When the looking thread was held up, nobody is to blame.
    let _stuck = backend(&cluster, 0).begin(20 * SECOND);
    cluster.look_after(&mut upkeep, 30 * SECOND);
    assert_eq!(available(&cluster), [true; 5]);
}
