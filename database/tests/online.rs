//! Indexes of a large collection are made while others write, also by the process that comes after a killed one.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]
#![allow(clippy::print_stdout, reason = "a child tells its parent how far it is")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use database::find::{Column, Comparison, Field, Filter, Index, Kind, Order};
use database::{
    Config, Database, Declaration, Engine, Error, Find, Operation, Precondition, Query, Transaction,
};
use serde_json::{Map, Value, json};
use system_tests::postgres::Scratch;
use tokio::task::JoinSet;

/// How many records there are before the index.
const RECORDS: usize = 200_000;

/// What tells the child of [`a_killed_build_is_gone_on_with_and_nobody_waits_for_it`] where its database is.
const FOLDER: &str = "SIXFOLD_TEST_ONLINE_FOLDER";

fn open(data: &Path) -> Database {
    Database::Local(Engine::open(&Config::default(), data).unwrap())
}

fn close(database: Database) {
    let Database::Local(engine) = database else { panic!("it is not local") };
    engine.close();
}

fn put(id: String, data: Value) -> Operation {
    let Value::Object(data) = data else { panic!("{data} is no object") };
    Operation::Put { collection: "things".into(), id, data, precondition: Precondition::None }
}

async fn transact(database: &Database, operations: Vec<Operation>) -> Result<(), Error> {
    database.transact(Transaction { namespace: "shop".into(), operations }).await.map(drop)
}

/// Writes records `0..count`, of which number n has `rank` n·7 mod count.
async fn seed(database: &Database, count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(1000) {
        let write = |number: &usize| put(format!("{number:06}"), json!({"rank": number * 7 % count}));
        transact(database, batch.iter().map(write).collect()).await.unwrap();
    }
}

fn index(name: &str, unique: bool) -> Index {
    let column = Column { field: Field::new(name).unwrap(), kind: Kind::Number, descending: false };
    Index { columns: vec![column], unique }
}

fn declaration(index: Index) -> Declaration {
    Declaration { collection: "things".into(), indexes: vec![index], ..Declaration::default() }
}

async fn by_rank(database: &Database, least: i64) -> Result<Vec<(i64, String)>, Error> {
    let field = Field::new("rank").unwrap();
    let filter = Filter::Compare { field: field.clone(), comparison: Comparison::Gte, value: json!(least) };
    let order = vec![Order { field, descending: false }];
    let find = Find { filter: Some(filter), order, ..Find::all("things", 1000) };
    let page = database.query("shop", &Query::Find(find)).await?;
    Ok(page.records.into_iter().map(|record| (record.data["rank"].as_i64().unwrap(), record.id)).collect())
}

/// Changes records, one after the other, until it is told to stop; gives how many it changed.
///
/// Each gets the rank of another one it had, negated, so that at the end it is known who has which.
async fn change_until(database: &Database, from: usize, stop: &AtomicBool) -> usize {
    let mut changed = 0;
    while !stop.load(Ordering::Relaxed) {
        // From everywhere, so of what is in the index already and of what is not.
        let number = (from + changed * 7919) % RECORDS;
        let rank = -1 - i64::try_from(number).unwrap();
        transact(database, vec![put(format!("{number:06}"), json!({ "rank": rank }))]).await.unwrap();
        changed += 1;
        if std::env::var_os(FOLDER).is_some() {
            println!("changed {changed}");
        }
    }
    changed
}

