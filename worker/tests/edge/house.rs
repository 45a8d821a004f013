//! A database role and workers on ports of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use database::{Database, Remote};
use http::{Method, Request};
use process::client::Answer;
use process::{Bound, ClusterToken, HttpClient, Shutdown};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use worker::{Config, Kind, Kinds};

/// How long a test's request may take.
const DEADLINE: Duration = Duration::from_secs(40);

/// How long a stopping role of a test has.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// A database role, and the tasks of every role the test starts.
pub(crate) struct House {
    pub(crate) database: Database,
    pub(crate) database_address: SocketAddr,
    roles: JoinSet<()>,
    shutdown: Shutdown,
    _data: TempDir,
}

/// A running worker and a client of its API.
pub(crate) struct Worker {
    pub(crate) base: String,
    client: HttpClient,
    shutdown: Shutdown,
}

/// A worker's configuration on a free port, with leases that lapse within a test's patience.
pub(crate) fn quick() -> Config {
    Config { listen: "127.0.0.1:0".into(), lease: Duration::from_millis(600), ..Config::default() }
}

/// A client of a database role, without a token.
pub(crate) fn database_at(address: SocketAddr) -> Database {
    Database::Remote(Remote::new(&address.to_string(), None))
}

impl House {
    pub(crate) async fn start() -> Self {
        let data = TempDir::new().unwrap();
        let config = database::Config {
            listen: "127.0.0.1:0".into(),
            backoff_base: Duration::from_millis(1),
            ..database::Config::default()
        };
        let bound = database::bind(&config, data.path(), &ClusterToken::default()).unwrap();
        let database_address = bound.address().unwrap();
        let mut house = Self {
            database: database_at(database_address),
            database_address,
            roles: JoinSet::new(),
            shutdown: Shutdown::new(GRACE),
            _data: data,
        };
        let shutdown = house.shutdown.clone();
        house.spawn(bound, shutdown);
        house
    }

    /// Starts any role beside the database.
    pub(crate) fn spawn(&mut self, bound: Bound, shutdown: Shutdown) {
        self.roles.spawn(async move { bound.run(shutdown).await.unwrap() });
    }

    /// Starts a worker that runs one kind.
    pub(crate) fn worker(&mut self, config: &Config, kind: Arc<dyn Kind>) -> Worker {
        let database = self.database.clone();
        self.worker_with(config, kind, database)
    }

    /// Starts a worker that runs one kind and reaches the database its own way.
    pub(crate) fn worker_with(&mut self, config: &Config, kind: Arc<dyn Kind>, database: Database) -> Worker {
        let token = ClusterToken::default();
        let bound = worker::bind_with_kinds(config, Kinds::new(vec![kind]), database, &token).unwrap();
        self.run_worker(bound)
    }

    /// Runs a bound worker.
    pub(crate) fn run_worker(&mut self, bound: Bound) -> Worker {
        let base = format!("http://{}", bound.address().unwrap());
        let shutdown = Shutdown::new(GRACE);
        self.spawn(bound, shutdown.clone());
        Worker { base, client: HttpClient::with_credential(None, DEADLINE), shutdown }
    }

    /// Waits until a role has ended.
    pub(crate) async fn role_ended(&mut self) {
        self.roles.join_next().await.unwrap().unwrap();
    }
}

impl Worker {
    /// Requests the worker's end.
    pub(crate) fn stop(&self) {
        self.shutdown.request();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.client.get(&format!("{}{path}", self.base)).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.client.send_json(Method::POST, &format!("{}{path}", self.base), body).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let url = format!("{}{path}", self.base);
        let request =
            fields.iter().fold(Request::builder().method(method).uri(&url), |request, (name, value)| {
                request.header(*name, *value)
            });
        self.client.send(&url, request, body.to_owned().into(), DEADLINE).await.unwrap()
    }

    /// Enqueues a job; gives it as answered.
    pub(crate) async fn enqueue(&self, queue: &str, job: &Value) -> Value {
        let answer = self.post(&format!("/queues/{queue}/jobs"), job).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        json_of(&answer)
    }

    /// Enqueues a probe that does as told; gives its ID.
    pub(crate) async fn probe(&self, what: &str) -> String {
        id_of(&self.enqueue("default", &json!({"kind": "probe", "payload": {"do": what}})).await)
    }

    /// Waits until a job is final; gives it.
    pub(crate) async fn final_job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/jobs/{id}?wait=20s")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        json_of(&answer)
    }

    /// Gives a job as it is now.
    pub(crate) async fn job(&self, id: &str) -> Value {
        json_of(&self.get(&format!("/jobs/{id}")).await)
    }
}

/// Repeats a look until it finds what it looks for.
pub(crate) async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let ends = tokio::time::Instant::now() + DEADLINE;
    while !look().await {
        assert!(tokio::time::Instant::now() < ends, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("not JSON: {answer:?}"))
}

pub(crate) fn id_of(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}
