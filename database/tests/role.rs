//! The role over HTTP: who may do what, what is refused and how, and what a stop leaves behind.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use database::{Config, Database, Error, JobCommand, NewJob, Operation, Precondition, Query, Transaction};
use http::{Method, Request};
use process::client::Answer;
use process::{ClusterToken, HttpClient, RoleError, Secret, Shutdown};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

struct Role {
    base: String,
    config: Config,
    token: ClusterToken,
    shutdown: Shutdown,
    running: JoinSet<Result<(), RoleError>>,
}

fn start(data: &Path) -> Role {
    let token = ClusterToken::new(Some(Secret::new("house")));
    let config = Config { listen: "127.0.0.1:0".into(), body_limit: 64 << 10, ..Config::default() };
    let bound = database::bind(&config, data, &token).unwrap();
    let address = bound.address().unwrap().to_string();
    let shutdown = Shutdown::new(Duration::from_secs(10));
    let mut running = JoinSet::new();
    running.spawn(bound.run(shutdown.clone()));
    let config = Config { address: Some(address.clone()), ..config };
    Role { base: format!("http://{address}"), config, token, shutdown, running }
}

impl Role {
    fn database(&self, credential: Option<Secret>) -> Database {
        Database::connect(&self.config, credential)
    }

    async fn send(&self, method: Method, path: &str, media_type: &str, body: &str) -> Answer {
        let url = format!("{}{path}", self.base);
        let client = HttpClient::new(&self.token, Duration::from_secs(5));
        let request = Request::builder().method(method).uri(&url).header("content-type", media_type);
        client.send(&url, request, Bytes::from(body.to_owned()), Duration::from_secs(5)).await.unwrap()
    }

    async fn stop(mut self) {
        self.shutdown.request();
        self.running.join_next().await.unwrap().unwrap().unwrap();
    }
}

fn put(namespace: &str, id: &str) -> Transaction {
    let (collection, id, precondition) = ("things".into(), id.into(), Precondition::None);
    let put = Operation::Put { collection, id, data: Map::new(), precondition };
    Transaction { namespace: namespace.into(), operations: vec![put] }
}

