//! What is told by the server and not guessed by us: whether writes go, and what time it is.

use std::path::Path;
use std::time::Duration;

use serde_json::Map;
use system_tests::postgres::{self, Scratch};

use super::session::{Server, Session};
use crate::{
    Committed, Config, Declaration, Engine, Error, JobCommand, Operation, Precondition, Query, Transaction,
};

/// How long something may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has every write of a record fail as on a full disk.
const FILL: &str = "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$; \
    CREATE TRIGGER full_disk BEFORE UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION fill()";

/// Sets the server's clock to tomorrow, for all that use it: a server of its own.
const TOMORROW: &str = "CREATE OR REPLACE FUNCTION pg_catalog.now() RETURNS timestamptz LANGUAGE sql STABLE AS \
    $$ SELECT pg_catalog.statement_timestamp() + interval '1 day' $$";

async fn connect(url: &str) -> Session {
    let server = Server::new(url, tokio::runtime::Handle::current()).unwrap();
    server.connect(&[], None).await.unwrap()
}

async fn put(engine: &Engine) -> Result<Committed, Error> {
    let (collection, id, data) = ("things".into(), "a".into(), Map::new());
    let operations = vec![Operation::Put { collection, id, data, precondition: Precondition::None }];
    engine.transact(Transaction { namespace: "shop".into(), operations }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_wrote_nothing_does_not_tell_that_writes_go_again() {
    let scratch = Scratch::create();
    let config = Config { url: scratch.url().parse().unwrap(), ..Config::default() };
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    let session = connect(&scratch.url()).await;
    let mut writable = engine.writable();
    let put = async || put(&engine).await;
    put().await.unwrap();
    assert!(writable.borrow().goes());

    session.run(FILL).await.unwrap();
    assert!(put().await.is_err());
    assert!(!writable.borrow().goes());
    // The lane of jobs answers it by a commit, of nothing.
    let refused = engine.command(&JobCommand::Cancel { id: "none".into() }).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    assert!(!writable.borrow().goes(), "the disk is as full as before");

    session.run("DROP TRIGGER full_disk ON counter").await.unwrap();
    // Nobody writes: it is found out all the same.
    tokio::time::timeout(PATIENCE, writable.wait_for(|writing| writing.goes())).await.unwrap().unwrap();
    put().await.unwrap();
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_version_s_time_is_over_is_told_by_the_server_s_clock() {
    let server = postgres::Server::start_in_memory();
    let config = Config { url: server.url().parse().unwrap(), ..Config::default() };
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    let session = connect(&server.url()).await;
    let (collection, history_age_ms) = ("things".to_owned(), Some(3_600_000));
    let kept = Declaration { collection, history: 5, history_age_ms, ..Declaration::default() };
    engine.declare("shop", &kept).await.unwrap();
    put(&engine).await.unwrap();
    put(&engine).await.unwrap();
    let earlier = async || {
        let (collection, id) = ("things".into(), "a".into());
        let asked = Query::History { collection, id, before: None, limit: 10 };
        engine.query("shop", &asked).await.unwrap().earlier.len()
    };
    assert_eq!(earlier().await, 1);
    session.run(TOMORROW).await.unwrap();
    assert_eq!(earlier().await, 0);
    engine.close();
}
