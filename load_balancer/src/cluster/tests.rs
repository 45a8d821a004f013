//! Clusters that change, judged without sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::standing::Finding;
use super::*;
use crate::dispatch::hedge;
use crate::health::State;
use crate::queue::Overloaded;
use crate::selection::Candidate;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

fn cluster_of(count: u16, options: Options) -> Arc<Cluster> {
    let names: Vec<String> = (1..=count).map(|port| format!("127.0.0.1:{port}")).collect();
    Cluster::new("test", &names, options)
}

fn backend(cluster: &Cluster, index: usize) -> Arc<Backend> {
    Arc::clone(&cluster.members().backends[index])
}

fn answer(backend: &Arc<Backend>, status: u16, latency_ns: u64, now: u64) {
    backend.begin(now).note_response(status, Some(latency_ns), now);
}

fn available(cluster: &Cluster) -> Vec<bool> {
    cluster.members().backends.iter().map(|one| one.signals().is_available()).collect()
}

fn probe(cluster: &Cluster, index: usize, finding: Finding, now: u64) {
    let health = if finding == Finding::Good { State::Up } else { State::Down };
    cluster.note_probe(&backend(cluster, index), finding, health, now);
}

#[test]
fn a_backend_whose_name_stays_keeps_all_that_is_known_of_it() {
    let cluster = cluster_of(3, Options::default());
    let (first, second) = (backend(&cluster, 0), backend(&cluster, 1));
    answer(&second, 200, MILLISECOND, SECOND);
    let generation = cluster.generation();
    cluster.apply(vec![Member::new("127.0.0.1:2").with_weight(2.0), Member::new("127.0.0.1:9")]);
    assert!(cluster.generation() > generation);
    let members = cluster.members();
    assert_eq!(members.generation, cluster.generation());
    assert!(Arc::ptr_eq(&members.backends[0], &second));
    assert_eq!((second.requests(), second.signals().weight()), (1, 2.0));
    assert!(!first.signals().is_available(), "one that is gone gets nothing new");
    let same = cluster.generation();
    cluster.apply(vec![Member::new("127.0.0.1:2").with_weight(2.0), Member::new("127.0.0.1:9")]);
    assert_eq!(cluster.generation(), same, "the same list changes nothing");
}

#[test]
fn one_that_leaves_ends_what_it_works_on_and_is_then_forgotten() {
    let cluster = cluster_of(2, Options::default());
    let first = backend(&cluster, 0);
    let request = first.begin(SECOND);
    cluster.apply(vec![Member::new("127.0.0.1:2")]);
    let mut upkeep = Upkeep::default();
    cluster.look_after(&mut upkeep, SECOND);
    let report = cluster.report();
    assert_eq!((report.len(), report[1].state, report[1].in_flight), (2, State::Draining, 1));
    // It comes back before it is gone, and is the same.
    cluster.apply(vec![Member::new("127.0.0.1:1"), Member::new("127.0.0.1:2")]);
    assert!(Arc::ptr_eq(&backend(&cluster, 0), &first) && first.signals().is_available());
    cluster.apply(vec![Member::new("127.0.0.1:2")]);
    drop(request);
    cluster.look_after(&mut upkeep, 2 * SECOND);
    assert_eq!(cluster.report().len(), 1);
}

