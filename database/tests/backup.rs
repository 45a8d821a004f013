//! Backup, verification and restore, with the role running and without.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;
use std::time::Duration;

use database::backup::{self, BackupError};
use database::{
    Committed, Config, Database, Engine, Error, JobCommand, NewJob, OpenError, Operation, Outcome,
    Precondition, Query, Record, Transaction,
};
use process::{ClusterToken, Secret, Shutdown};
use serde_json::{Map, json};
use tokio::task::JoinSet;

fn open(data: &Path) -> Database {
    Database::Local(Engine::open(&Config::default(), data).unwrap())
}

fn close(database: Database) {
    let Database::Local(engine) = database else { panic!("it is not local") };
    engine.close();
}

async fn transact(database: &Database, operations: Vec<Operation>) -> Committed {
    database.transact(Transaction { namespace: "shop".into(), operations }).await.unwrap()
}

async fn put(database: &Database, id: &str, number: u64) -> Record {
    let data = Map::from_iter([("number".to_owned(), json!(number))]);
    let (collection, id) = ("things".to_owned(), id.to_owned());
    let operation = Operation::Put { collection, id, data, precondition: Precondition::None };
    match transact(database, vec![operation]).await.outcomes.remove(0) {
        Outcome::Written { record, .. } => record,
        other => panic!("{other:?}"),
    }
}

async fn get(database: &Database, id: &str) -> Option<Record> {
    let query = Query::Get { collection: "things".into(), id: id.into() };
    database.query("shop", &query).await.unwrap().records.pop()
}

