//! A house for the tests at the edge: a real database role and a real cache role on port 0, and services.

#![allow(dead_code, unused_macros, reason = "no test program uses all of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cache::Cache;
use database::{Database, Retention, Url};
use http::{HeaderMap, Method, Request, StatusCode, header};
use microservice::{Config, FirstAdmin, Neighbours};
use process::listen::Reserved;
use process::{Bound, ClusterToken, HttpClient, RoleError, Services, Shutdown};
use serde_json::Value;
use system_tests::postgres::{Scratch, Server};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long a test waits for what must come; a machine under load takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the database of a house stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Makes each case a test on SQLite and one on a real PostgreSQL server.
macro_rules! on_both_engines {
    ($($case:ident)*) => {
        on_one_engine! { sqlite Sqlite $($case)* }
        on_one_engine! { postgres Postgres $($case)* }
    };
}

/// Makes each case a test on one engine.
macro_rules! on_one_engine {
    ($name:ident $engine:ident $($case:ident)*) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::house::Engine::$engine).await;
            })*
        }
    };
}

pub(crate) struct House {
    pub(crate) config: Config,
    pub(crate) token: ClusterToken,
    database: database::Config,
    cache: cache::Config,
    /// Whether services have the cache.
    has_cache: bool,
    addresses: BTreeMap<String, String>,
    data: TempDir,
    /// Its schema on the shared server, on PostgreSQL.
    scratch: Option<Scratch>,
    /// Where the database starts, now or later.
    _reserved: Reserved,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) text: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The end of the problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), "application/problem+json", "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], self.status.as_u16());
        document["type"].as_str().unwrap().trim_start_matches("urn:sixfold:problem:").to_owned()
    }

    /// The pointers of the faults, sorted.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let document = self.json();
        let errors = document["errors"].as_array().unwrap_or_else(|| panic!("{document}")).iter();
        let mut pointers: Vec<_> = errors.map(|e| e["pointer"].as_str().unwrap().to_owned()).collect();
        pointers.sort();
        pointers
    }
}

impl House {
    /// Starts a cache and a database with what `change` makes of the defaults.
    pub(crate) async fn start(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let mut house = Self::without_database(engine, change);
        house.start_database().await;
        house
    }

    /// Prepares a house whose database is not there yet.
    pub(crate) fn without_database(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_token(engine, ClusterToken::default(), change)
    }

    /// Prepares a house whose internal ports ask for a token; its database is not there yet.
    pub(crate) fn with_token(engine: Engine, token: ClusterToken, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        config.validate(&Services::default()).unwrap();
        let reserved = Reserved::take().unwrap();
        let scratch = (engine == Engine::Postgres).then(Scratch::create);
        let url = scratch.as_ref().map_or(Url::Sqlite, |scratch| scratch.url().parse().unwrap());
        let any = "127.0.0.1:0".to_owned();
        let mut house = Self {
            config,
            token,
            database: database::Config {
                listen: reserved.address().to_string(),
                url,
                ..database::Config::default()
            },
            cache: cache::Config { listen: any.clone(), resp_listen: any, ..cache::Config::default() },
            has_cache: true,
            addresses: BTreeMap::new(),
            scratch,
            data: tempfile::tempdir().unwrap(),
            _reserved: reserved,
            shutdown: Shutdown::new(Duration::from_secs(5)),
            tasks: JoinSet::new(),
        };
        let cache = cache::bind(&house.cache, &house.token).unwrap();
        let resp = cache.listening.iter().find(|listening| listening.protocol == "resp").unwrap();
        house.cache.resp_listen = resp.address.to_string();
        // A loaded test machine may be slower than a cache that is worth its while.
        house.cache.timeout = Duration::from_millis(500);
        house.run(cache);
        house
    }

    /// Has the database stand on a server with a standby that may be behind for as long as a test takes.
    pub(crate) fn stand_on(&mut self, primary: &Server, standby: &Server) {
        self.database.url = primary.url().parse().unwrap();
        self.database.replicas = vec![standby.url().parse().unwrap()];
        self.database.replica_lag = Duration::from_secs(600);
    }

    /// Has the database keep as few changes as it may, from its start on.
    pub(crate) fn keep_few_changes(&mut self) {
        let every = Duration::from_millis(50);
        self.database.retention = Retention { most_changes: 1000, every, ..Retention::default() };
    }

    pub(crate) async fn start_database(&mut self) {
        let database = database::bind(&self.database, self.data.path(), &self.token).unwrap();
        self.run(database);
    }

