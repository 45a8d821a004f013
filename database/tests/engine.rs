//! What the SQLite engine does to its files, refuses and counts.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::os::unix::fs::PermissionsExt;

use database::{Config, Database, Engine, Error, NewJob, Operation, Outcome, Precondition, Transaction};
use serde_json::{Map, json};
use tokio::task::JoinSet;

fn put(id: &str, size: usize) -> Transaction {
    let data = Map::from_iter([("filler".to_owned(), json!("x".repeat(size)))]);
    let (collection, id) = ("things".to_owned(), id.to_owned());
    let put = Operation::Put { collection, id, data, precondition: Precondition::None };
    Transaction { namespace: "shop".into(), operations: vec![put] }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_bounded_while_many_write() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { checkpoint: 64 << 10, ..Config::default() };
    let database = Database::Local(Engine::open(&config, data.path()).unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let database = database.clone();
        writers.spawn(async move {
            for number in 0..100 {
                database.transact(put(&format!("{writer} {number}"), 20_000)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let log = std::fs::metadata(data.path().join("sixfold.db-wal")).unwrap().len();
    // 16 MiB of documents were written; the log may grow to 4 times its due length and a few batches more.
    assert!(log < 4 << 20, "the log has {log} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_read_the_files() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let engine = Engine::open(&Config::default(), &data).unwrap();
    Database::Local(engine.clone()).transact(put("a", 1)).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["sixfold.db", "sixfold.db-wal", "sixfold.db-shm", "database.lock"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_waiting_writes_than_the_queue_holds_are_refused_at_once() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { queue: 4, batch: 1, ..Config::default() };
    let database = Database::Local(Engine::open(&config, data.path()).unwrap());
    let mut callers = JoinSet::new();
    for number in 0..200 {
        let database = database.clone();
        callers.spawn(async move { database.transact(put(&format!("{number}"), 100_000)).await.map(|_| ()) });
    }
    let results = callers.join_all().await;
    assert!(results.contains(&Ok(())) && results.contains(&Err(Error::Overloaded)), "{results:?}");
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Overloaded))), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_engine_has_done_what_it_answered_and_refuses_the_rest() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::open(&Config::default(), data.path()).unwrap();
    let database = Database::Local(engine.clone());
    database.transact(put("a", 1)).await.unwrap();
    engine.close();
    engine.close();
    let refused = database.transact(put("b", 1)).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    let reopened = Database::Local(Engine::open(&Config::default(), data.path()).unwrap());
    assert_eq!(reopened.changes(None, 0, 10, std::time::Duration::ZERO).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_counted_once_also_when_its_batch_is_done_again_without_a_refused_caller() {
    let data = tempfile::tempdir().unwrap();
    let database = Database::Local(Engine::open(&Config::default(), data.path()).unwrap());
    let mut transaction = put("a", 1);
    let (collection, id) = ("things".to_owned(), "a".to_owned());
    let precondition = Precondition::Absent;
    let patch = Map::from_iter([("n".to_owned(), json!(1))]);
    let changed = Operation::Patch {
        collection: collection.clone(),
        id: id.clone(),
        patch,
        precondition: Precondition::None,
    };
    // Refused after something was written.
    transaction.operations.extend([changed, Operation::Delete { collection, id, precondition }]);
    let refused = database.transact(transaction).await;
    assert!(matches!(refused, Err(Error::PreconditionFailed { operation: 2, .. })), "{refused:?}");
    let figures = String::from_utf8(process::metrics::render()).unwrap();
    for operation in ["patch", "delete"] {
        let counted = format!("sixfold_database_operations_total{{operation=\"{operation}\"}} 1\n");
        assert!(figures.contains(&counted), "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_nobody_wrote_is_a_fault_and_no_state_of_anything() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::open(&Config::default(), data.path()).unwrap();
    let mut transaction = put("a", 1);
    transaction.operations.push(Operation::Enqueue { job: NewJob::new("mail", "send", json!({})) });
    let outcomes = engine.transact(transaction).await.unwrap().outcomes;
    let [_, Outcome::Enqueued { job }] = &*outcomes else { panic!("{outcomes:?}") };
    let other = rusqlite::Connection::open(data.path().join("sixfold.db")).unwrap();
    other.execute_batch("PRAGMA ignore_check_constraints = 1").unwrap();
    other.execute("UPDATE jobs SET state = 'paused'", ()).unwrap();
    other.execute("UPDATE changes SET kind = 'merge'", ()).unwrap();
    let read = engine.job(&job.id).await;
    assert!(matches!(&read, Err(Error::Storage { reason }) if reason.contains("paused")), "{read:?}");
    let read = engine.changes(None, 0, 10, std::time::Duration::ZERO).await;
    assert!(matches!(&read, Err(Error::Storage { reason }) if reason.contains("merge")), "{read:?}");
}