#[test]
fn a_member_that_drains_gets_nothing_new_and_a_weight_that_is_no_number_none() {
    let cluster = cluster_of(2, Options::default());
    let draining = Member { drain: true, ..Member::new("127.0.0.1:1") };
    cluster.apply(vec![draining, Member::new("127.0.0.1:2").with_weight(0.5)]);
    assert_eq!(available(&cluster), [false, true]);
    assert_eq!(backend(&cluster, 0).state(), State::Draining);
    assert_eq!(backend(&cluster, 1).signals().weight(), 0.5);
    cluster.apply(vec![Member::new("127.0.0.1:1"), Member::new("127.0.0.1:2").with_weight(f64::NAN)]);
    assert_eq!(available(&cluster), [true, false]);
    assert_eq!(backend(&cluster, 0).state(), State::Unknown);
}

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
fn a_backend_that_comes_back_is_judged_afresh() {
    let cluster = cluster_of(2, Options::default());
    let one = backend(&cluster, 0);
    (0..9).for_each(|_| answer(&one, 200, 40 * MILLISECOND, SECOND));
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
fn health_and_ejections_survive_new_options() {
    let cluster = cluster_of(5, Options::default());
    probe(&cluster, 1, Finding::Unwell, 1);
    for _ in 0..5 {
        answer(&backend(&cluster, 2), 503, MILLISECOND, SECOND);
    }
    cluster.replace_options(Options { slow_start: Duration::ZERO, ..Options::default() });
    assert_eq!(backend(&cluster, 1).state(), State::Down);
    assert_eq!(backend(&cluster, 2).state(), State::Ejected);
    cluster.apply(cluster.members().backends.iter().rev().map(|one| Member::new(one.name())).collect());
    assert_eq!(backend(&cluster, 3).state(), State::Down);
    assert_eq!(backend(&cluster, 2).state(), State::Ejected);
}

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
fn more_than_the_total_are_refused_at_once() {
    let mut options = Options::default();
    options.limit.total = 2;
    let cluster = cluster_of(1, options);
    let first = cluster.admit().unwrap();
    let _second = cluster.admit().unwrap();
    assert_eq!(cluster.admit().unwrap_err(), Overloaded::TotalLimit);
    drop(first);
    assert!(cluster.admit().is_ok());
    assert_eq!(cluster.counters().shed[0].load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn who_finds_every_backend_at_its_limit_waits_for_the_next_place() {
    let mut options = Options::default();
    (options.limit.min, options.limit.initial) = (1, 1);
    let cluster = cluster_of(1, options);
    let only = backend(&cluster, 0);
    let request = only.try_begin(1).unwrap();
    assert!(only.try_begin(1).is_none());
    let mut ticket = cluster.join_queue(1).unwrap();
    assert_eq!(cluster.waiting(), 1);
    tokio::select! {
        biased;
        _ = ticket.turn() => panic!("there is no place yet"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    drop(request);
    ticket.turn().await.unwrap();
    let _place = only.try_begin(2).unwrap();
    ticket.leave();
    assert!(!cluster.has_queue());
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_requests_wait_for_the_first_backend_back_and_not_for_ever() {
    let cluster = cluster_of(2, Options::default());
    probe(&cluster, 0, Finding::Refused, SECOND);
    probe(&cluster, 1, Finding::Refused, SECOND);
    assert!(!cluster.is_available());
    let mut ticket = cluster.join_queue(SECOND + 1).unwrap();
    let back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        probe(&cluster, 1, Finding::Good, 2 * SECOND);
    };
    let (woken, ()) = tokio::join!(ticket.turn(), back);
    assert_eq!(woken, Ok(()));
    assert_eq!(available(&cluster), [false, true]);
    probe(&cluster, 1, Finding::Refused, 10 * SECOND);
    assert_eq!(cluster.join_queue(14 * SECOND).unwrap_err(), Overloaded::WaitedTooLong);
}

#[test]
fn a_greater_rank_serves_only_while_none_of_a_lesser_is_well() {
    let cluster = Cluster::new(
        "test",
        [0, 0, 1, 1]
            .into_iter()
            .zip(1..)
            .map(|(rank, port)| Member { rank, ..Member::new(format!("127.0.0.1:{port}")) }),
        Options { panic_threshold: 0.0, ..Options::default() },
    );
    assert_eq!(available(&cluster), [true, true, false, false]);
    probe(&cluster, 0, Finding::Unwell, SECOND);
    assert_eq!(available(&cluster), [false, true, false, false], "one that is well is enough");
    probe(&cluster, 1, Finding::Unwell, SECOND);
    assert_eq!(available(&cluster), [false, false, true, true]);
    assert!(cluster.is_available(), "it is no outage while others stand by");
    probe(&cluster, 2, Finding::Unwell, SECOND);
    probe(&cluster, 3, Finding::Unwell, SECOND);
    assert_eq!(available(&cluster), [false; 4]);
    probe(&cluster, 3, Finding::Good, SECOND);
    probe(&cluster, 1, Finding::Good, SECOND);
    assert_eq!(available(&cluster), [false, true, false, false], "the better rank takes over again");
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_leaves_those_who_waited_time_to_find_a_place() {
    let mut options = Options::default();
    (options.limit.min, options.limit.initial) = (1, 1);
    let cluster = cluster_of(1, options);
    probe(&cluster, 0, Finding::Refused, SECOND);
    // The outage is nearly as long as anybody waits.
    let mut tickets: Vec<_> = (0..3).map(|_| cluster.join_queue(4 * SECOND - 1).unwrap()).collect();
    probe(&cluster, 0, Finding::Good, 4 * SECOND);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    let told = tickets.iter_mut().filter_map(|one| match std::pin::pin!(one.turn()).poll(&mut cx) {
        std::task::Poll::Ready(told) => Some(told),
        std::task::Poll::Pending => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [Ok(())], "one for the one place, and nobody gave up");
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
