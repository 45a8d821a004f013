//! Backends found by DNS: names, services, changes, failures.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use load_balancer::Config;
use serde_json::json;

use crate::name_server::NameServer;
use crate::support::{Backend, PATIENCE, Running, config, start};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A config over entries of DNS, which asks again every few milliseconds.
fn config_over(server: &NameServer, backends: &[String]) -> Config {
    let mut config = config(&[]);
    config.backends = backends.iter().map(|entry| entry.as_str().into()).collect();
    config.health.path = String::new();
    config.discovery.nameserver = server.address.to_string();
    config.discovery.timeout = Duration::from_millis(100);
    config.discovery.shortest_ttl = Duration::from_millis(10);
    config.discovery.longest_ttl = Duration::from_millis(50);
    config.discovery.empty_grace = Duration::from_millis(100);
    config
}

/// Two backends at one port of two addresses, so that a name can stand for both.
async fn two_at_one_port() -> (Backend, Backend) {
    let one = Backend::answering(OK).await;
    let other = Backend::answering_at((Ipv4Addr::new(127, 0, 0, 2), one.address.port()).into(), OK).await;
    (one, other)
}

fn names(running: &[load_balancer::BackendReport]) -> Vec<String> {
    running.iter().map(|backend| backend.address.clone()).collect()
}

async fn answers(balancer: &Running) {
    let waiting = async {
        while balancer.exchange(GET).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("a backend is found");
}

#[tokio::test]
async fn every_address_of_a_name_is_a_backend_and_a_new_one_gets_traffic() {
    let (one, other) = two_at_one_port().await;
    let server = NameServer::start().await;
    server.set("gateways.internal", 0, &[LOOPBACK]);
    let port = one.address.port();
    let balancer = start(&config_over(&server, &[format!("dns://gateways.internal:{port}")]));
    answers(&balancer).await;
    assert_eq!(names(&balancer.report().await), [one.address.to_string()]);
    server.set("gateways.internal", 0, &[Ipv4Addr::new(127, 0, 0, 2), LOOPBACK]);
    balancer.wait_until(|backends| backends.len() == 2).await;
    while other.count() == 0 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    server.set("gateways.internal", 0, &[Ipv4Addr::new(127, 0, 0, 2)]);
    balancer.wait_until(|backends| names(backends) == [other.address.to_string()]).await;
    let before = one.count();
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!(one.count(), before, "what DNS no longer names gets nothing");
}

#[tokio::test]
async fn a_time_to_live_is_waited_out_before_a_name_is_asked_for_again() {
    let server = NameServer::start().await;
    server.set("gateways.internal", 3600, &[LOOPBACK]);
    let mut config = config_over(&server, &["dns://gateways.internal:9".to_owned()]);
    config.discovery.longest_ttl = Duration::from_secs(3600);
    let balancer = start(&config);
    balancer.wait_until(|backends| backends.len() == 1).await;
    let asked = server.asked();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.asked(), asked, "A and AAAA once each");
}

#[tokio::test]
async fn a_resolver_that_fails_takes_no_backend_away() {
    let backend = Backend::answering(OK).await;
    let server = NameServer::start().await;
    server.set("gateways.internal", 0, &[LOOPBACK]);
    let entry = format!("dns://gateways.internal:{}", backend.address.port());
    let balancer = start(&config_over(&server, &[entry]));
    answers(&balancer).await;
    for fault in [ResponseCode::ServFail, ResponseCode::Refused] {
        server.fail(Some(fault));
        let asked = server.asked();
        while server.asked() < asked + 12 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(balancer.exchange(GET).await.status(), 200, "{fault}");
    }
    server.fail(None);
    server.fall_silent();
    let asked = server.asked();
    while server.asked() < asked + 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(balancer.exchange(GET).await.status(), 200);
}

#[tokio::test]
async fn a_name_without_addresses_keeps_its_backends_for_the_grace_only() {
    let backend = Backend::answering(OK).await;
    let server = NameServer::start().await;
    server.set("gateways.internal", 0, &[LOOPBACK]);
    let entry = format!("dns://gateways.internal:{}", backend.address.port());
    let mut config = config_over(&server, std::slice::from_ref(&entry));
    config.discovery.empty_grace = Duration::from_secs(3600);
    let keeping = start(&config);
    config.discovery.empty_grace = Duration::from_millis(50);
    let forgetting = start(&config);
    answers(&keeping).await;
    answers(&forgetting).await;
    server.set("gateways.internal", 0, &[]);
    forgetting.wait_until(|backends| backends.is_empty()).await;
    assert_eq!(forgetting.exchange(GET).await.problem(), "no-backend");
    assert_eq!(keeping.exchange(GET).await.status(), 200);
    server.set("gateways.internal", 0, &[LOOPBACK]);
    answers(&forgetting).await;
}

