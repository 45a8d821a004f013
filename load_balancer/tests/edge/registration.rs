//! Backends that register themselves, and what is set for backends at run time.

use std::pin::pin;
use std::time::Duration;

use load_balancer::Config;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Backend, Running, config, start};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn path(backend: &Backend) -> String {
    format!("/v1/backends/{}", backend.address)
}

async fn register(balancer: &Running, backend: &Backend, body: Value) -> u16 {
    balancer.administer("PUT", &path(backend), &body.to_string()).await.0
}

async fn set(balancer: &Running, backend: &Backend, body: Value) -> Value {
    let (status, answer) = balancer.administer("PATCH", &path(backend), &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Config without a backend, where leases may be short.
fn empty() -> Config {
    let mut config = config(&[]);
    config.registration.shortest_lease = Duration::from_millis(1);
    config
}

#[tokio::test]
async fn who_registers_gets_traffic_and_who_leaves_gets_none() {
    let backend = Backend::answering(OK).await;
    let balancer = start(&empty());
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend");
    assert_eq!(register(&balancer, &backend, json!({"lease": "1m", "weight": 0.5})).await, 201);
    assert_eq!(balancer.exchange(GET).await.status(), 200, "from the answer on");
    assert_eq!(register(&balancer, &backend, json!({"lease": "1m", "weight": 0.5})).await, 200);
    let (_, view) = balancer.administer("GET", &path(&backend), "").await;
    assert_eq!((&view["sources"], &view["weight"]), (&json!(["registered"]), &json!(0.5)));
    assert!(view["lease_left_ms"].as_u64().unwrap() > 50_000);
    assert_eq!(balancer.administer("DELETE", &path(&backend), "").await.0, 204);
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend");
    assert_eq!(balancer.administer("DELETE", &path(&backend), "").await.0, 404);
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_lease_that_runs_out_takes_the_backend_out() {
    let (short, long) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let balancer = start(&empty());
    register(&balancer, &short, json!({"lease": "30ms"})).await;
    register(&balancer, &long, json!({"lease": "5m"})).await;
    balancer.wait_until(|backends| backends.len() == 1).await;
    assert_eq!(balancer.report().await[0].address, long.address.to_string());
    let before = short.count();
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!(short.count(), before);
}

#[tokio::test]
async fn a_configured_backend_that_registers_and_leaves_waits_for_its_return() {
    let (one, other) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let balancer = start(&config(&[one.address, other.address]));
    assert_eq!(balancer.administer("DELETE", &path(&one), "").await.0, 409, "it never registered");
    assert_eq!(register(&balancer, &one, json!({})).await, 201);
    assert_eq!(balancer.administer("DELETE", &path(&one), "").await.0, 204);
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!(one.count(), 0);
    assert_eq!(register(&balancer, &one, json!({})).await, 201);
    while one.count() == 0 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
}

#[tokio::test]
async fn of_leaving_and_a_drain_by_hand_the_later_word_holds() {
    let backend = Backend::answering(OK).await;
    let balancer = start(&config(&[backend.address]));
    register(&balancer, &backend, json!({})).await;
    set(&balancer, &backend, json!({"drain": false})).await;
    assert_eq!(balancer.administer("DELETE", &path(&backend), "").await.0, 204);
    let (_, view) = balancer.administer("GET", &path(&backend), "").await;
    assert_eq!(
        (&view["has_left"], &view["state"]),
        (&json!(true), &json!("draining")),
        "what was set before is over"
    );
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend");
    let view = set(&balancer, &backend, json!({"drain": false})).await;
    assert_eq!((&view["has_left"], &view["set"]), (&json!(true), &json!({"drain": false})));
    assert_eq!(balancer.exchange(GET).await.status(), 200);
    set(&balancer, &backend, json!({"drain": null})).await;
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend", "the word is given back to who left");
    register(&balancer, &backend, json!({})).await;
    let (_, view) = balancer.administer("GET", &path(&backend), "").await;
    assert_eq!(view["has_left"], Value::Null);
    assert_eq!(balancer.exchange(GET).await.status(), 200);
}

#[tokio::test]
async fn draining_ends_what_is_in_flight_and_sends_nothing_new() {
    let (slow, held) = Backend::holding("GET /slow ", OK).await;
    let balancer = start(&config(&[slow.address]));
    let mut busy = balancer.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    held.arrived.notified().await;
    let view = set(&balancer, &slow, json!({"drain": true})).await;
    assert_eq!(view["set"], json!({"drain": true}));
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend");
    held.goes_on.notify_one();
    assert_eq!(busy.read_response(false).await.body, "ok");
    set(&balancer, &slow, json!({"drain": null})).await;
    assert_eq!(balancer.exchange(GET).await.status(), 200);
}

#[tokio::test]
async fn a_weight_is_set_over_what_the_backend_says_and_given_back() {
    let backend = Backend::answering(OK).await;
    let balancer = start(&empty());
    register(&balancer, &backend, json!({"weight": 2.0})).await;
    assert_eq!(set(&balancer, &backend, json!({"weight": 0.25})).await["weight"], 0.25);
    register(&balancer, &backend, json!({"weight": 3.0})).await;
    assert_eq!(balancer.report().await[0].weight, 0.25, "a renewal does not undo it");
    let view = set(&balancer, &backend, json!({"weight": null})).await;
    assert_eq!((&view["weight"], &view["set"]), (&json!(3.0), &json!({})));
}

#[tokio::test]
async fn what_was_set_and_who_registered_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (fixed, own) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let mut config = config(&[fixed.address]);
    config.state = Some(folder.path().join("balancer.json"));
    let balancer = start(&config);
    register(&balancer, &own, json!({"lease": "1m", "weight": 0.01})).await;
    set(&balancer, &fixed, json!({"drain": true})).await;
    // No orderly end: what was answered is on the disk.
    let saved: Value =
        serde_json::from_slice(&std::fs::read(config.state.as_ref().unwrap()).unwrap()).unwrap();
    assert_eq!(saved["overrides"][fixed.address.to_string()], json!({"drain": true}));
    balancer.shutdown.request();
    balancer.ended().await.unwrap();
    let balancer = start(&config);
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!((fixed.count(), own.count()), (0, 20));
    let (_, view) = balancer.administer("GET", &path(&own), "").await;
    assert_eq!(view["weight"], 0.01);
    assert!(view["lease_left_ms"].as_u64().unwrap() > 50_000, "it has a whole lease to renew");
}

#[tokio::test]
async fn that_a_configured_backend_left_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (gone, other) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let mut config = config(&[gone.address, other.address]);
    config.state = Some(folder.path().join("balancer.json"));
    let balancer = start(&config);
    register(&balancer, &gone, json!({})).await;
    assert_eq!(balancer.administer("DELETE", &path(&gone), "").await.0, 204);
    balancer.shutdown.request();
    balancer.ended().await.unwrap();
    let balancer = start(&config);
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!((gone.count(), other.count()), (0, 20));
    assert_eq!(register(&balancer, &gone, json!({})).await, 201);
    balancer.shutdown.request();
    balancer.ended().await.unwrap();
    let saved = std::fs::read_to_string(config.state.unwrap()).unwrap();
    assert!(!saved.contains("left"), "who came back has not left: {saved}");
}

#[tokio::test]
async fn what_is_set_while_the_balancer_starts_is_saved_too() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.state = Some(folder.path().join("balancer.json"));
    let bound = load_balancer::bind(process::Reload::fixed(config.clone())).unwrap();
    let admin = bound.admin.clone();
    let ask = |method: &str, path: &str, body: &'static str| {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json");
        admin.clone().oneshot(request.body(axum::body::Body::from(body)).unwrap())
    };
    let mut setting = pin!(ask("PATCH", &path(&backend), r#"{"drain": true}"#));
    let is_set = async {
        loop {
            let shown = ask("GET", "/v1/backends", "").await.unwrap().into_body();
            let shown = axum::body::to_bytes(shown, 1 << 20).await.unwrap();
            if shown.windows(9).any(|window| window == b"\"draining") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        response = setting.as_mut() => panic!("nothing writes yet: {response:?}"),
        () = is_set => {}
    }
    let _running = Running::of(bound, process::Shutdown::new(Duration::from_secs(5)));
    assert_eq!(setting.await.unwrap().status(), 200);
    assert!(std::fs::read_to_string(config.state.unwrap()).unwrap().contains("drain"));
}

#[tokio::test]
async fn a_state_file_that_cannot_be_written_is_not_called_saved() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.state = Some(folder.path().join("there/balancer.json"));
    std::fs::create_dir(folder.path().join("there")).unwrap();
    let balancer = start(&config);
    std::fs::remove_dir(folder.path().join("there")).unwrap();
    let (status, problem) = balancer.administer("PATCH", &path(&backend), r#"{"drain": true}"#).await;
    assert_eq!((status, &problem["type"]), (500, &json!("urn:sixfold:problem:internal")));
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend", "it holds all the same");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_problem() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[]);
    config.registration.limit = 1;
    let balancer = start(&config);
    assert_eq!(register(&balancer, &backend, json!({})).await, 201);
    let known = path(&backend);
    let long = format!("{{\"lease\": \"{}\"}}", "1".repeat(5000));
    for (method, path, body, status, kind) in [
        ("PUT", "/v1/backends/0.0.0.0:80", "{}", 400, "malformed-request"),
        ("PUT", "/v1/backends/127.0.0.1:0", "{}", 400, "malformed-request"),
        ("PUT", "/v1/backends/nowhere", "{}", 400, "malformed-request"),
        ("PUT", "/v1/backends/%ff:80", "{}", 400, "malformed-request"),
        ("DELETE", "/v1/backends/%ff:80", "", 400, "malformed-request"),
        ("PUT", "/v1/backends/127.0.0.1:1", "{}", 409, "conflict"),
        ("PUT", &known, "{", 400, "malformed-request"),
        ("PUT", &known, "[]", 422, "invalid-body"),
        ("PUT", &known, r#"{"lease": 5}"#, 422, "invalid-body"),
        ("PUT", &known, r#"{"lease": "1ms"}"#, 422, "invalid-body"),
        ("PUT", &known, r#"{"lease": "7d"}"#, 422, "invalid-body"),
        ("PUT", &known, r#"{"weight": 0}"#, 422, "invalid-body"),
        ("PUT", &known, r#"{"wieght": 1}"#, 422, "invalid-body"),
        ("PUT", &known, &long, 413, "body-too-large"),
        ("PATCH", &known, r#"{"weight": -1}"#, 422, "invalid-body"),
        ("PATCH", &known, r#"{"drain": "yes"}"#, 422, "invalid-body"),
        ("PATCH", "/v1/backends/127.0.0.1:1", r#"{"drain": true}"#, 404, "not-found"),
        ("GET", "/v1/backends/127.0.0.1:1", "", 404, "not-found"),
        ("DELETE", "/v1/backends/127.0.0.1:1", "", 404, "not-found"),
    ] {
        let (answered, problem) = balancer.administer(method, path, body).await;
        let expected = json!(format!("urn:sixfold:problem:{kind}"));
        assert_eq!((answered, &problem["type"]), (status, &expected), "{method} {path} {body}: {problem}");
    }
}