    fn run(&mut self, role: Bound) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { role.run(shutdown).await.unwrap() });
    }

    /// Gives where its database lies, on PostgreSQL.
    pub(crate) fn postgres_url(&self) -> String {
        self.scratch.as_ref().unwrap().url()
    }

    /// Runs SQL past the database role, for what it would not write itself.
    pub(crate) async fn run_sql(&self, sql: &str) {
        match &self.scratch {
            None => {
                let file = self.data.path().join("sixfold.db");
                assert!(file.exists(), "{}", file.display());
                let connection = rusqlite::Connection::open(file).unwrap();
                connection.busy_timeout(PATIENCE).unwrap();
                connection.execute_batch(sql).unwrap();
            }
            Some(scratch) => {
                let (client, connection) =
                    tokio_postgres::connect(&scratch.url(), tokio_postgres::NoTls).await.unwrap();
                tokio::select! {
                    done = client.batch_execute(sql) => done.unwrap(),
                    ended = connection => panic!("{ended:?}"),
                }
            }
        }
    }

    /// Gives a handle with which a test acts as somebody else who writes the same records.
    pub(crate) fn database(&self) -> Database {
        Database::connect(&self.database, self.token.secret().cloned())
    }

    /// Gives a handle on the cache, like another instance's.
    pub(crate) fn cache(&self) -> Cache {
        match self.has_cache {
            true => Cache::connect(&self.cache, &self.token),
            false => Cache::disabled(),
        }
    }

    /// Has services that start from now on do without a cache.
    pub(crate) fn take_cache_away(&mut self) {
        self.has_cache = false;
    }

    /// Has an instance that was started be called by another name, so that a second can be started beside it.
    pub(crate) fn rename_instance(&mut self, name: &str, other: &str) {
        let address = self.addresses.remove(name).unwrap();
        self.addresses.insert(other.to_owned(), address);
    }

    /// Starts a service under a name of its own beside the others, and waits until it is ready.
    pub(crate) async fn start_service(&mut self, name: &str) -> Option<FirstAdmin> {
        let first_admin = self.bind_service(name);
        self.until_ready(name).await;
        first_admin.await.ok()
    }

    /// Starts a service and does not wait.
    pub(crate) fn bind_service(&mut self, name: &str) -> oneshot::Receiver<FirstAdmin> {
        let (teller, told) = oneshot::channel();
        let bound = self.bind(name, teller).unwrap();
        assert_eq!(bound.name, format!("service {name}"));
        self.addresses.insert(name.to_owned(), bound.address().unwrap().to_string());
        self.run(bound);
        told
    }

    /// Gives why a service does not start.
    pub(crate) fn why_not(&self, name: &str) -> String {
        self.bind(name, oneshot::channel().0).unwrap_err().to_string()
    }

    fn bind(&self, name: &str, teller: oneshot::Sender<FirstAdmin>) -> Result<Bound, RoleError> {
        let neighbours = Neighbours {
            services: &Services::default(),
            database: Database::connect(&self.database, self.token.namespace_credential(name)),
            cache: self.cache(),
            token: &self.token,
        };
        microservice::bind(name, Some("127.0.0.1:0"), &self.config, neighbours, Some(teller))
    }

    pub(crate) async fn until_ready(&self, name: &str) {
        let ready = async {
            while self.send(name, Method::GET, "/health", &[], "").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
    }

    /// Repeats a GET until its answer is as it must become.
    pub(crate) async fn get_until(&self, name: &str, path: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
        let found = async {
            loop {
                let answer = self.get(name, path).await;
                if is_so(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    /// Gives where a service listens.
    pub(crate) fn address(&self, name: &str) -> &str {
        &self.addresses[name]
    }

    pub(crate) async fn get(&self, name: &str, path: &str) -> Answer {
        self.send(name, Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, name: &str, path: &str, body: &Value) -> Answer {
        self.send(name, Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// Sends a request as it is given.
    pub(crate) async fn send(
        &self,
        name: &str,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let client = HttpClient::with_credential(None, PATIENCE);
        let url = format!("http://{}{path}", self.addresses[name]);
        let mut request = Request::builder().method(method).uri(&url);
        for (field, value) in fields {
            request = request.header(*field, *value);
        }
        if body.is_empty() {
            request = request.header(header::ACCEPT, "*/*");
        }
        let sent = client.send(&url, request, Bytes::from(body.to_owned()), PATIENCE);
        let answer = sent.await.unwrap();
        assert!(answer.fields.contains_key("x-request-id"), "every answer names its request");
        Answer { status: answer.status, fields: answer.fields, text: answer.body }
    }

    /// Stops every role and waits for each.
    pub(crate) async fn stop(mut self) {
        self.shutdown.request();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}
