//! All data moves from one engine to the other and back, or nothing does.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;
use std::time::Duration;

use database::copy::{CopyError, Summary, copy};
use database::find::{Column, Comparison, Count, Field, Filter, Index, Kind, Total};
use database::{
    Config, Database, Declaration, Engine, Error, Find, JobCommand, NewJob, Operation, Precondition, Query,
    Transaction, Url,
};
use serde_json::{Map, Value, json};
use system_tests::postgres::{Scratch, Server};

fn open(url: &Url) -> (Engine, Database) {
    let config = Config { url: url.clone(), ..Config::default() };
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    (engine.clone(), Database::Local(engine))
}

fn put(id: &str, data: Value) -> Operation {
    let Value::Object(data) = data else { panic!("{data}") };
    Operation::Put { collection: "things".into(), id: id.into(), data, precondition: Precondition::None }
}

async fn transact(database: &Database, namespace: &str, operations: Vec<Operation>) {
    database.transact(Transaction { namespace: namespace.into(), operations }).await.unwrap();
}

fn by_mail() -> Declaration {
    let column = Column { field: Field::new("mail").unwrap(), kind: Kind::Text, descending: false };
    let index = Index { columns: vec![column], unique: true };
    Declaration { collection: "things".into(), indexes: vec![index], ..Declaration::default() }
}

/// Fills a database with some of everything.
async fn fill(database: &Database) {
    database.declare("shop", &by_mail()).await.unwrap();
    let notes = Declaration {
        collection: "notes".into(),
        history: 5,
        history_age_ms: Some(3_600_000),
        ..Declaration::default()
    };
    database.declare("shop", &notes).await.unwrap();
    let odd = json!({"mail": "a@b", "n": 1e16, "u": u64::MAX, "z": [-0.0, 0.0], "f": 907.303_832_202_868_9, "s": "x\0y\u{1}z", "o": {"ä": [null, -0.5]}});
    let once = Operation::Once { key: "k".into(), fingerprint: "f".into(), keep_ms: 3_600_000 };
    let job = |queue: &str| Operation::Enqueue { job: NewJob::new(queue, "send", json!({"n": 1e300})) };
    transact(database, "shop", vec![once, put("odd", odd), job("mail"), job("sms")]).await;
    for number in 0..150 {
        transact(database, "shop", vec![put(&format!("{number} ä"), json!({ "n": number }))]).await;
    }
    for n in [json!(0), json!(1e16), json!(2)] {
        let Value::Object(data) = json!({ "n": n, "s": "x\0y" }) else { panic!("an object") };
        let (collection, id) = ("notes".into(), "a".into());
        let put = Operation::Put { collection, id, data, precondition: Precondition::None };
        transact(database, "shop", vec![put]).await;
    }
    let gone =
        Operation::Delete {
            collection: "things".into(), id: "7 ä".into(), precondition: Precondition::None
        };
    transact(database, "shop", vec![gone]).await;
    transact(database, "other", vec![put("odd", json!({}))]).await;
    let claim = JobCommand::Claim { queues: vec!["mail".into()], limit: 1, lease_ms: 3_600_000, wait_ms: 0 };
    let job = database.command(&claim).await.unwrap().remove(0);
    let (id, lease_token) = (job.id, job.lease_token);
    database.command(&JobCommand::Succeed { id, lease_token, result: json!({"ok": 1}) }).await.unwrap();
}

