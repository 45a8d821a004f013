//! Who belongs: members come, leave, drain and stay the same.

use super::*;

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
