//! A file becomes smaller once much was deleted, while others read and write, also when the process is killed meanwhile.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]
#![allow(clippy::print_stdout, reason = "a child tells its parent how far it is")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use database::{Config, Database, Engine, Operation, Precondition, Query, Retention, Transaction};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

/// How many records there are before most are deleted, and how many of them stay.
const RECORDS: u64 = 6_000;
const KEPT: u64 = 600;

/// How many free pages of so small a file are left to be used again.
const LEFT: u32 = 1024;

/// What tells the child of [`a_kill_in_the_middle_loses_nothing_and_it_is_gone_on_with`] where its database is.
const FOLDER: &str = "SIXFOLD_TEST_VACUUM_FOLDER";

/// What is to be in the database: the value of each record.
type Model = BTreeMap<String, u64>;

fn open(data: &Path) -> Database {
    let retention = Retention { every: Duration::from_millis(20), ..Retention::default() };
    // The log is written back often, so that the file is as long as the database.
    let config = Config { retention, checkpoint: 1 << 20, ..Config::default() };
    Database::Local(Engine::open(&config, data).unwrap())
}

fn close(database: Database) {
    let Database::Local(engine) = database else { panic!("it is not local") };
    engine.close();
}

fn file(data: &Path) -> PathBuf {
    data.join("sixfold.db")
}

fn reader(data: &Path) -> Connection {
    Connection::open_with_flags(file(data), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// All pages of a database, and those that are free.
fn pages(data: &Path) -> (u32, u32) {
    let reader = reader(data);
    let count = |name| reader.pragma_query_value(None, name, |row| row.get(0)).unwrap();
    (count("page_count"), count("freelist_count"))
}

fn name(number: u64) -> String {
    format!("{number:06}")
}

/// Records of a page each, and some that have several.
fn put(number: u64, value: u64) -> Operation {
    let filler = "x".repeat(if number.is_multiple_of(50) { 20_000 } else { 3_000 });
    let data = Map::from_iter([("value".to_owned(), json!(value)), ("filler".to_owned(), json!(filler))]);
    Operation::Put { collection: "things".into(), id: name(number), data, precondition: Precondition::None }
}

fn delete(number: u64) -> Operation {
    Operation::Delete { collection: "things".into(), id: name(number), precondition: Precondition::Present }
}

async fn transact(database: &Database, operations: Vec<Operation>) {
    database.transact(Transaction { namespace: "shop".into(), operations }).await.unwrap();
}

/// Writes many records and deletes most of them; gives what is left.
async fn write_and_delete(database: &Database) -> Model {
    let numbers: Vec<u64> = (0..RECORDS).collect();
    for batch in numbers.chunks(300) {
        transact(database, batch.iter().map(|number| put(*number, *number)).collect()).await;
    }
    let is_kept = |number: &u64| number % (RECORDS / KEPT) == 3;
    let (kept, gone): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(is_kept);
    for batch in gone.chunks(500) {
        transact(database, batch.iter().map(|number| delete(*number)).collect()).await;
    }
    kept.into_iter().map(|number| (name(number), number)).collect()
}

/// Changes and makes records until it is told to stop, and tells of each once it is acknowledged.
async fn write_until(database: &Database, from: u64, stop: &AtomicBool, mut tell: impl FnMut(u64, u64)) {
    for value in 1_000_000.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let number = from + (value * 7) % KEPT;
        transact(database, vec![put(number, value)]).await;
        tell(number, value);
    }
}

async fn contents(database: &Database) -> Model {
    let (mut found, mut after) = (Model::new(), None);
    loop {
        let query = Query::List { collection: "things".into(), after, limit: 1000 };
        let page = database.query("shop", &query).await.unwrap();
        let value = |data: &Map<String, Value>| data["value"].as_u64().unwrap();
        found.extend(page.records.iter().map(|record| (record.id.clone(), value(&record.data))));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_whole(data: &Path) {
    let found: String = reader(data).pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_smaller_while_others_write_and_holds_what_they_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let database = open(data);
    let mut model = write_and_delete(&database).await;
    let stop = AtomicBool::new(false);
    let size = || std::fs::metadata(file(data)).unwrap().len();
    // What is left, what is made meanwhile, and what stays free are some 3,000 pages.
    let small = RECORDS * 4096 * 2 / 3;
    assert!(size() > small, "{} bytes", size());
    let (mut one, mut two) = (Model::new(), Model::new());
    let shrinking = async {
        until("a smaller file", || size() < small).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(
        shrinking,
        write_until(&database, 0, &stop, |number, value| one.extend([(name(number), value)])),
        write_until(&database, 20_000, &stop, |number, value| two.extend([(name(number), value)])),
    );
    assert!(one.len() > 10 && two.len() > 10, "nobody wrote meanwhile");
    model.extend(one);
    model.extend(two);
    assert!(contents(&database).await == model, "what is there is not what was acknowledged");
    assert_whole(data);
    close(database);
    let database = open(data);
    assert!(contents(&database).await == model, "after a restart");
}

/// The child: it gives space back, changes records meanwhile, and is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by its parent"]
async fn the_child_writes_while_space_is_given_back_until_it_is_killed() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let database = open(Path::new(&folder));
    let stop = AtomicBool::new(false);
    write_until(&database, 0, &stop, |number, value| println!("wrote {number} {value}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_nothing_and_it_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    // It does not look before all is deleted.
    let database = Database::Local(Engine::open(&Config::default(), data).unwrap());
    let mut model = write_and_delete(&database).await;
    close(database);
    let (before, free) = pages(data);
    assert!(free > before / 2, "{free} of {before} pages are free");

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "the_child_writes_while_space_is_given_back_until_it_is_killed",
            "--nocapture",
        ])
        .env(FOLDER, data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut written = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["wrote", number, value] = words[..] {
            model.insert(name(number.parse().unwrap()), value.parse().unwrap());
            written += 1;
            if written == 40 {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    let (now, free) = pages(data);
    assert!(
        now < before && free > now / 10,
        "it was killed in the middle: {free} of {now} pages of {before}"
    );
    assert_whole(data);

    let database = open(data);
    let found = contents(&database).await;
    // One may have been durable and its caller not told.
    let lost: Vec<_> = model.iter().filter(|(name, value)| found.get(*name) < Some(value)).collect();
    assert!(lost.is_empty() && found.len() <= model.len() + 1, "{lost:?}");
    until("the rest", || pages(data).1 <= LEFT).await;
    assert!(contents(&database).await == found, "what the rest moved is not the same");
    assert_whole(data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_keeps_what_it_sees_and_the_file_is_cut_once_it_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let database = Database::Local(Engine::open(&Config::default(), data).unwrap());
    write_and_delete(&database).await;
    close(database);
    let size = || std::fs::metadata(file(data)).unwrap().len();
    let before = size();
    let sum = |reader: &Connection| -> i64 {
        reader.query_row("SELECT sum(data ->> '$.value') FROM records", (), |row| row.get(0)).unwrap()
    };
    let database = open(data);
    let reader = reader(data);
    reader.execute_batch("BEGIN").unwrap();
    let seen = sum(&reader);
    until("fewer pages", || pages(data).1 <= LEFT).await;
    transact(&database, vec![delete(3)]).await;
    assert_eq!(sum(&reader), seen, "its own moment");
    assert_eq!(size(), before, "what it reads is not cut off");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(sum(&reader), seen - 3);
    until("a smaller file", || size() < before / 2).await;
    close(database);
}
