//! Bases when they are due, retention, drills.

use std::time::Duration;

use database::backup::Mode;
use database::backup::postgres::Target;

use crate::harness::{Bench, all_received, put, status, until};

#[tokio::test(flavor = "multi_thread")]
async fn bases_are_made_when_due_and_what_is_older_than_is_kept_goes() {
    let bench = Bench::new();
    let mut config = bench.config(Mode::Async);
    (config.backup.base_every, config.backup.keep) = (Duration::from_secs(1), Duration::from_secs(2));
    config.backup.keep_commits = Duration::ZERO;
    let engine = bench.open(&config).await;
    let first = bench.recovery().list().unwrap()[0].base.clone();
    put(&engine, 1, 1).await.unwrap();
    let is_there = || bench.recovery().list().unwrap().iter().any(|base| base.base == first);
    until("a later one is enough", || !is_there()).await;
    put(&engine, 2, 2).await.unwrap();
    all_received(&bench, &engine).await;
    engine.close();
    assert_eq!(bench.inspected(&bench.recovery()).await.faults, []);
    let both = [("00001".to_owned(), 1), ("00002".to_owned(), 2)];
    assert_eq!(bench.restored(Target::Latest).await, both.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_compares_under_writes_and_tells_what_cannot_be_restored() {
    let bench = Bench::new();
    let mut config = bench.config(Mode::Async);
    config.backup.drill_every = Duration::from_secs(2);
    let engine = bench.open(&config).await;
    let writing = async {
        for number in 0.. {
            put(&engine, number, 1).await.unwrap();
        }
    };
    let report = tokio::select! {
        report = engine.drill() => report.unwrap(),
        () = writing => unreachable!("it goes on"),
    };
    assert_eq!(report.fault, None);
    until("one by itself", || status(&engine).drill.is_some_and(|drill| drill.at > report.at)).await;
    // From outside, with nobody to compare with.
    let scratch = bench.data.path().join("scratch");
    let alone = bench.recovery().drill(&scratch, |_| (), &|_| ()).await.unwrap();
    assert_eq!(alone.fault, None);
    let deep = bench.recovery().inspect(true, &scratch, |_| (), &|_| ()).await.unwrap();
    assert_eq!(deep.faults, []);
    let base = bench.recovery().list().unwrap()[0].clone();
    let root =
        bench.destination.path().join("postgresql").join(&base.generation).join("base").join(&base.base);
    std::fs::write(root.join("PG_VERSION"), "14\n").unwrap();
    let fault = engine.drill().await.unwrap().fault.unwrap();
    assert!(fault.contains("PG_VERSION"), "{fault}");
    engine.close();
}
