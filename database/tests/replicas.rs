//! Reads that allow staleness and the standbys that answer them: real servers, paused, killed and promoted.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;
use std::time::{Duration, Instant};

use database::{
    Committed, Config, Database, Engine, Error, Find, Operation, Page, Precondition, Query, Transaction,
};
use process::{ClusterToken, Shutdown};
use serde_json::{Map, json};
use system_tests::postgres::Server;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long something may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// More staleness than any test has.
const ANY: Duration = Duration::MAX;

/// A replica that is allowed to be behind for longer than a test takes.
const LONG: Duration = Duration::from_secs(600);

/// One that is not.
const STRICT: Duration = Duration::from_millis(200);

fn open(primary: &Server, replicas: &[&Server], replica_lag: Duration) -> Engine {
    let config = Config {
        url: primary.url().parse().unwrap(),
        replicas: replicas.iter().map(|server| server.url().parse().unwrap()).collect(),
        replica_lag,
        ..Config::default()
    };
    Engine::open(&config, Path::new("none")).unwrap()
}

async fn put(engine: &Engine, value: u64) -> Result<Committed, Error> {
    let data = Map::from_iter([("value".to_owned(), json!(value))]);
    let (collection, id) = ("things".into(), "one".into());
    let operations = vec![Operation::Put { collection, id, data, precondition: Precondition::None }];
    engine.transact(Transaction { namespace: "shop".into(), operations }).await
}

fn get() -> Query {
    Query::Get { collection: "things".into(), id: "one".into() }
}

/// Reads the one record as it may be.
async fn read(engine: &Engine, max_stale: Duration) -> Page {
    engine.query_within("shop", &get(), max_stale).await.unwrap()
}

fn value(page: &Page) -> u64 {
    page.records[0].data["value"].as_u64().unwrap()
}

