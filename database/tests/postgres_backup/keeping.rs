//! Bases when they are due, retention, drills.

use std::time::{Duration, Instant};

use database::Engine;
use database::backup::postgres::Target;
use database::backup::{Mode, Standing};
use jiff::Timestamp;
use system_tests::postgres::folder_in_memory;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_without_a_base_is_told_by_status_list_and_restore_and_gets_one_soon_when_that_is_possible()
 {
    let bench = Bench::new();
    let config = bench.config(Mode::Async);
    let engine = bench.open(&config).await;
    put(&engine, 1, 1).await.unwrap();
    all_received(&bench, &engine).await;
    let covered = Timestamp::now();
    engine.close();
    bench.server.ask("SELECT pg_drop_replication_slot('sixfold')");
    // A file that the server cannot read.
    let in_folder = |command: &str| {
        bench.server.ask(&format!("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; cd base; {command}'"));
    };
    in_folder("touch locked; chmod 000 locked");
    let engine = Engine::open(&config, bench.data.path()).unwrap();
    until("it is told", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    put(&engine, 2, 2).await.unwrap();
    let seen = status(&engine);
    let Standing::Unreachable { reason } = &seen.standing else { panic!("{seen:?}") };
    assert!(reason.contains("the generation has no base") && reason.contains("base/locked"), "{reason}");
    assert!(seen.undone.iter().any(|undone| undone.contains("a base was not made")), "{seen:?}");
    let named = format!("postgresql/{}", seen.generation.unwrap());
    let unusable = bench.recovery().unusable().unwrap();
    assert!(
        unusable.len() == 1 && unusable[0].0 == named && unusable[0].1.contains("no base"),
        "{unusable:?}"
    );
    let folder = folder_in_memory();
    let to = folder.path().join("restored");
    let restored = bench.recovery().restore(Target::Latest, &to, |_| (), &|_| ()).await.unwrap();
    assert!(restored.covered.is_some_and(|at| covered <= at && at <= Timestamp::now()), "{restored:?}");
    assert!(
        restored.notes.iter().any(|note| note.contains(&named) && note.contains("EARLIER")),
        "{restored:?}"
    );
    in_folder("rm -f locked");
    let began = Instant::now();
    until("a base", || status(&engine).standing == Standing::Shipping).await;
    assert!(began.elapsed() < Duration::from_secs(30), "after {:?}", began.elapsed());
    all_received(&bench, &engine).await;
    assert!(status(&engine).undone.is_empty());
    assert_eq!(bench.recovery().unusable().unwrap(), []);
    let restored = bench.restored(Target::Latest).await;
    assert_eq!(restored, [("00001".to_owned(), 1), ("00002".to_owned(), 2)].into());
    engine.close();
}