/// The child: it declares the index, changes records meanwhile, and is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by its parent"]
async fn the_child_writes_while_an_index_is_made_until_it_is_killed() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let database = open(Path::new(&folder));
    let declaring = declaration(index("rank", false));
    let stop = AtomicBool::new(false);
    tokio::select! {
        _ = database.declare("shop", &declaring) => println!("done"),
        _ = change_until(&database, 0, &stop) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_build_is_gone_on_with_and_nobody_waits_for_it() {
    let data = tempfile::tempdir().unwrap();
    let database = open(data.path());
    seed(&database, RECORDS).await;
    close(database);

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "the_child_writes_while_an_index_is_made_until_it_is_killed",
            "--nocapture",
        ])
        .env(FOLDER, data.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut changed = 0;
    for line in lines.map_while(Result::ok) {
        assert_ne!(line, "done", "it was made before the kill");
        changed += usize::from(line.starts_with("changed"));
        if changed == 25 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(changed >= 25, "nobody wrote while the index was made");

    let database = open(data.path());
    let unfinished = by_rank(&database, 0).await;
    assert!(matches!(unfinished, Err(Error::NotIndexed { .. })), "no index is asked that is not whole");
    let stop = AtomicBool::new(false);
    let from = RECORDS / 2;
    let declaring = async {
        database.declare("shop", &declaration(index("rank", false))).await.unwrap();
        stop.store(true, Ordering::Relaxed);
    };
    let ((), later) = tokio::join!(declaring, change_until(&database, from, &stop));
    assert!(later >= 25, "{later} writes while the rest of the index was made");

    // All there is, once by the names and once by the index.
    let mut expected = Vec::with_capacity(RECORDS);
    let mut query = Find::all("things", 1000);
    loop {
        let page = database.query("shop", &Query::Find(query.clone())).await.unwrap();
        expected.extend(
            page.records.iter().map(|record| (record.data["rank"].as_i64().unwrap(), record.id.clone())),
        );
        query.after = page.position;
        if query.after.is_none() {
            break;
        }
    }
    expected.sort_unstable();
    assert_eq!(expected.len(), RECORDS);
    let mut found: Vec<(i64, String)> = Vec::with_capacity(RECORDS);
    loop {
        // Ranks are unique, so that the next page begins after the last one's.
        let page = by_rank(&database, found.last().map_or(i64::MIN, |(rank, _)| rank + 1)).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert!(found == expected, "the index and the records differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_index_of_records_that_share_a_value_is_refused_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let database = open(data.path());
    seed(&database, 5000).await;
    transact(&database, vec![put("twin".into(), json!({"rank": 7}))]).await.unwrap();
    let refused = database.declare("shop", &declaration(index("rank", true))).await;
    let expected = Error::Invalid { reason: "records of things have the same rank already".into() };
    assert_eq!(refused, Err(expected));
    transact(&database, vec![put("triplet".into(), json!({"rank": 7}))]).await.unwrap();

    let delete = |id: &str| Operation::Delete {
        collection: "things".into(),
        id: id.into(),
        precondition: Precondition::None,
    };
    transact(&database, vec![delete("twin"), delete("triplet")]).await.unwrap();
    database.declare("shop", &declaration(index("rank", true))).await.unwrap();
    let refused = transact(&database, vec![put("again".into(), json!({"rank": 7}))]).await;
    assert_eq!(refused, Err(Error::NotUnique { operation: 0, fields: vec!["rank".into()] }));
    // Its own value is no other record's.
    transact(&database, vec![put("000001".into(), json!({"rank": 7}))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_made_beside_is_dropped_and_can_be_made_again() {
    let data = tempfile::tempdir().unwrap();
    let database = open(data.path());
    seed(&database, 5000).await;
    database.declare("shop", &declaration(index("rank", false))).await.unwrap();
    assert_eq!(by_rank(&database, 4998).await.unwrap().len(), 2);
    let dropping = Declaration {
        collection: "things".into(),
        dropped: vec![index("rank", false)],
        ..Declaration::default()
    };
    database.declare("shop", &dropping).await.unwrap();
    assert!(matches!(by_rank(&database, 4998).await, Err(Error::NotIndexed { .. })));
    transact(&database, vec![put("new".into(), json!({"rank": 5000}))]).await.unwrap();
    database.declare("shop", &declaration(index("rank", false))).await.unwrap();
    assert_eq!(by_rank(&database, 4998).await.unwrap().len(), 3);
    close(database);
    let database = open(data.path());
    let data = Map::from_iter([("rank".to_owned(), json!(null))]);
    transact(&database, vec![put("new".into(), Value::Object(data))]).await.unwrap();
    assert_eq!(by_rank(&database, 4998).await.unwrap().len(), 2);
}

/// PostgreSQL makes indexes itself while others write; one that a lost process left is invalid there.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_makes_an_index_anew_that_a_lost_process_left_invalid() {
    let scratch = Scratch::create();
    let config = Config { url: scratch.url().parse().unwrap(), ..Config::default() };
    let database = Database::Local(Engine::open(&config, Path::new("none")).unwrap());
    seed(&database, 3000).await;
    let (client, connection) = tokio_postgres::connect(&scratch.url(), tokio_postgres::NoTls).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    // A transaction that has written, and so holds the making of indexes up.
    client.batch_execute("BEGIN; LOCK TABLE records IN ROW EXCLUSIVE MODE").await.unwrap();

    let declaring = async { database.declare("shop", &declaration(index("rank", false))).await };
    let meanwhile = async {
        let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid = 'records'::regclass";
        while client.query_one(invalid, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
        transact(&database, vec![put("late".into(), json!({"rank": 3000}))]).await.unwrap();
        // As a kill of its process and a crash of the server would.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' \
            AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'records'::regclass)";
        let ended = client.query(end, &[]).await.unwrap();
        assert_eq!(ended.len(), 1);
        client.query_one(invalid, &[]).await.unwrap().get::<_, i64>(0)
    };
    let (declared, invalid) = tokio::join!(declaring, meanwhile);
    assert!(declared.is_err() && invalid == 1, "{declared:?}: {invalid} invalid indexes");
    client.batch_execute("COMMIT").await.unwrap();
    assert!(matches!(by_rank(&database, 2999).await, Err(Error::NotIndexed { .. })));

    database.declare("shop", &declaration(index("rank", false))).await.unwrap();
    let found: Vec<i64> = by_rank(&database, 2999).await.unwrap().into_iter().map(|(rank, _)| rank).collect();
    assert_eq!(found, [2999, 3000]);
}