/// Reads until the answer is as it must become.
async fn until(what: &str, engine: &Engine, max_stale: Duration, is_so: impl Fn(&Page) -> bool) -> Page {
    let began = Instant::now();
    loop {
        let page = read(engine, max_stale).await;
        if is_so(&page) {
            return page;
        }
        assert!(began.elapsed() < PATIENCE, "{what} does not come: {page:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_replica_answers(engine: &Engine, expected: u64) {
    until("the replica", engine, ANY, |page| page.age().is_some() && value(page) == expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_read_is_the_replicas_within_the_bounds_and_the_primarys_beyond_them() {
    let primary = Server::start_in_memory();
    let standby = primary.start_standby();
    let (engine, strict) = (open(&primary, &[&standby], LONG), open(&primary, &[&standby], STRICT));
    put(&engine, 1).await.unwrap();
    until_replica_answers(&engine, 1).await;
    until_replica_answers(&strict, 1).await;
    // An idle primary makes nobody stale: an answer is as of a moment when nothing had been written for longer than the
    // lag that is allowed.
    let idle_since = Instant::now();
    let is_later = |page: &Page| page.age().is_some_and(|age| idle_since.elapsed() > age + STRICT * 2);
    until("a later answer of the replica", &strict, ANY, is_later).await;

    standby.ask("SELECT pg_wal_replay_pause()");
    put(&engine, 2).await.unwrap();
    let written = Instant::now();
    let (stale, fresh) = (read(&engine, ANY).await, read(&engine, Duration::ZERO).await);
    assert_eq!((value(&stale), value(&fresh)), (1, 2));
    assert_eq!(fresh.age(), None);
    assert_eq!(engine.query("shop", &get()).await.unwrap(), fresh, "nobody is stale without a word");
    for query in [
        Query::List { collection: "things".into(), after: None, limit: 10 },
        Query::Some { collection: "things".into(), ids: vec!["one".into()] },
        Query::Find(Find::all("things", 10)),
    ] {
        let page = engine.query_within("shop", &query, ANY).await.unwrap();
        assert_eq!(value(&page), 1, "{query:?}");
        assert!(page.age().is_some(), "{query:?}");
    }
    // What callers go on from is never stale.
    let latest = engine.query_within("shop", &Query::Latest, ANY).await.unwrap();
    assert_eq!((latest.sequence, latest.age()), (Some(fresh.records[0].version), None));

    // The caller's bound, and then the configured one.
    let bound = Duration::from_millis(300);
    let page = until("the primary", &engine, bound, |page| page.age().is_none()).await;
    assert_eq!(value(&page), 2);
    let page = until("the primary", &strict, ANY, |page| page.age().is_none()).await;
    assert_eq!(value(&page), 2);
    let behind = written.elapsed();
    let stale = read(&engine, ANY).await;
    assert_eq!(value(&stale), 1, "who allows more still gets it");
    assert!(stale.age().unwrap() >= behind, "{stale:?} after {behind:?}");

    standby.ask("SELECT pg_wal_replay_resume()");
    until_replica_answers(&strict, 2).await;
    engine.close();
    strict.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_costs_no_error_and_one_that_is_back_answers_again() {
    let primary = Server::start_in_memory();
    let standby = primary.start_standby();
    let engine = open(&primary, &[&standby], Duration::from_secs(1));
    put(&engine, 1).await.unwrap();
    until_replica_answers(&engine, 1).await;
    let (reader, stop) = (engine.clone(), CancellationToken::new());
    let stopped = stop.clone();
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        let mut answers = 0;
        while !stopped.is_cancelled() {
            // An error fails the test.
            assert_eq!(value(&read(&reader, ANY).await), 1);
            answers += 1;
        }
        answers
    });
    tokio::task::block_in_place(|| standby.crash());
    let page = until("the primary", &engine, ANY, |page| page.age().is_none()).await;
    assert_eq!(value(&page), 1);
    put(&engine, 1).await.unwrap();
    tokio::task::block_in_place(|| standby.start_again());
    until_replica_answers(&engine, 1).await;
    stop.cancel();
    assert!(reading.join_next().await.unwrap().unwrap() > 0);
    engine.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_and_one_of_another_history_are_not_read_nor_written() {
    let primary = Server::start_in_memory();
    let (promoted, left) = (primary.start_standby(), primary.start_standby());
    let engine = open(&primary, &[&promoted], LONG);
    put(&engine, 1).await.unwrap();
    until_replica_answers(&engine, 1).await;
    promoted.promote();
    // Each read makes sure: there is no moment at which the promoted one is believed.
    let page = read(&engine, ANY).await;
    assert_eq!((value(&page), page.age()), (1, None));

    // The one that took over is somebody else's primary now; who still follows the old one is no replica of it,
    // however far it is.
    let other = open(&promoted, &[&left, &primary], LONG);
    put(&other, 2).await.unwrap();
    for round in 0..20 {
        put(&engine, 100 + round).await.unwrap();
        let (page, others) = (read(&engine, ANY).await, read(&other, ANY).await);
        assert_eq!((value(&page), page.age()), (100 + round, None));
        assert_eq!((value(&others), others.age()), (2, None));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(promoted.ask("SELECT data ->> 'value' FROM sixfold.records"), "2", "nothing is written there");
    let follower = open(&primary, &[&left], LONG);
    until_replica_answers(&follower, 119).await;
    for engine in [engine, other, follower] {
        engine.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wish_travels_to_the_role_and_the_age_comes_back() {
    let primary = Server::start_in_memory();
    let standby = primary.start_standby();
    let engine = open(&primary, &[&standby], LONG);
    put(&engine, 1).await.unwrap();
    until_replica_answers(&engine, 1).await;
    let config = Config { listen: "127.0.0.1:0".into(), ..Config::default() };
    let bound = database::bind_engine(engine.clone(), &config, &ClusterToken::default()).unwrap();
    let address = Some(bound.address().unwrap().to_string());
    let mut role = JoinSet::new();
    role.spawn(bound.run(Shutdown::new(Duration::from_secs(1))));
    let remote = Database::connect(&Config { address, ..config }, None);
    for database in [remote, Database::Local(engine)] {
        let page = database.query_within("shop", &get(), ANY).await.unwrap();
        assert!(page.age().is_some_and(|age| age < LONG), "{page:?}");
        let page = database.query_within("shop", &get(), Duration::ZERO).await.unwrap();
        assert_eq!(page.age(), None);
    }
    role.shutdown().await;
}