async fn try_copy(from: &Url, to: &Url) -> Result<Summary, CopyError> {
    copy(from, to, Path::new("none")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_postgres_and_back_and_stays_the_same() {
    let (data, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let scratch = Scratch::create();
    let sqlite = Url::SqliteIn(data.path().to_owned());
    let postgres: Url = scratch.url().parse().unwrap();
    let again = Url::SqliteIn(back.path().to_owned());
    let (engine, database) = open(&sqlite);
    fill(&database).await;
    let list = Query::List { collection: "things".into(), after: None, limit: 1000 };
    let before = database.query("shop", &list).await.unwrap();
    let history = Query::History { collection: "notes".into(), id: "a".into(), before: None, limit: 10 };
    let earlier = database.query("shop", &history).await.unwrap();
    assert_eq!(earlier.earlier.len(), 2);
    let changes = database.changes(None, 0, 1000, Duration::ZERO).await.unwrap();
    assert!(matches!(try_copy(&sqlite, &postgres).await, Err(CopyError::Open(_))), "it is in use");
    engine.close();

    let there = try_copy(&sqlite, &postgres).await.unwrap();
    assert_eq!((there.records, there.versions, there.jobs, there.answers), (152, 2, 2, 1));
    assert_eq!((there.changes, there.sequence), (156, 156));
    let (engine, database) = open(&postgres);
    assert_eq!(database.query("shop", &list).await.unwrap(), before);
    assert_eq!(database.changes(None, 0, 1000, Duration::ZERO).await.unwrap(), changes);
    assert_eq!(database.query("shop", &history).await.unwrap(), earlier);
    let filter = Filter::Compare {
        field: Field::new("mail").unwrap(),
        comparison: Comparison::Eq,
        value: json!("a@b"),
    };
    let find = Find { filter: Some(filter), ..Find::all("things", 10) };
    let found = database.query("shop", &Query::Find(find)).await.unwrap();
    assert_eq!(found.records.len(), 1, "the index is there");
    let count = Query::Find(Find { count: Count::Exact, ..Find::all("things", 1) });
    assert_eq!(database.query("shop", &count).await.unwrap().total, Some(Total::exactly(150)));
    engine.close();

    let back = try_copy(&postgres, &again).await.unwrap();
    assert_eq!(back, there);
    let (_engine, database) = open(&again);
    assert_eq!(database.query("shop", &list).await.unwrap(), before);
    assert_eq!(database.query("shop", &count).await.unwrap().total, Some(Total::exactly(150)));
    let twice = vec![put("new", json!({"mail": "a@b"}))];
    let refused = database.transact(Transaction { namespace: "shop".into(), operations: twice }).await;
    assert!(matches!(refused, Err(Error::NotUnique { .. })), "{refused:?}");
    let committed = Transaction { namespace: "shop".into(), operations: vec![put("new", json!({}))] };
    assert_eq!(database.transact(committed).await.unwrap().sequence, 157, "the sequence goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_holds_something_stays_as_it_is() {
    let (data, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let scratch = Scratch::create();
    let sqlite = Url::SqliteIn(data.path().to_owned());
    let destinations = [Url::SqliteIn(full.path().to_owned()), scratch.url().parse().unwrap()];
    let (engine, database) = open(&sqlite);
    fill(&database).await;
    engine.close();
    for to in &destinations {
        let (engine, database) = open(to);
        transact(&database, "shop", vec![put("mine", Map::new().into())]).await;
        engine.close();
        let refused = try_copy(&sqlite, to).await.unwrap_err();
        assert!(matches!(refused, CopyError::NotEmpty { .. }), "{refused:?}");
        let (engine, database) = open(to);
        assert_eq!(database.changes(None, 0, 10, Duration::ZERO).await.unwrap().len(), 1);
        engine.close();
    }
    let missing = Url::SqliteIn(data.path().join("nothing"));
    let empty = Url::SqliteIn(data.path().join("empty"));
    assert!(matches!(try_copy(&missing, &empty).await, Err(CopyError::Open(_))));
}

/// Copies to a destination that changes one record and loses another, and gives what is said of it.
async fn said_of_differences(from: &Url, to: &Url) -> String {
    let said = try_copy(from, to).await.unwrap_err().to_string();
    assert!(said.contains("record \"3 ä\" in things of shop differs"), "{said}");
    assert!(said.contains("record \"4 ä\" in things of shop is missing"), "{said}");
    assert_eq!(said.matches("record").count(), 2, "{said}");
    let (engine, database) = open(to);
    assert_eq!(database.changes(None, 0, 10, Duration::ZERO).await.unwrap(), [], "nothing was copied");
    engine.close();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_after_a_copy_is_named_and_its_content_is_not_shown() {
    let (data, altering) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start_in_memory();
    let sqlite = Url::SqliteIn(data.path().to_owned());
    let (engine, database) = open(&sqlite);
    fill(&database).await;
    engine.close();
    let postgres: Url = server.url().parse().unwrap();
    open(&postgres).0.close();
    server.ask(
        "CREATE FUNCTION alter_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.id = '4 ä' THEN RETURN NULL; END IF; \
         IF NEW.id = '3 ä' THEN NEW.data := '{\"n\": \"hush\"}'; END IF; RETURN NEW; END $$",
    );
    let trigger =
        "CREATE TRIGGER alter_one BEFORE INSERT ON sixfold.records FOR EACH ROW EXECUTE FUNCTION alter_one()";
    server.ask(trigger);
    let said = said_of_differences(&sqlite, &postgres).await;
    assert!(!said.contains("hush"), "{said}");
    server.ask("DROP TRIGGER alter_one ON sixfold.records");
    try_copy(&sqlite, &postgres).await.unwrap();

    let altered = Url::SqliteIn(altering.path().to_owned());
    open(&altered).0.close();
    let connection = rusqlite::Connection::open(altering.path().join("sixfold.db")).unwrap();
    let triggers = "CREATE TRIGGER alter_one AFTER INSERT ON records WHEN NEW.id = '3 ä' BEGIN \
         UPDATE records SET data = '{\"n\":\"hush\"}' WHERE id = NEW.id; END; \
         CREATE TRIGGER lose_one AFTER INSERT ON records WHEN NEW.id = '4 ä' BEGIN \
         DELETE FROM records WHERE id = NEW.id; END";
    connection.execute_batch(triggers).unwrap();
    connection.close().unwrap();
    let said = said_of_differences(&postgres, &altered).await;
    assert!(!said.contains("hush"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_named_and_nothing_is_copied() {
    let (data, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (Url::SqliteIn(data.path().to_owned()), Url::SqliteIn(to.path().to_owned()));
    let (engine, database) = open(&from);
    fill(&database).await;
    engine.close();
    // Whether it is the record or what it was before: as it could be written before nesting was bounded.
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
    for (table, name) in [("versions", "a"), ("records", "odd")] {
        let connection = rusqlite::Connection::open(data.path().join("sixfold.db")).unwrap();
        let sql = format!("UPDATE {table} SET data = ?1 WHERE id = ?2");
        assert!(connection.execute(&sql, [&*deep, name]).unwrap() > 0, "{table}");
        drop(connection);
        let refused = try_copy(&from, &to).await.unwrap_err();
        assert!(matches!(&refused, CopyError::Unreadable { id, .. } if id == name), "{refused:?}");
        let (engine, database) = open(&to);
        assert_eq!(database.changes(None, 0, 10, Duration::ZERO).await.unwrap(), []);
        engine.close();
    }
}
