//! What is done by mistake to a destination or a data folder: nothing good is lost by it, and it is said.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use database::backup::{Mode, Recovery, Standing, Target};
use database::{Config, Engine};
use jiff::Timestamp;

use crate::harness::{all_shipped, config, contents, put, restored, shipping, status, transact, until};

/// A database of one record, which is at the destination.
async fn backed_up(config: &Config, data: &Path) -> Engine {
    let engine = Engine::open(config, data).unwrap();
    shipping(&engine).await;
    transact(&engine, vec![put(1, 1, 10)]).await.unwrap();
    all_shipped(&engine).await;
    engine
}

fn refusal(config: &Config, data: &Path) -> String {
    match Engine::open(config, data) {
        Ok(_) => panic!("it began a database"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_lost_its_database_begins_no_other_where_a_backup_tells_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
    let config = config(&destination, Mode::Async);
    let engine = backed_up(&config, &data).await;
    engine.close();
    let kept = folder.path().join("kept");
    fs::rename(&data, &kept).unwrap();
    let said = refusal(&config, &data);
    assert!(said.contains("the backup destination holds a database") && said.contains("restore"), "{said}");
    let recovery = Recovery::open(&config.backup).unwrap();
    let restore = async || recovery.restore(Target::Latest, &data, true, |_| (), &|_| ()).await.unwrap();
    restore().await;
    let mode = fs::metadata(data.join("sixfold.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
    // As a restore that is killed leaves it, whether there is a destination or not.
    fs::rename(data.join("sixfold.db"), data.join("sixfold.db.partial")).unwrap();
    for config in [&config, &Config::default()] {
        let said = refusal(config, &data);
        assert!(said.contains("sixfold.db.partial was left by a restore"), "{said}");
    }
    restore().await;
    assert_eq!(contents(&data).await, BTreeMap::from([("00001".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_emptied_gets_a_new_base_also_when_nobody_writes() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(destination.path(), Mode::Sync);
    let engine = backed_up(&config, data.path()).await;
    let first = status(&engine).generation.unwrap();
    fs::remove_dir_all(destination.path().join(&first)).unwrap();
    until("another generation", || status(&engine).generation.is_some_and(|now| now != first)).await;
    shipping(&engine).await;
    assert_eq!(restored(&config, Target::Latest).await, BTreeMap::from([("00001".to_owned(), 1)]));
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_database_ships_removes_nothing_of_ours() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let destination = tempfile::tempdir().unwrap();
    let mut config = config(destination.path(), Mode::Async);
    config.backup.merge_every = Duration::from_millis(200);
    (config.backup.keep, config.backup.keep_commits) = (Duration::ZERO, Duration::ZERO);
    let engine = backed_up(&config, ours.path()).await;
    let last = status(&engine).committed;
    // It is there already, so nobody takes it for one that was lost.
    Engine::open(&Config::default(), theirs.path()).unwrap().close();
    let other = Engine::open(&config, theirs.path()).unwrap();
    shipping(&other).await;
    other.close();
    let is_told = || status(&engine).undone.iter().any(|undone| undone.contains("another database ships"));
    until("the status tells", is_told).await;
    let generations = Recovery::open(&config.backup).unwrap().list().await.unwrap();
    assert_eq!(generations.len(), 2, "{generations:?}");
    assert_eq!(restored(&config, Target::Commit(last)).await, BTreeMap::from([("00001".to_owned(), 1)]));
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_replaced_and_comes_back_is_not_opened_until_somebody_says_so() {
    let (folder, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let config = config(destination.path(), Mode::Async);
    backed_up(&config, &old).await.close();
    let recovery = Recovery::open(&config.backup).unwrap();
    recovery.restore(Target::Latest, &new, false, |_| (), &|_| ()).await.unwrap();
    // What was restored goes on, also when it is started again.
    for record in 2..4 {
        let engine = Engine::open(&config, &new).unwrap();
        shipping(&engine).await;
        transact(&engine, vec![put(record, u64::from(record), 10)]).await.unwrap();
        all_shipped(&engine).await;
        engine.close();
    }
    let said = refusal(&config, &old);
    assert!(
        said.contains("another machine went on with this database") && said.contains("backup-generation"),
        "{said}"
    );
    // A destination that does not answer at the start is asked before anything is shipped.
    let away = folder.path().join("away");
    fs::rename(destination.path(), &away).unwrap();
    let engine = Engine::open(&config, &old).unwrap();
    fs::rename(&away, destination.path()).unwrap();
    let is_told =
        || matches!(status(&engine).standing, Standing::Unreachable { reason } if reason.contains("went on"));
    until("the standing tells", is_told).await;
    engine.close();
    assert_eq!(restored(&config, Target::Latest).await.len(), 3, "nothing of the old machine was shipped");
    recovery.restore(Target::Latest, &old, true, |_| (), &|_| ()).await.unwrap();
    let engine = Engine::open(&config, &old).unwrap();
    shipping(&engine).await;
    engine.close();
    // Now the new one is the older, and is to go on nevertheless.
    refusal(&config, &new);
    fs::remove_file(new.join("backup-generation")).unwrap();
    let engine = Engine::open(&config, &new).unwrap();
    shipping(&engine).await;
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_has_the_time_it_was_written_at() {
    let folder = tempfile::tempdir().unwrap();
    let (data, destination) = (folder.path().join("data"), folder.path().join("destination"));
    let config = config(&destination, Mode::Async);
    let engine = backed_up(&config, &data).await;
    let away = folder.path().join("away");
    fs::rename(&destination, &away).unwrap();
    fs::write(&destination, "").unwrap();
    transact(&engine, vec![put(2, 2, 10)]).await.unwrap();
    let left = folder.path().join("left");
    fs::create_dir(&left).unwrap();
    for part in ["sixfold.db", "sixfold.db-wal", "backup-destination"] {
        fs::copy(data.join(part), left.join(part)).unwrap();
    }
    let written = fs::metadata(data.join("sixfold.db-wal")).unwrap().modified().unwrap();
    let log = fs::OpenOptions::new().append(true).open(left.join("sixfold.db-wal")).unwrap();
    log.set_modified(written).unwrap();
    engine.close();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = Timestamp::now().as_microsecond();
    fs::remove_file(&destination).unwrap();
    fs::rename(&away, &destination).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let engine = Engine::open(&config, &left).unwrap();
    shipping(&engine).await;
    all_shipped(&engine).await;
    engine.close();
    assert_eq!(restored(&config, Target::Time(between)).await.len(), 2, "both were answered by then");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_leaves_no_half_of_a_database() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(destination.path(), Mode::Async);
    let engine = backed_up(&config, data.path()).await;
    let segments = destination.path().join(status(&engine).generation.unwrap()).join("segments");
    engine.close();
    for segment in fs::read_dir(segments).unwrap() {
        let segment = segment.unwrap().path();
        let mut bytes = fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&segment, bytes).unwrap();
    }
    let to = tempfile::tempdir().unwrap();
    let recovery = Recovery::open(&config.backup).unwrap();
    recovery.restore(Target::Latest, to.path(), false, |_| (), &|_| ()).await.unwrap_err();
    let left: Vec<_> = fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["database.lock"]);
}
