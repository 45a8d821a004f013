//! Services that fail, are silent, or are not there.

use axum::{Router, routing::get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// An address where nobody listens.
fn dead_address() -> String {
    process::listen::Reserved::take().unwrap().until_exit().to_string()
}

fn circuit(report: &Value, service: &str) -> String {
    let services = report["services"].as_array().unwrap();
    let found = services.iter().find(|one| one["service"] == service).unwrap();
    found["breakers"][0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_circuit_opens_on_failures_and_closes_when_the_service_answers_again() {
    let breaker = json!({"consecutive_failures": 3, "open_for": "300ms", "trials": 1});
    let house = House::start(json!({"breaker": breaker})).await;
    for _ in 0..3 {
        assert_eq!(house.get("/catalog/status/503", &[]).await.status, 503);
    }
    let refused = house.get("/catalog/a", &[]).await;
    assert_eq!(problem(&refused), (503, "circuit-open".to_owned()));
    assert_eq!(refused.fields["retry-after"], "1");
    assert_eq!(circuit(&house.report().await, "catalog"), "open");
    assert_eq!(house.send(Method::POST, "/auth/login", &[], "").await.status, 200, "other services go on");
    eventually("the circuit closes", async || house.get("/catalog/a", &[]).await.status == 200).await;
    assert_eq!(circuit(&house.report().await, "catalog"), "closed");
    house.stop().await;
}

/// Sends a tenth of a body and then nothing.
async fn fall_silent(house: &House) -> TcpStream {
    let mut stream = TcpStream::connect(&house.gateway).await.unwrap();
    let part = b"POST /auth/logout HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(part).await.unwrap();
    stream
}

async fn read_status(mut stream: TcpStream) -> String {
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

#[tokio::test]
async fn silent_clients_are_told_so_and_do_not_open_the_circuit() {
    let breaker = json!({"consecutive_failures": 3, "minimum_requests": 4});
    let house = House::start(json!({"timeout": "100ms", "breaker": breaker})).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(fall_silent(&house).await);
    }
    for stream in silent {
        assert_eq!(read_status(stream).await, "408");
    }
    assert_eq!(house.send(Method::POST, "/auth/login", &[], "").await.status, 200);
    assert_eq!(circuit(&house.report().await, "accounts"), "closed");
    house.stop().await;
}

#[tokio::test]
async fn a_silent_client_gives_its_place_among_the_trials_back() {
    let breaker = json!({"consecutive_failures": 2, "open_for": "200ms", "trials": 1});
    let house = House::start(json!({"timeout": "100ms", "breaker": breaker})).await;
    let route = "/auth/logout/status/503";
    for _ in 0..2 {
        assert_eq!(house.send(Method::POST, route, &[], "").await.status, 503);
    }
    eventually("a silent client is the trial", async || {
        read_status(fall_silent(&house).await).await == "408"
    })
    .await;
    assert_eq!(circuit(&house.report().await, "accounts"), "half-open", "neither good nor bad");
    assert_eq!(house.send(Method::POST, "/auth/login", &[], "").await.status, 200);
    assert_eq!(circuit(&house.report().await, "accounts"), "closed");
    house.stop().await;
}

#[tokio::test]
async fn an_answer_of_500_is_no_failure_of_the_circuit() {
    let house = House::start(json!({"breaker": {"consecutive_failures": 2}})).await;
    for _ in 0..5 {
        assert_eq!(house.get("/catalog/status/500", &[]).await.status, 500);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_dead_service_is_a_bad_gateway_and_opens_the_circuit_until_it_lives() {
    let address = dead_address();
    let settings = json!({
        "breaker": {"consecutive_failures": 4, "open_for": "200ms", "trials": 1},
        "probe": {"interval": "50ms"},
    });
    let (tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let issuer = Issuer::new("k1");
    let jwks = issuer.jwks();
    let mut house = House::before(issuer, &address, settings, tasks, shutdown).await;
    let mut kinds = std::collections::BTreeSet::new();
    eventually("the circuit opens", async || {
        let (status, kind) = problem(&house.get("/catalog/a", &[]).await);
        assert!(status == 502 || status == 503, "{status} {kind}");
        kinds.insert(kind.clone());
        kind == "circuit-open"
    })
    .await;
    assert!(kinds.contains("bad-gateway") || kinds.contains("no-backend"), "{kinds:?}");
    let shutdown = house.shutdown.clone();
    serve_at(&address, service_routes(jwks), &mut house.tasks, &shutdown);
    eventually("the circuit closes", async || house.get("/catalog/a", &[]).await.status == 200).await;
    house.stop().await;
}

#[tokio::test]
async fn a_silent_service_is_a_timeout() {
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let routes = Router::new().route("/health", get(|| async { "ok" })).fallback(std::future::pending::<()>);
    let service = start_service(routes, &mut tasks, &shutdown);
    let house =
        House::before(Issuer::new("k1"), &service, json!({"timeout": "100ms"}), tasks, shutdown).await;
    assert_eq!(problem(&house.get("/catalog/a", &[]).await), (504, "timeout".to_owned()));
    house.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_delivered_goes_to_another_instance() {
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let issuer = Issuer::new("k1");
    let service = start_service(service_routes(issuer.jwks()), &mut tasks, &shutdown);
    let services: Services = serde_json::from_value(json!({
        "mine": {"instances": [dead_address(), service]},
    }))
    .unwrap();
    // Probes are slow here, so that requests find out by themselves.
    let config: Config = serde_json::from_value(json!({
        "probe": {"interval": "1h"},
        "routes": [{"path": "/{*rest}", "service": "mine", "public": true}],
    }))
    .unwrap();
    let bound =
        crate::bind(Reload::fixed(Settings { config, services }), "127.0.0.1:0", &ClusterToken::default())
            .unwrap();
    let url = format!("http://{}/a", bound.address().unwrap());
    let stop = shutdown.clone();
    tasks.spawn(async move { bound.run(stop).await.unwrap() });
    let client = HttpClient::with_credential(None, PATIENCE);
    for _ in 0..20 {
        assert_eq!(client.get(&url).await.unwrap().status, 200);
    }
    shutdown.request();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