fn list() -> Query {
    Query::List { collection: "things".into(), after: None, limit: 10 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_s_credential_opens_its_own_records_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    let orders = role.database(role.token.namespace_credential("orders"));
    orders.transact(put("orders", "a")).await.unwrap();
    assert_eq!(orders.query("orders", &list()).await.unwrap().records.len(), 1);
    assert_eq!(orders.changes(Some("orders"), 0, 10, Duration::ZERO).await.unwrap().len(), 1);
    assert_eq!(orders.transact(put("catalog", "a")).await, Err(Error::Forbidden));
    assert_eq!(orders.query("catalog", &list()).await, Err(Error::Forbidden));
    assert_eq!(orders.changes(Some("catalog"), 0, 10, Duration::ZERO).await, Err(Error::Forbidden));
    assert_eq!(orders.changes(None, 0, 10, Duration::ZERO).await, Err(Error::Forbidden));
    let claim = JobCommand::Claim { queues: vec!["mail".into()], limit: 1, lease_ms: 1, wait_ms: 0 };
    assert_eq!(orders.command(&claim).await, Err(Error::Forbidden));
    assert_eq!(orders.job("a").await, Err(Error::Forbidden));
    assert_eq!(orders.queues().await, Err(Error::Forbidden));
    let nobody = role.database(None);
    assert_eq!(nobody.query("orders", &list()).await, Err(Error::Forbidden));
    let stranger = role.database(Some(Secret::new("guess")));
    assert_eq!(stranger.query("orders", &list()).await, Err(Error::Forbidden));
    role.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_a_problem_document() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    let large = format!("\"{}\"", "x".repeat(70 << 10));
    let cases = [
        (Method::POST, "/v1/transact", "application/json", "{", 400, "malformed-request"),
        (Method::POST, "/v1/transact", "application/json", r#"{"namespace":1}"#, 400, "malformed-request"),
        (Method::POST, "/v1/transact", "text/plain", "{}", 415, "unsupported-media-type"),
        (Method::POST, "/v1/transact", "application/json", &large, 413, "body-too-large"),
        (Method::POST, "/v1/query", "application/json", "{}", 400, "malformed-request"),
        (Method::GET, "/v1/changes?after=x", "", "", 400, "malformed-request"),
        (Method::GET, "/v1/transact", "", "", 405, "method-not-allowed"),
        (Method::GET, "/v2", "", "", 404, "not-found"),
    ];
    for (method, path, media_type, body, status, kind) in cases {
        let answer = role.send(method, path, media_type, body).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.fields["content-type"], "application/problem+json", "{path}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["type"], format!("urn:sixfold:problem:{kind}"), "{path}");
    }
    let refused = role.send(Method::POST, "/v1/jobs/get", "application/json", "\"none\"").await;
    assert_eq!(
        (refused.status.as_u16(), &refused.fields["content-type"]),
        (404, &"application/problem+json".parse().unwrap())
    );
    let error: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((&error["error"], &error["what"]), (&json!("not_found"), &json!("job none")));
    let problem = (&error["type"], &error["status"]);
    assert_eq!(problem, (&json!("urn:sixfold:problem:not-found"), &json!(404)));
    assert!(error["title"].is_string(), "{error}");
    let read = role.database(Some(Secret::new("house"))).job("none").await;
    assert_eq!(read, Err(Error::NotFound { what: "job none".into() }), "the handle reads it too");
    role.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_a_coding_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    for path in ["/v1/transact", "/v1/query?namespace=orders", "/v1/jobs/command", "/v1/backup"] {
        let url = format!("{}{path}", role.base);
        let client = HttpClient::new(&role.token, Duration::from_secs(5));
        let request = Request::builder().method(Method::POST).uri(&url);
        let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
        let body = serde_json::to_vec(&put("orders", "a")).unwrap();
        let answer = client.send(&url, request, Bytes::from(body), Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer.status, 415, "{path}");
        assert_eq!(answer.fields["accept-encoding"], "identity");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["type"], "urn:sixfold:problem:unsupported-coding");
    }
    let database = role.database(Some(Secret::new("house")));
    assert_eq!(database.query("orders", &list()).await.unwrap().records, []);
    role.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_waits_at_once_and_what_was_acknowledged_is_there_afterwards() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    let database = role.database(Some(Secret::new("house")));
    database.transact(put("orders", "a")).await.unwrap();
    let claim = JobCommand::Claim { queues: vec!["mail".into()], limit: 1, lease_ms: 1, wait_ms: 20_000 };
    let mut waiting = JoinSet::new();
    let waiter = database.clone();
    waiting.spawn(async move { waiter.command(&claim).await });
    // The claim is on its way; whether it arrived before the stop or not, the stop must not wait for it.
    let mut ready = role.database(Some(Secret::new("house"))).queues().await;
    while ready.is_err() {
        ready = database.queues().await;
    }
    let started = std::time::Instant::now();
    let base = role.base.clone();
    role.stop().await;
    assert!(started.elapsed() < Duration::from_secs(9), "the stop waited for a long poll");
    drop(waiting);
    assert!(!data.path().join("sixfold.db-wal").exists(), "the log was written back");

    let role = start(data.path());
    assert_ne!(role.base, base);
    let database = role.database(Some(Secret::new("house")));
    assert_eq!(database.query("orders", &list()).await.unwrap().records.len(), 1);
    role.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_one_clear_line() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    let config = Config { listen: "127.0.0.1:0".into(), ..Config::default() };
    let error = database::bind(&config, data.path(), &role.token).err().unwrap().to_string();
    assert!(error.contains("is in use by another process") && !error.contains('\n'), "{error}");
    role.stop().await;
    drop(database::bind(&config, data.path(), &ClusterToken::default()).unwrap());
    drop(database::bind(&config, data.path(), &ClusterToken::default()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_carries_the_trace_of_who_enqueued_it() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    let database = role.database(Some(Secret::new("house")));
    let trace = process::TraceContext::start(&mut rand::rng());
    let job = process::trace::within(trace, async { NewJob::new("mail", "send", json!({})) }).await;
    let operations = vec![Operation::Enqueue { job }];
    database.transact(Transaction { namespace: "orders".into(), operations }).await.unwrap();
    let claim = JobCommand::Claim { queues: vec!["mail".into()], limit: 1, lease_ms: 1000, wait_ms: 0 };
    let traceparent = database.command(&claim).await.unwrap()[0].traceparent.clone().unwrap();
    assert!(traceparent.contains(&trace.trace_id()), "{traceparent}");
    role.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_unauthenticated_and_another_namespace_s_credential_is_forbidden() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    let orders = role.token.namespace_credential("orders").unwrap();
    for (secret, status) in [("guess", 401), (orders.expose(), 403)] {
        let url = format!("{}/v1/changes?namespace=catalog", role.base);
        let client = HttpClient::with_credential(Some(Secret::new(secret)), Duration::from_secs(5));
        let answer = client.get(&url).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.fields.contains_key("www-authenticate"), status == 401);
        assert_eq!(answer.fields["content-type"], "application/problem+json");
    }
    role.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_here_is_not_the_requests_fault() {
    let data = tempfile::tempdir().unwrap();
    let role = start(data.path());
    let copy = async |file: &Path| {
        let body = json!({"file": file}).to_string();
        let answer = role.send(Method::POST, "/v1/backup", "application/json", &body).await;
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    };
    let (status, told) = copy(&data.path().join("sixfold.db")).await;
    assert_eq!(status, 422, "what is there is not replaced: {told}");
    let (status, told) = copy(&data.path().join("missing/copy.db")).await;
    assert!(status == 422 && told.contains("there is no folder"), "{told}");
    // Nobody can write there.
    let (status, told) = copy(Path::new("/proc/copy.db")).await;
    assert!(status == 500 && !told.contains("/proc"), "{status}: {told}");
    role.stop().await;
}