#[tokio::test]
async fn a_name_that_stands_for_no_backend_is_shown_beside_the_backends() {
    let server = NameServer::start().await;
    server.set("gateways.internal", 0, &[LOOPBACK]);
    let entries = ["dns://gatewasy.internal:9".to_owned(), "dns://gateways.internal:9".to_owned()];
    let balancer = start(&config_over(&server, &entries));
    balancer.wait_until(|backends| backends.len() == 1).await;
    let (_, shown) = balancer.administer("GET", "/v1/backends", "").await;
    let expected = json!([{"source": entries[0], "backends": 0}, {"source": entries[1], "backends": 1}]);
    assert_eq!(shown["names"], expected);
}

#[tokio::test]
async fn that_a_backend_of_a_name_left_outlives_a_restart_while_dns_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::answering(OK).await;
    let server = NameServer::start().await;
    server.set("gateways.internal", 0, &[LOOPBACK]);
    let mut config = config_over(&server, &[format!("dns://gateways.internal:{}", backend.address.port())]);
    config.state = Some(folder.path().join("balancer.json"));
    let balancer = start(&config);
    answers(&balancer).await;
    let path = format!("/v1/backends/{}", backend.address);
    assert_eq!(balancer.administer("PUT", &path, "{}").await.0, 201);
    assert_eq!(balancer.administer("DELETE", &path, "").await.0, 204);
    balancer.shutdown.request();
    balancer.ended().await.unwrap();
    server.fail(Some(ResponseCode::ServFail));
    let balancer = start(&config);
    let asked = server.asked();
    while server.asked() < asked + 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.fail(None);
    balancer.wait_until(|backends| backends.len() == 1).await;
    let (_, view) = balancer.administer("GET", &path, "").await;
    assert_eq!((&view["has_left"], &view["state"]), (&json!(true), &json!("draining")));
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend");
    server.set("gateways.internal", 0, &[Ipv4Addr::new(127, 0, 0, 2)]);
    balancer.wait_until(|backends| names(backends) != [backend.address.to_string()]).await;
    server.set("gateways.internal", 0, &[LOOPBACK]);
    balancer.wait_until(|backends| names(backends) == [backend.address.to_string()]).await;
    assert_eq!(balancer.exchange(GET).await.status(), 200, "a name that dropped it once names it anew");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let server = NameServer::start().await;
    server.truncate();
    let many: Vec<Ipv4Addr> = (1..=100).map(|last| Ipv4Addr::new(127, 0, 1, last)).collect();
    server.set("gateways.internal", 0, &many);
    let balancer = start(&config_over(&server, &["dns://gateways.internal:9".to_owned()]));
    balancer.wait_until(|backends| backends.len() == 100).await;
}

#[tokio::test]
async fn both_families_are_backends() {
    let server = NameServer::start().await;
    server.set("gateways.internal", 0, &[LOOPBACK]);
    server.set_v6("gateways.internal", 0, &["::1".parse().unwrap()]);
    let balancer = start(&config_over(&server, &["dns://gateways.internal:9".to_owned()]));
    balancer.wait_until(|backends| names(backends) == ["127.0.0.1:9", "[::1]:9"]).await;
}

#[tokio::test]
async fn a_service_gives_ports_and_weights() {
    let (one, other) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let server = NameServer::start().await;
    server.set("a.internal", 0, &[LOOPBACK]);
    server.set("b.internal", 0, &[LOOPBACK]);
    let targets = [
        (1, 10, one.address.port(), "a.internal."),
        (1, 30, other.address.port(), "b.internal."),
        (2, 99, 9, "a.internal."),
    ];
    server.set_service("_http._tcp.internal", 0, &targets);
    let balancer = start(&config_over(&server, &["srv://_http._tcp.internal".to_owned()]));
    balancer.wait_until(|backends| backends.len() == 3).await;
    let report = balancer.report().await;
    let of = |address: String| report.iter().find(|backend| backend.address == address).unwrap();
    let (one, other) = (of(one.address.to_string()), of(other.address.to_string()));
    assert_eq!((one.weight, one.rank, other.weight, other.rank), (0.5, 0, 1.5, 0));
    let standby = of("127.0.0.1:9".to_owned());
    assert_eq!((standby.rank, standby.available), (1, false), "the second priority stands by");
    answers(&balancer).await;
}

#[tokio::test]
async fn static_backends_serve_while_dns_is_down_from_the_start() {
    let backend = Backend::answering(OK).await;
    let server = NameServer::start().await;
    server.fall_silent();
    let entries = ["dns://gateways.internal:9".to_owned(), backend.address.to_string()];
    let balancer = start(&config_over(&server, &entries));
    answers(&balancer).await;
    assert_eq!(names(&balancer.report().await), [backend.address.to_string()]);
}
