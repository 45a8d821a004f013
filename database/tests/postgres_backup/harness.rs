//! A server that is backed up, what is written to it, and what a restore gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use database::backup::postgres::{ReceivingStatus, Recovery, Target};
use database::backup::{self, Inspection, Mode, Standing, Status};
use database::{Config, Engine, Error, Operation, Precondition, Transaction, Url};
use serde_json::{Map, json};
use system_tests::postgres::{Server, folder_in_memory};

use crate::things::values_of;

/// How long something may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, a destination and a folder for the role's own data.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) destination: tempfile::TempDir,
    pub(crate) data: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let (destination, data) = (folder_in_memory(), folder_in_memory());
        Self { server: Server::start_in_memory(), destination, data }
    }

    pub(crate) fn config(&self, mode: Mode) -> Config {
        let destination = Some(format!("file:{}", self.destination.path().display()));
        let backup = backup::Config { destination, mode, ..backup::Config::default() };
        Config { url: self.server.url().parse().unwrap(), backup, ..Config::default() }
    }

    /// Opens the engine and waits until it is backed up.
    pub(crate) async fn open(&self, config: &Config) -> Engine {
        let engine = Engine::open(config, self.data.path()).unwrap();
        until("the first base", || status(&engine).standing == Standing::Shipping).await;
        engine
    }

    pub(crate) fn recovery(&self) -> Recovery {
        recovery(&self.config(Mode::Async))
    }

    /// Looks through what is backed up.
    pub(crate) async fn inspected(&self, recovery: &Recovery) -> Inspection {
        recovery.inspect(false, &self.data.path().join("scratch"), |_| (), &|_| ()).await.unwrap()
    }

    /// Restores a moment, has a server recover it and gives what that holds.
    pub(crate) async fn restored(&self, target: Target) -> BTreeMap<String, u64> {
        let recovery = self.recovery();
        let folder = folder_in_memory();
        let to = folder.path().join("restored");
        let restored = recovery.restore(target, &to, |_| (), &|_| ()).await;
        restored.unwrap_or_else(|error| panic!("{target}: {error}"));
        let server = Server::start_restored(self.destination.path(), |data| {
            let moved = std::process::Command::new("mv").arg(&to).arg(data).status().unwrap();
            assert!(moved.success());
        });
        contents(&server.url()).await
    }
}

pub(crate) fn recovery(config: &Config) -> Recovery {
    let Url::Postgres(url) = &config.url else { panic!("a PostgreSQL server") };
    Recovery::open(&config.backup, url).unwrap()
}

pub(crate) fn status(engine: &Engine) -> ReceivingStatus {
    match engine.backup_status() {
        Some(Status::Postgres(status)) => status,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until what was written until now is at the destination.
pub(crate) async fn all_received(bench: &Bench, engine: &Engine) {
    let written = bench.server.ask("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    until("what was written", || status(engine).received >= written).await;
}

pub(crate) async fn put(engine: &Engine, id: u32, value: u64) -> Result<(), Error> {
    let data = Map::from_iter([("value".to_owned(), json!(value))]);
    let (collection, id) = ("things".into(), format!("{id:05}"));
    let operations = vec![Operation::Put { collection, id, data, precondition: Precondition::None }];
    engine.transact(Transaction { namespace: "shop".into(), operations }).await.map(drop)
}

/// What a database holds.
pub(crate) async fn contents(url: &str) -> BTreeMap<String, u64> {
    let config = Config { url: url.parse().unwrap(), ..Config::default() };
    values_of(Engine::open(&config, Path::new("none")).unwrap()).await
}
