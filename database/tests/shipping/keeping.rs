//! Bases, merged segments, retention and drills beside the shipping.

use std::collections::BTreeMap;
use std::time::Duration;

use database::Engine;
use database::backup::{Following, Mode, Position, Recovery, Target};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::harness::{all_shipped, config, contents, restored, shipping, status, until, write};

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
    // What was merged cannot be taken apart again, and that is said; a commit that ends a merged segment is none of those.
    let mut refused = String::new();
    for (commit, _, _) in &history[3..13] {
        let folder = tempfile::tempdir().unwrap();
        let done = recovery.restore(Target::Commit(*commit), folder.path(), false, |_| (), &|_| ()).await;
        refused.extend(done.err().map(|error| error.to_string()));
    }
    assert!(refused.contains("merged"), "{refused}");
    // A time within them gives what was before, and says what that is and what comes next.
    let (mut merged, mut exact) = (0, 0);
    for (place, (_, at, _)) in history.iter().enumerate().step_by(7) {
        let (folder, asked) = (tempfile::tempdir().unwrap(), at.as_microsecond());
        let target = Target::Time(asked);
        let done = recovery.restore(target, folder.path(), false, |_| (), &|_| ()).await.unwrap();
        let reached = done.reached.commit;
        assert!(done.reached.at <= asked, "{done:?}");
        let known = history.iter().position(|(commit, _, _)| *commit == reached);
        let expected = known.map(|known| history[known].2.clone()).unwrap_or_default();
        assert_eq!(contents(folder.path()).await, expected, "it is the state after the commit it names");
        match done.following {
            Following::Merged { first, last, at } => {
                assert!(first == reached + 1 && last >= first && at > asked, "{done:?}");
                merged += 1;
            }
            Following::Commit { commit, at } => {
                assert!(commit == reached + 1 && at > asked && known == Some(place), "{done:?}");
                exact += 1;
            }
            Following::Nothing => assert_eq!(known, Some(history.len() - 1)),
            Following::Generation { .. } => panic!("there is one generation: {done:?}"),
        }
    }
    assert!(merged > 0, "{merged} within merged segments, {exact} exact");
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
    let recovery = Recovery::open(&config.backup).unwrap();
    // What cannot be merged stops nothing else.
    let segments = destination.path().join(&recovery.list().await.unwrap()[0].generation).join("segments");
    for segment in std::fs::read_dir(segments).unwrap() {
        std::fs::write(segment.unwrap().path(), "damaged").unwrap();
    }
    let base = engine.store_base().await.unwrap();
    let began = std::time::Instant::now();
    let Position::Commit(base) = base.position else { panic!("{base:?}") };
    while recovery.list().await.unwrap()[0].commits.0 < base {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let done = recovery.restore(Target::Commit(base), folder.path(), false, |_| (), &|_| ()).await.unwrap();
    assert_eq!(done.reached.commit, base, "what is listed first can be restored");
    write(&engine, &mut rng, &mut model, &mut history, 20).await;
    all_shipped(&engine).await;
    assert_eq!(restored(&config, Target::Latest).await, model);
    let scratch = tempfile::tempdir().unwrap();
    let found = recovery.inspect(true, &scratch.path().join("s"), |_| (), &|_| ()).await.unwrap();
    assert_eq!(found.faults, [], "what retention removed is not missed");
    assert_eq!(recovery.list().await.unwrap()[0].fault, None);
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
    let head = destination.path().join(&generation).join("head");
    let content = std::fs::read(&head).unwrap();
    std::fs::remove_file(&head).unwrap();
    let fault = engine.drill().await.unwrap().fault.unwrap();
    assert!(fault.contains("head"), "the latest state would be refused: {fault}");
    std::fs::write(&head, content).unwrap();
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
