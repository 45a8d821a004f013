//! Transactions that are to happen once.

use database::{Database, Error, Operation, Outcome, Precondition, Query, Transaction};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{enqueue, get, of_queue, patch, put, transact};

crate::on_every_handle! {
    the_same_key_again_does_nothing_and_answers_the_same
    a_key_that_stands_for_another_request_is_refused
    of_many_at_once_one_is_done_and_all_are_answered_alike
    a_refused_transaction_leaves_no_key
    a_key_stands_for_its_time_and_in_its_namespace
}

fn once(key: &str, fingerprint: &str, keep_ms: u64) -> Operation {
    Operation::Once { key: key.into(), fingerprint: fingerprint.into(), keep_ms }
}

async fn the_same_key_again_does_nothing_and_answers_the_same(database: &Database) {
    let operations =
        vec![once("k", "f", 60_000), put("a", json!({"n": 1.5}), Precondition::Absent), enqueue("mail")];
    let mut first = transact(database, operations.clone()).await.unwrap();
    assert_eq!(first.outcomes[0], Outcome::First);
    transact(database, vec![patch("a", json!({"n": 2}), Precondition::None)]).await.unwrap();
    let again = transact(database, operations).await.unwrap();
    first.outcomes[0] = Outcome::Repeated;
    assert_eq!(again, first, "what was done then, not what is there now");
    assert_eq!(get(database, "a").await.unwrap().data["n"], 2);
    assert_eq!(database.jobs(&of_queue("mail")).await.unwrap().jobs.len(), 1);
    let query = Query::Answer { key: "k".into() };
    let answer = database.query("shop", &query).await.unwrap().answer.unwrap();
    assert_eq!((answer.fingerprint.as_str(), answer.committed), ("f", first));
}

async fn a_key_that_stands_for_another_request_is_refused(database: &Database) {
    let with = |fingerprint| vec![once("k", fingerprint, 60_000), put("a", json!({}), Precondition::None)];
    transact(database, with("f")).await.unwrap();
    assert_eq!(transact(database, with("g")).await, Err(Error::KeyReused));
    let late = vec![put("a", json!({}), Precondition::None), once("l", "f", 60_000)];
    assert!(matches!(transact(database, late).await, Err(Error::Invalid { .. })));
    assert!(matches!(transact(database, vec![once("", "f", 1)]).await, Err(Error::Invalid { .. })));
    assert!(matches!(transact(database, vec![once("m", "f", 0)]).await, Err(Error::Invalid { .. })));
}

async fn of_many_at_once_one_is_done_and_all_are_answered_alike(database: &Database) {
    let mut callers = JoinSet::new();
    for number in 0..16 {
        let database = database.clone();
        callers.spawn(async move {
            let operations =
                vec![once("k", "f", 60_000), put(&format!("{number}"), json!({}), Precondition::Absent)];
            transact(&database, operations).await.unwrap()
        });
    }
    let answers = callers.join_all().await;
    let first = answers.iter().filter(|committed| committed.outcomes[0] == Outcome::First).count();
    assert_eq!(first, 1);
    assert!(answers.iter().all(|committed| committed.outcomes[1] == answers[0].outcomes[1]));
}

async fn a_refused_transaction_leaves_no_key(database: &Database) {
    let refused = vec![once("k", "f", 60_000), put("a", json!({}), Precondition::Present)];
    transact(database, refused).await.unwrap_err();
    let other = vec![once("k", "g", 60_000), put("a", json!({}), Precondition::Absent)];
    assert_eq!(transact(database, other).await.unwrap().outcomes[0], Outcome::First);
}

async fn a_key_stands_for_its_time_and_in_its_namespace(database: &Database) {
    let operations = vec![once("k", "f", 1), put("a", json!({}), Precondition::None)];
    transact(database, operations.clone()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let query = Query::Answer { key: "k".into() };
    assert_eq!(database.query("shop", &query).await.unwrap().answer, None);
    assert_eq!(transact(database, operations.clone()).await.unwrap().outcomes[0], Outcome::First);
    let elsewhere = Transaction { namespace: "other".into(), operations };
    assert_eq!(database.transact(elsewhere).await.unwrap().outcomes[0], Outcome::First);
}
