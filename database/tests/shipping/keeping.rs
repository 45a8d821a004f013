//! Bases, merged segments, retention and drills beside the shipping.

use std::collections::BTreeMap;
use std::time::Duration;

use database::Engine;
use database::backup::{Mode, Position, Recovery, Target};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::harness::{all_shipped, config, restored, shipping, status, until, write};

#[tokio::test(flavor = "multi_thread")]
async fn merged_segments_restore_to_the_same_and_old_ones_go() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(destination.path(), Mode::Async);
    config.backup.merge_every = Duration::from_millis(500);
    config.backup.keep_commits = Duration::ZERO;
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    let (mut rng, mut model, mut history) = (StdRng::seed_from_u64(3), BTreeMap::new(), Vec::new());
    write(&engine, &mut rng, &mut model, &mut history, 200).await;
    all_shipped(&engine).await;
    let recovery = Recovery::open(&config.backup).unwrap();
    let began = std::time::Instant::now();
    loop {
        let generations = recovery.list().await.unwrap();
        let [_, segments, merged] = generations[0].files;
        // One that is alone in its stretch stays.
        if merged > 0 && segments <= 5 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{generations:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(restored(&config, Target::Latest).await, model);
    let scratch = tempfile::tempdir().unwrap();
    let found = recovery.inspect(true, &scratch.path().join("s"), |_| (), &|_| ()).await.unwrap();
    assert_eq!(found.faults, []);
    // What was merged cannot be taken apart again, and that is said.
    let refused = recovery
        .restore(Target::Commit(history[3].0), &scratch.path().join("r"), false, |_| (), &|_| ())
        .await;
    assert!(refused.unwrap_err().to_string().contains("merged"));
    write(&engine, &mut rng, &mut model, &mut history, 10).await;
    all_shipped(&engine).await;
    engine.close();
    assert_eq!(restored(&config, Target::Latest).await, model);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_is_kept_goes_once_a_newer_base_is_there() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(destination.path(), Mode::Async);
    config.backup.merge_every = Duration::from_millis(200);
    (config.backup.keep, config.backup.keep_commits) = (Duration::ZERO, Duration::ZERO);
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    let (mut rng, mut model, mut history) = (StdRng::seed_from_u64(4), BTreeMap::new(), Vec::new());
    write(&engine, &mut rng, &mut model, &mut history, 50).await;
    let base = engine.store_base().await.unwrap();
    let recovery = Recovery::open(&config.backup).unwrap();
    let began = std::time::Instant::now();
    let Position::Commit(base) = base.position else { panic!("{base:?}") };
    while recovery.list().await.unwrap()[0].commits.0 < base {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    write(&engine, &mut rng, &mut model, &mut history, 20).await;
    all_shipped(&engine).await;
    assert_eq!(restored(&config, Target::Latest).await, model);
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_says_that_a_good_backup_is_good_and_a_damaged_one_is_not() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(destination.path(), Mode::Async);
    config.backup.drill_every = Duration::from_secs(1);
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    let (mut rng, mut model, mut history) = (StdRng::seed_from_u64(5), BTreeMap::new(), Vec::new());
    write(&engine, &mut rng, &mut model, &mut history, 30).await;
    let report = engine.drill().await.unwrap();
    assert_eq!(report.fault, None);
    assert_eq!(report.position, Position::Commit(history.last().unwrap().0));
    until("the scheduled drill", || status(&engine).drill.is_some_and(|drill| drill.at > report.at)).await;
    let generation = Recovery::open(&config.backup).unwrap().list().await.unwrap().remove(0).generation;
    let base = destination.path().join(generation).join("base");
    let base = std::fs::read_dir(base).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&base).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&base, bytes).unwrap();
    let report = engine.drill().await.unwrap();
    assert!(report.fault.as_ref().is_some_and(|fault| fault.contains("base")), "{report:?}");
    engine.close();
}