/// Whoever followed changes that a restore took back is told to list again.
async fn check_followers(database: &Database, lost: Option<u64>) {
    let Some(lost) = lost else { return };
    let changes = database.changes(Some("shop"), lost, 10, Duration::ZERO).await;
    let latest = database.query("shop", &Query::Latest).await.unwrap().sequence.unwrap();
    assert_eq!(changes, Err(Error::ChangesGone { from: latest }));
    assert_eq!(database.changes(Some("shop"), latest, 10, Duration::ZERO).await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_holds_what_was_backed_up_and_repeats_no_version() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (config, token, file) = (Config::default(), ClusterToken::default(), files.path().join("copy"));
    let database = open(data.path());
    put(&database, "a", 1).await;
    let enqueue = Operation::Enqueue { job: NewJob::new("mail", "send", json!({})) };
    transact(&database, vec![enqueue]).await;
    close(database);
    let report = backup::backup(&config, data.path(), &token, &file).await.unwrap();
    assert_eq!((report.records, report.jobs, report.sequence), (1, 1, 1));
    assert_eq!(backup::verify(&file).unwrap(), report);

    let claim = JobCommand::Claim { queues: vec!["mail".into()], limit: 1, lease_ms: 60_000, wait_ms: 0 };
    let (mut versions, mut tokens) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let database = open(data.path());
        assert_eq!(get(&database, "a").await.unwrap().data["number"], 1);
        assert_eq!(get(&database, "late").await, None, "round {round}");
        check_followers(&database, versions.last().copied()).await;
        versions.push(put(&database, "late", 2).await.version);
        tokens.push(database.command(&claim).await.unwrap()[0].lease_token);
        close(database);
        let kept = backup::restore(&file, data.path(), false);
        assert!(matches!(kept, Err(BackupError::Exists { .. })), "{kept:?}");
        // The new sequence grows with the seconds; two restores within one second may share it.
        if round == 1 {
            tokio::time::sleep(Duration::from_millis(1001)).await;
        }
        backup::restore(&file, data.path(), true).unwrap();
    }
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_role_writes_a_consistent_copy_while_others_write() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = Some(Secret::new("house"));
    let token = ClusterToken::new(secret.clone());
    let config = Config { listen: "127.0.0.1:0".into(), ..Config::default() };
    let bound = database::bind(&config, data.path(), &token).unwrap();
    let config = Config { address: Some(bound.address().unwrap().to_string()), ..config };
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let mut role = JoinSet::new();
    role.spawn(bound.run(shutdown.clone()));
    let database = Database::connect(&config, secret);
    put(&database, "a", 0).await;
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        writers.spawn(async move {
            for number in 1..50 {
                // Both or neither, in every copy.
                let of = |id: &str| Operation::Put {
                    collection: "things".into(),
                    id: id.into(),
                    data: Map::from_iter([("number".to_owned(), json!(number))]),
                    precondition: Precondition::None,
                };
                transact(&database, vec![of("left"), of("right")]).await;
            }
        });
    }
    for number in 0..3 {
        let file = files.path().join(format!("copy-{number}"));
        backup::backup(&config, data.path(), &token, &file).await.unwrap();
        let restored = tempfile::tempdir().unwrap();
        backup::restore(&file, restored.path(), false).unwrap();
        let copy = open(restored.path());
        let number = async |id| get(&copy, id).await.map(|record| record.data["number"].clone());
        assert_eq!(number("left").await, number("right").await);
        assert_eq!(number("a").await, Some(json!(0)));
        close(copy);
    }
    writers.join_all().await;

    let in_use = backup::restore(&files.path().join("copy-0"), data.path(), true);
    assert!(matches!(in_use, Err(BackupError::Open(OpenError::InUse { .. }))), "{in_use:?}");
    let exists = backup::backup(&config, data.path(), &token, &files.path().join("copy-0")).await;
    assert!(exists.unwrap_err().to_string().contains("exists already"));
    let names: Vec<_> = std::fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 6, "nothing half-written is left: {names:?}");
    shutdown.request();
    role.join_all().await.remove(0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_foreign_file_is_refused() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = files.path().join("copy");
    let nothing = backup::backup(&Config::default(), data.path(), &ClusterToken::default(), &file).await;
    assert!(matches!(nothing, Err(BackupError::Missing { .. })), "{nothing:?}");
    let database = open(data.path());
    for number in 0..200 {
        put(&database, &format!("{number}"), number).await;
    }
    close(database);
    backup::backup(&Config::default(), data.path(), &ClusterToken::default(), &file).await.unwrap();
    let digest = files.path().join("copy.sha256");
    std::fs::remove_file(&digest).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    // Whole pages: SQLite checks structure, not every byte of content.
    bytes[middle..middle + 20_000].fill(0x5a);
    std::fs::write(&file, &bytes).unwrap();
    let damaged = backup::restore(&file, data.path(), true);
    assert!(matches!(damaged, Err(BackupError::Damaged { .. })), "{damaged:?}");
    std::fs::write(&file, "no database at all, only text".repeat(100)).unwrap();
    assert!(backup::verify(&file).is_err());
    assert_eq!(get(&open(data.path()), "7").await.unwrap().data["number"], 7, "the old one is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_within_a_document_is_noticed_by_the_digest_beside() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = files.path().join("copy");
    let database = open(data.path());
    put(&database, "a", 123_454_321).await;
    close(database);
    let token = ClusterToken::default();
    let written = backup::backup(&Config::default(), data.path(), &token, &file).await.unwrap();
    let digest = files.path().join("copy.sha256");
    let line = format!("{}  copy\n", written.sha256.unwrap());
    assert_eq!(std::fs::read_to_string(&digest).unwrap(), line, "as `sha256sum` writes it");

    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(9).position(|window| window == b"123454321").unwrap();
    bytes[place] ^= 2;
    std::fs::write(&file, &bytes).unwrap();
    let altered = backup::verify(&file);
    assert!(matches!(altered, Err(BackupError::Damaged { .. })), "{altered:?}");
    let altered = backup::restore(&file, data.path(), true);
    assert!(matches!(altered, Err(BackupError::Damaged { .. })), "{altered:?}");
    std::fs::remove_file(&digest).unwrap();
    assert_eq!(backup::verify(&file).unwrap().sha256, None, "nothing else notices, and the report says so");
}
