//! A database to test against, and short ways to say what is done to it.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use database::job::{JobFilter, Retry};
use database::{
    Committed, Config, Database, Engine, Error, Job, JobCommand, NewJob, Operation, Outcome, Precondition,
    Query, Record, Transaction,
};
use process::{ClusterToken, RoleError, Secret, Shutdown};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

pub(crate) use crate::ground::{Ground, postgres, sqlite};

/// A database, what it stands on, and what ends with it.
pub(crate) struct House {
    pub(crate) database: Database,
    /// Another handle on the same data; where several processes may share it, one like another process's.
    pub(crate) other: Database,
    _role: JoinSet<Result<(), RoleError>>,
    _stands_on: Ground,
}

impl Deref for House {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

/// Opens the engine in this process; where several may, once more.
pub(crate) fn local(ground: Ground) -> House {
    let config = config(&ground);
    let open = || Database::Local(Engine::open(&config, Path::new("none")).unwrap());
    let database = open();
    let other = match &ground {
        Ground::Folder(_) => database.clone(),
        Ground::Server(_) => open(),
    };
    House { database, other, _role: JoinSet::new(), _stands_on: ground }
}

/// Starts the role on a free port, guarded by a token.
pub(crate) fn remote(ground: Ground) -> House {
    let secret = Some(Secret::new("house"));
    let config = config(&ground);
    let bound = database::bind(&config, Path::new("none"), &ClusterToken::new(secret.clone())).unwrap();
    let address = bound.address().unwrap().to_string();
    let mut role = JoinSet::new();
    role.spawn(bound.run(Shutdown::new(Duration::from_secs(1))));
    let config = Config { address: Some(address), ..config };
    let database = Database::connect(&config, secret);
    House { other: database.clone(), database, _role: role, _stands_on: ground }
}

fn config(ground: &Ground) -> Config {
    Config {
        listen: "127.0.0.1:0".into(),
        url: ground.url(),
        // A job whose worker died is back at once, so that no test waits for it.
        backoff_base: Duration::from_millis(1),
        backoff_limit: Duration::from_millis(1),
        ..Config::default()
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is no object") };
    object
}

pub(crate) fn put(id: &str, data: Value, precondition: Precondition) -> Operation {
    Operation::Put { collection: "things".into(), id: id.into(), data: object(data), precondition }
}

pub(crate) fn patch(id: &str, patch: Value, precondition: Precondition) -> Operation {
    Operation::Patch { collection: "things".into(), id: id.into(), patch: object(patch), precondition }
}

pub(crate) fn delete(id: &str, precondition: Precondition) -> Operation {
    Operation::Delete { collection: "things".into(), id: id.into(), precondition }
}

pub(crate) fn require(id: &str, precondition: Precondition) -> Operation {
    Operation::Require { collection: "things".into(), id: id.into(), precondition }
}

pub(crate) fn enqueue(queue: &str) -> Operation {
    Operation::Enqueue { job: NewJob::new(queue, "send", json!({"to": "a@b"})) }
}

pub(crate) async fn transact(database: &Database, operations: Vec<Operation>) -> Result<Committed, Error> {
    database.transact(Transaction { namespace: "shop".into(), operations }).await
}

pub(crate) async fn write(database: &Database, operation: Operation) -> Record {
    match transact(database, vec![operation]).await.unwrap().outcomes.remove(0) {
        Outcome::Written { record, .. } => record,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn get(database: &Database, id: &str) -> Option<Record> {
    let query = Query::Get { collection: "things".into(), id: id.into() };
    database.query("shop", &query).await.unwrap().records.pop()
}

pub(crate) async fn add_job(database: &Database, job: NewJob) -> Job {
    let operation = Operation::Enqueue { job };
    match transact(database, vec![operation]).await.unwrap().outcomes.remove(0) {
        Outcome::Enqueued { job } => job,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn claim(database: &Database, queue: &str, lease_ms: u64, wait_ms: u64) -> Option<Job> {
    let claim = JobCommand::Claim { queues: vec![queue.into()], limit: 1, lease_ms, wait_ms };
    database.command(&claim).await.unwrap().pop()
}

pub(crate) async fn succeed(database: &Database, job: &Job) -> Result<Vec<Job>, Error> {
    let (id, lease_token) = (job.id.clone(), job.lease_token);
    database.command(&JobCommand::Succeed { id, lease_token, result: json!({"ok": true}) }).await
}

pub(crate) async fn fail(database: &Database, job: &Job, retry: Retry) -> Result<Vec<Job>, Error> {
    let (id, lease_token) = (job.id.clone(), job.lease_token);
    database.command(&JobCommand::Fail { id, lease_token, error: "no route".into(), retry }).await
}

pub(crate) fn of_queue(queue: &str) -> JobFilter {
    JobFilter { queue: Some(queue.into()), ..JobFilter::default() }
}
