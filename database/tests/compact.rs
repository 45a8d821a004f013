//! A file is written anew by hand: smaller, with the same content, and able to become smaller by itself from then on.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use database::backup::{self, BackupError, Mode, Recovery, Standing, Status, Target, compact};
use database::{Config, Engine, OpenError, Operation, Precondition, Query, Transaction};
use rusqlite::Connection;
use serde_json::{Map, json};

fn file(data: &Path) -> PathBuf {
    data.join("sixfold.db")
}

/// Makes a file as earlier releases did, which cannot become smaller by itself.
fn make_old(data: &Path) {
    let connection = Connection::open(file(data)).unwrap();
    connection.execute_batch("PRAGMA auto_vacuum = none; PRAGMA journal_mode = wal").unwrap();
}

fn mode(data: &Path) -> i64 {
    Connection::open(file(data)).unwrap().pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap()
}

async fn transact(engine: &Engine, operations: Vec<Operation>) -> u64 {
    let transaction = Transaction { namespace: "shop".into(), operations };
    engine.transact(transaction).await.unwrap().sequence
}

fn put(number: u32) -> Operation {
    let data = Map::from_iter([("filler".to_owned(), json!("x".repeat(3000)))]);
    let (collection, id) = ("things".to_owned(), number.to_string());
    Operation::Put { collection, id, data, precondition: Precondition::None }
}

fn delete(number: u32) -> Operation {
    let (collection, id) = ("things".to_owned(), number.to_string());
    Operation::Delete { collection, id, precondition: Precondition::Present }
}

async fn names(engine: &Engine) -> Vec<String> {
    let query = Query::List { collection: "things".into(), after: None, limit: 1000 };
    let page = engine.query("shop", &query).await.unwrap();
    page.records.into_iter().map(|record| record.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_file_is_smaller_then_holds_the_same_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    assert!(matches!(compact(data), Err(BackupError::Missing { .. })));
    make_old(data);
    let engine = Engine::open(&Config::default(), data).unwrap();
    transact(&engine, (0..1000).map(put).collect()).await;
    let sequence = transact(&engine, (50..1000).map(delete).collect()).await;
    let before = names(&engine).await;
    let refused = compact(data);
    assert!(matches!(refused, Err(BackupError::Open(OpenError::InUse { .. }))), "{refused:?}");
    engine.close();
    assert_eq!(mode(data), 0);
    std::fs::write(data.join("sixfold.db.partial"), "of an attempt that was killed").unwrap();

    let done = compact(data).unwrap();
    assert!(done.to_bytes * 2 < done.from_bytes, "{done:?}");
    assert_eq!(std::fs::metadata(file(data)).unwrap().len(), done.to_bytes);
    assert_eq!(mode(data), 2);
    let engine = Engine::open(&Config::default(), data).unwrap();
    assert_eq!(names(&engine).await, before);
    // No version anew: nothing was lost, and who follows changes just goes on.
    assert_eq!(transact(&engine, vec![put(1)]).await, sequence + 1);
    assert_eq!(engine.changes(Some("shop"), sequence, 10, Duration::ZERO).await.unwrap().len(), 1);
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuous_backup_begins_a_generation_and_restores_what_was_before_and_after() {
    let (folder, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = folder.path();
    let backup = backup::Config {
        destination: Some(format!("file:{}", destination.path().display())),
        mode: Mode::Sync,
        ..backup::Config::default()
    };
    let config = Config { backup, ..Config::default() };
    let open = async || {
        let engine = Engine::open(&config, data).unwrap();
        let began = Instant::now();
        loop {
            let Some(Status::Sqlite(status)) = engine.backup_status() else { panic!("it is backed up") };
            if status.standing == Standing::Shipping {
                return (engine, status);
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (engine, first) = open().await;
    transact(&engine, (0..100).map(put).collect()).await;
    let Some(Status::Sqlite(status)) = engine.backup_status() else { panic!("it is backed up") };
    let full = status.committed;
    transact(&engine, (1..100).map(delete).collect()).await;
    engine.close();
    compact(data).unwrap();
    let (engine, second) = open().await;
    assert_ne!(first.generation, second.generation);
    transact(&engine, vec![put(500)]).await;
    engine.close();

    let recovery = Recovery::open(&config.backup).unwrap();
    for (target, count) in [(Target::Commit(full), 100), (Target::Latest, 2)] {
        let restored = tempfile::tempdir().unwrap();
        recovery.restore(target, restored.path(), false, |_| (), &|_| ()).await.unwrap();
        let engine = Engine::open(&Config::default(), restored.path()).unwrap();
        assert_eq!(names(&engine).await.len(), count, "{target:?}");
        engine.close();
    }
}
