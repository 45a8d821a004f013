//! What is too old or too much goes, and whoever would have needed it is told.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

#[path = "conformance/ground.rs"]
mod ground;

use std::path::Path;
use std::time::Duration;

use database::job::JobFilter;
use database::{
    Config, Database, Engine, Error, JobCommand, JobState, NewJob, Operation, Precondition, Query, Retention,
    Transaction, Url, copy,
};
use serde_json::{Map, json};

use crate::ground::{Ground, postgres, sqlite};

fn open(url: Url, retention: Retention) -> (Database, Engine) {
    let config = Config { url, retention, ..Config::default() };
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    (Database::Local(engine.clone()), engine)
}

fn everything() -> Retention {
    Retention { most_changes: 0, most_jobs: 0, ..Retention::default() }
}

async fn write(database: &Database, namespace: &str, count: usize) -> u64 {
    let put = |number| Operation::Put {
        collection: "things".into(),
        id: format!("{number}"),
        data: Map::new(),
        precondition: Precondition::None,
    };
    let transaction = Transaction { namespace: namespace.into(), operations: (0..count).map(put).collect() };
    database.transact(transaction).await.unwrap().sequence
}

async fn follow(database: &Database, namespace: &str, after: u64) -> Result<usize, Error> {
    let changes = database.changes(Some(namespace), after, 1000, Duration::ZERO).await?;
    Ok(changes.len())
}

async fn latest(database: &Database, namespace: &str) -> Option<u64> {
    database.query(namespace, &Query::Latest).await.unwrap().sequence
}

async fn follow_what_is_kept(ground: Ground, other: Ground) {
    let (database, engine) = open(ground.url(), everything());
    let quiet = write(&database, "quiet", 5).await;
    let first = write(&database, "shop", 700).await;
    let last = write(&database, "shop", 700).await;
    assert_eq!(follow(&database, "shop", 0).await, Ok(1000));
    engine.close();

    let (database, engine) = open(ground.url(), Retention { most_changes: 1000, ..everything() });
    while database.changes(None, last - 1001, 1, Duration::ZERO).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Each thousandth and later is there, for any and for one.
    assert_eq!(database.changes(None, last - 1000, 1000, Duration::ZERO).await.unwrap().len(), 1000);
    assert_eq!(follow(&database, "shop", last - 1000).await, Ok(1000));
    assert_eq!(follow(&database, "shop", first - 500).await, Err(Error::ChangesGone { from: last }));
    assert_eq!(follow(&database, "shop", 0).await, Err(Error::ChangesGone { from: last }));
    // Who has seen all of a namespace that was quiet has missed nothing, and who has not is told.
    assert_eq!(
        (follow(&database, "quiet", quiet).await, latest(&database, "quiet").await),
        (Ok(0), Some(quiet))
    );
    assert_eq!(follow(&database, "quiet", quiet - 1).await, Err(Error::ChangesGone { from: quiet }));
    assert_eq!((follow(&database, "never", 0).await, latest(&database, "never").await), (Ok(0), None));
    engine.close();

    // It is so in the other engine too, where everything is copied to.
    copy::copy(&ground.url(), &other.url(), Path::new("none")).await.unwrap();
    let (database, engine) = open(other.url(), everything());
    assert_eq!(follow(&database, "shop", last - 1000).await, Ok(1000));
    assert_eq!(follow(&database, "shop", 0).await, Err(Error::ChangesGone { from: last }));
    assert_eq!(latest(&database, "quiet").await, Some(quiet));
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_tells_a_follower_that_comes_from_before_what_is_kept() {
    follow_what_is_kept(sqlite(), postgres()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_tells_a_follower_that_comes_from_before_what_is_kept() {
    follow_what_is_kept(postgres(), sqlite()).await;
}

async fn in_state(database: &Database, state: JobState) -> Vec<String> {
    let filter = JobFilter { state: Some(state), ..JobFilter::default() };
    database.jobs(&filter).await.unwrap().jobs.into_iter().map(|job| job.id).collect()
}

async fn keep_the_last_jobs(ground: Ground) {
    let (database, engine) = open(ground.url(), everything());
    let mut made = Vec::new();
    for _ in 0..12 {
        let operation = Operation::Enqueue { job: NewJob::new("mail", "send", json!({})) };
        let transaction = Transaction { namespace: "shop".into(), operations: vec![operation] };
        database.transact(transaction).await.unwrap();
    }
    let claim = JobCommand::Claim { queues: vec!["mail".into()], limit: 10, lease_ms: 60_000, wait_ms: 0 };
    for (number, job) in database.command(&claim).await.unwrap().into_iter().enumerate() {
        let (id, lease_token, result) = (job.id.clone(), job.lease_token, json!(null));
        let end = match number < 8 {
            true => JobCommand::Succeed { id, lease_token, result },
            false => JobCommand::Cancel { id },
        };
        database.command(&end).await.unwrap();
        made.push(job.id);
    }
    engine.close();

    let (database, engine) = open(ground.url(), Retention { most_jobs: 3, ..everything() });
    while in_state(&database, JobState::Succeeded).await.len() > 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut kept = in_state(&database, JobState::Succeeded).await;
    kept.sort_by_key(|id| made.iter().position(|one| one == id));
    assert_eq!(kept, made[5..8], "the last that ended");
    assert_eq!(in_state(&database, JobState::Canceled).await.len(), 2, "each end by itself");
    assert_eq!(in_state(&database, JobState::Ready).await.len(), 2, "and no job that may still run");
    engine.close();

    // By their age all go that ended, the dead ones later.
    let young = Retention { jobs: Duration::from_millis(1), ..everything() };
    let (database, engine) = open(ground.url(), young);
    while !in_state(&database, JobState::Succeeded).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(in_state(&database, JobState::Ready).await.len(), 2);
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_last_jobs_that_ended() {
    keep_the_last_jobs(sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_last_jobs_that_ended() {
    keep_the_last_jobs(postgres()).await;
}
