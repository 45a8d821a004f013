//! A database that is backed up, what is written to it, and what a restore gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use database::backup::{self, Mode, Recovery, Standing, Target};
use database::{Config, Engine, Error, Operation, Precondition, Transaction};
use jiff::Timestamp;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, json};

use crate::things::values_of;

pub(crate) fn config(destination: &Path, mode: Mode) -> Config {
    let backup = backup::Config {
        destination: Some(format!("file:{}", destination.display())),
        mode,
        interval: Duration::from_millis(5),
        ..backup::Config::default()
    };
    Config { backup, ..Config::default() }
}

pub(crate) fn status(engine: &Engine) -> backup::ShippingStatus {
    match engine.backup_status() {
        Some(backup::Status::Sqlite(status)) => status,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn transact(engine: &Engine, operations: Vec<Operation>) -> Result<(), Error> {
    engine.transact(Transaction { namespace: "shop".into(), operations }).await.map(drop)
}

pub(crate) fn put(id: u32, value: u64, size: usize) -> Operation {
    put_filled(id, value, &"x".repeat(size))
}

/// A write that does not compress.
pub(crate) fn put_random(id: u32, value: u64) -> Operation {
    let filler: String = (0..12_000).map(|_| char::from(rand::random_range(b'0'..=b'z'))).collect();
    put_filled(id, value, &filler)
}

fn put_filled(id: u32, value: u64, filler: &str) -> Operation {
    let data = Map::from_iter([("value".to_owned(), json!(value)), ("filler".to_owned(), json!(filler))]);
    Operation::Put {
        collection: "things".into(),
        id: format!("{id:05}"),
        data,
        precondition: Precondition::None,
    }
}

pub(crate) fn delete(id: u32) -> Operation {
    Operation::Delete {
        collection: "things".into(),
        id: format!("{id:05}"),
        precondition: Precondition::None,
    }
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn shipping(engine: &Engine) {
    until("the first base", || status(engine).standing == Standing::Shipping).await;
}

pub(crate) async fn all_shipped(engine: &Engine) {
    until("the last segment", || status(engine).lag_commits == 0).await;
}

/// What a database holds.
pub(crate) async fn contents(data: &Path) -> BTreeMap<String, u64> {
    values_of(Engine::open(&Config::default(), data).unwrap()).await
}

pub(crate) async fn restored(config: &Config, target: Target) -> BTreeMap<String, u64> {
    let folder = tempfile::tempdir().unwrap();
    let recovery = Recovery::open(&config.backup).unwrap();
    let done = recovery.restore(target, folder.path(), false, |_| (), &|_| ()).await;
    done.unwrap_or_else(|error| panic!("{target:?}: {error}"));
    contents(folder.path()).await
}

/// The states a test went through: the commit after which each held, and a time at which it did.
pub(crate) type History = Vec<(u64, Timestamp, BTreeMap<String, u64>)>;

/// Makes random writes and keeps what the database then holds.
pub(crate) async fn write(
    engine: &Engine,
    rng: &mut StdRng,
    model: &mut BTreeMap<String, u64>,
    history: &mut History,
    count: u32,
) {
    for _ in 0..count {
        let mut operations = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let (id, value) = (rng.random_range(0..60), rng.random_range(0..1000));
            let key = format!("{id:05}");
            if rng.random_bool(0.2) && model.contains_key(&key) {
                operations.push(delete(id));
                model.remove(&key);
            } else {
                let size = if rng.random_bool(0.1) { 20_000 } else { 50 };
                operations.push(put(id, value, size));
                model.insert(key, value);
            }
        }
        transact(engine, operations).await.unwrap();
        history.push((status(engine).committed, Timestamp::now(), model.clone()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
