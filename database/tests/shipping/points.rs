//! Every moment restores, over restarts and generations, plain and encrypted.

use std::collections::BTreeMap;

use database::backup::{Following, Mode, Recovery, Target};
use database::{Config, Engine};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::{all_shipped, config, put, restored, shipping, status, transact, write};

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_restores_to_what_the_database_then_held() {
    let runs: u64 = std::env::var("SIXFOLD_BACKUP_POINTS").map_or(20, |text| text.parse().unwrap());
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The log is begun anew often, and every few commits share a segment.
    let config = Config { checkpoint: 64 << 10, ..config(destination.path(), Mode::Async) };
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut model, mut history) = (BTreeMap::new(), Vec::new());
    // Over restarts: the generation goes on.
    for _ in 0..3 {
        let engine = Engine::open(&config, data.path()).unwrap();
        shipping(&engine).await;
        write(&engine, &mut rng, &mut model, &mut history, 150).await;
        all_shipped(&engine).await;
        engine.close();
    }
    let generations = Recovery::open(&config.backup).unwrap().list().await.unwrap();
    assert_eq!(generations.len(), 1, "the log proves that nothing was missed: {generations:?}");
    assert_eq!(restored(&config, Target::Latest).await, model);
    for point in 0..runs {
        let (commit, at, expected) = &history[rng.random_range(0..history.len())];
        let target = match point % 2 {
            0 => Target::Commit(*commit),
            _ => Target::Time(at.as_microsecond()),
        };
        assert_eq!(restored(&config, target).await, *expected, "{target:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_sync_an_answer_means_that_the_write_is_at_the_destination() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(destination.path(), Mode::Sync);
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    for number in 0..20 {
        transact(&engine, vec![put(number, u64::from(number), 10)]).await.unwrap();
        // Nothing is waited for, and the data directory counts for nothing.
        assert_eq!(restored(&config, Target::Latest).await.len(), number as usize + 1);
    }
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_begins_a_generation_and_a_restore_to_the_past_another() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(destination.path(), Mode::Async);
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(1, 1, 10)]).await.unwrap();
    let first = status(&engine);
    engine.close();
    let between = jiff::Timestamp::now().as_microsecond();
    // Somebody opened it with another tool, which wrote the log back.
    let other = std::process::Command::new("python3")
        .args(["-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('PRAGMA wal_checkpoint(TRUNCATE)'); c.close()"])
        .arg(data.path().join("sixfold.db"))
        .status();
    assert!(other.unwrap().success());
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(2, 2, 10)]).await.unwrap();
    let second = status(&engine);
    assert_ne!(second.generation, first.generation);
    assert!(second.committed > first.committed, "numbers never come twice");
    engine.close();
    let recovery = Recovery::open(&config.backup).unwrap();
    // Between two generations there may have been commits that no backup has.
    let folder = tempfile::tempdir().unwrap();
    let done = recovery.restore(Target::Time(between), folder.path(), false, |_| (), &|_| ()).await.unwrap();
    assert_eq!(done.reached.commit, first.committed);
    let Following::Generation { commit, at } = done.following else { panic!("{done:?}") };
    assert!(commit > first.committed && commit <= second.committed && at > between, "{done:?}");
    recovery.restore(Target::Commit(first.committed), data.path(), true, |_| (), &|_| ()).await.unwrap();
    let engine = Engine::open(&config, data.path()).unwrap();
    shipping(&engine).await;
    assert_ne!(status(&engine).generation, second.generation);
    engine.close();
    assert_eq!(restored(&config, Target::Latest).await, BTreeMap::from([("00001".to_owned(), 1)]));
    assert_eq!(restored(&config, Target::Commit(second.committed)).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_backup_restores_with_its_identity_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
    let mut config = config(&destination, Mode::Async);
    config.backup.recipients = vec!["age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".into()];
    let engine = Engine::open(&config, &data).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(1, 1, 10)]).await.unwrap();
    all_shipped(&engine).await;
    engine.close();
    let recovery = Recovery::open(&config.backup).unwrap();
    let refused = recovery.restore(Target::Latest, &folder.path().join("no"), false, |_| (), &|_| ()).await;
    assert!(refused.unwrap_err().to_string().contains("identity"));
    let identity = folder.path().join("identity");
    std::fs::write(
        &identity,
        "# a test key\nAGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n",
    )
    .unwrap();
    config.backup.identity = Some(identity);
    assert_eq!(restored(&config, Target::Latest).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_machine_is_noticed_and_a_generation_of_its_own_begun() {
    let destination = tempfile::tempdir().unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(destination.path(), Mode::Async);
    let engine = Engine::open(&config, one.path()).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(1, 1, 10)]).await.unwrap();
    all_shipped(&engine).await;
    for part in ["sixfold.db", "sixfold.db-wal"] {
        std::fs::copy(one.path().join(part), two.path().join(part)).unwrap();
    }
    let twin = Engine::open(&config, two.path()).unwrap();
    shipping(&twin).await;
    let generation = |engine: &Engine| status(engine).generation;
    assert_eq!(generation(&engine), generation(&twin), "its log proves that it may go on");
    // Neither knows of the other until heads are stored, every ten seconds.
    let mut value = 10;
    while generation(&engine) == generation(&twin) {
        value += 1;
        assert!(value < 10_000, "the copy is not noticed");
        for engine in [&engine, &twin] {
            transact(engine, vec![put(2, value, 10)]).await.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    shipping(&engine).await;
    shipping(&twin).await;
    transact(&engine, vec![put(3, 3, 10)]).await.unwrap();
    transact(&twin, vec![put(4, 4, 10)]).await.unwrap();
    all_shipped(&engine).await;
    all_shipped(&twin).await;
    engine.close();
    twin.close();
    let found = restored(&config, Target::Latest).await;
    assert!(found.contains_key("00003") != found.contains_key("00004"), "one history, whole: {found:?}");
}
