//! Many writers at once.

use database::{Database, Error, Precondition};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{get, put, transact, write};

crate::on_every_handle! {
    of_writers_with_the_same_version_exactly_one_wins
    one_refused_caller_leaves_the_others
}

const WRITERS: usize = 64;

async fn of_writers_with_the_same_version_exactly_one_wins(database: &Database) {
    let mut version = write(database, put("a", json!({"by": 0}), Precondition::None)).await.version;
    for round in 0..8 {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let database = database.clone();
            let operation = put("a", json!({"by": writer, "round": round}), Precondition::Version(version));
            writers.spawn(async move { (writer, transact(&database, vec![operation]).await) });
        }
        let mut winners = Vec::new();
        for (writer, result) in writers.join_all().await {
            match result {
                Ok(_) => winners.push(writer),
                Err(error) => assert!(matches!(error, Error::PreconditionFailed { .. }), "{error:?}"),
            }
        }
        let record = get(database, "a").await.unwrap();
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(record.data["by"], winners[0]);
        version = record.version;
    }
}

async fn one_refused_caller_leaves_the_others(database: &Database) {
    let mut callers = JoinSet::new();
    for number in 0..WRITERS {
        let database = database.clone();
        callers.spawn(async move {
            let first = put(&format!("{number}"), json!({}), Precondition::None);
            // Every fourth caller is refused after its first operation was done.
            let precondition = if number % 4 == 0 { Precondition::Present } else { Precondition::None };
            let second = put(&format!("{number} too"), json!({}), precondition);
            (number, transact(&database, vec![first, second]).await)
        });
    }
    for (number, result) in callers.join_all().await {
        let is_there = get(database, &format!("{number}")).await.is_some();
        assert_eq!((result.is_ok(), is_there), (number % 4 != 0, number % 4 != 0), "{number}: {result:?}");
    }
}
