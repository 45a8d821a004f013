//! Whether writes go is told by writes, and by nothing else.

use std::path::Path;
use std::time::Duration;

use serde_json::Map;
use system_tests::postgres::Scratch;

use super::session::Server;
use crate::{Config, Engine, Error, JobCommand, Operation, Precondition, Transaction};

/// How long something may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has every write of a record fail as on a full disk.
const FILL: &str = "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$; \
    CREATE TRIGGER full_disk BEFORE UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION fill()";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_wrote_nothing_does_not_tell_that_writes_go_again() {
    let scratch = Scratch::create();
    let config = Config { url: scratch.url().parse().unwrap(), ..Config::default() };
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    let server = Server::new(&scratch.url(), tokio::runtime::Handle::current()).unwrap();
    let session = server.connect(&[], None).await.unwrap();
    let mut writable = engine.writable();
    let put = async || {
        let (collection, id, data) = ("things".into(), "a".into(), Map::new());
        let operations = vec![Operation::Put { collection, id, data, precondition: Precondition::None }];
        engine.transact(Transaction { namespace: "shop".into(), operations }).await
    };
    put().await.unwrap();
    assert!(*writable.borrow());

    session.run(FILL).await.unwrap();
    assert!(put().await.is_err());
    assert!(!*writable.borrow());
    // The lane of jobs answers it by a commit, of nothing.
    let refused = engine.command(&JobCommand::Cancel { id: "none".into() }).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    assert!(!*writable.borrow(), "the disk is as full as before");

    session.run("DROP TRIGGER full_disk ON counter").await.unwrap();
    // Nobody writes: it is found out all the same.
    tokio::time::timeout(PATIENCE, writable.wait_for(|writable| *writable)).await.unwrap().unwrap();
    put().await.unwrap();
    engine.close();
}
