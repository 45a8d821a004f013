//! Probes put backends out and bring them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use load_balancer::health::State;
use tokio::net::TcpListener;

use crate::support::{Backend, config, dead_address, start, start_over};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_backend_that_says_it_is_unwell_is_put_out_and_brought_back() {
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    let backend = Backend::start(move |head, mut client| {
        let is_well = asked.load(Ordering::SeqCst) || !head.starts_with("GET /health ");
        async move {
            client.send(if is_well { OK } else { "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n" }).await;
            Some(client)
        }
    })
    .await;
    let balancer = start_over(&backend);
    balancer.wait_until(|backends| backends[0].state == State::Up).await;
    well.store(false, Ordering::SeqCst);
    balancer.wait_until(|backends| backends[0].state == State::Down).await;
    let response = balancer.exchange(GET).await;
    assert_eq!(response.status(), 200, "when most are unwell all are used, since they answer after all");
    assert_eq!(backend.count(), 1);
    well.store(true, Ordering::SeqCst);
    balancer.wait_until(|backends| backends[0].state == State::Up).await;
    assert_eq!(balancer.exchange(GET).await.status(), 200);
    let availability = balancer.report().await[0].availability;
    assert!(availability > 0.0 && availability < 1.0, "{availability}");
}

#[tokio::test]
async fn somebody_s_own_server_without_a_health_path_is_up() {
    let backend = Backend::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    let balancer = start_over(&backend);
    balancer.wait_until(|backends| backends[0].state == State::Up).await;
}

#[tokio::test]
async fn without_a_path_a_connection_is_enough() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&[listener.local_addr().unwrap(), dead_address()]);
    config.health.path = String::new();
    let balancer = start(&config);
    balancer.wait_until(|backends| backends[0].state == State::Up && backends[1].state == State::Down).await;
}

#[tokio::test]
async fn requests_put_a_dead_backend_out_before_probes_do() {
    let mut config = config(&[dead_address()]);
    config.health.interval = Duration::from_secs(3600);
    let balancer = start(&config);
    for _ in 0..3 {
        balancer.exchange(GET).await;
    }
    let state = balancer.report().await[0].state;
    assert!(matches!(state, State::Ejected | State::Down), "{state:?}");
    assert_eq!(balancer.exchange(GET).await.problem(), "no-backend");
}

#[tokio::test]
async fn a_backend_that_starts_late_is_found() {
    let address = dead_address();
    let balancer = start(&config(&[address]));
    balancer.wait_until(|backends| backends[0].state == State::Down).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let serving = async {
        loop {
            let mut client = crate::support::Client::new(listener.accept().await.unwrap().0);
            client.read_head().await;
            client.send(OK).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = balancer.wait_until(|backends| backends[0].state == State::Up) => {}
    }
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.backends = vec![format!("localhost:{}", backend.address.port()).into()];
    let balancer = start(&config);
    assert_eq!(balancer.exchange(GET).await.status(), 200);
}

#[tokio::test]
async fn a_backend_that_freezes_gets_nothing_more_and_is_back_when_it_thaws() {
    let frozen = Arc::new(AtomicBool::new(false));
    let is_frozen = Arc::clone(&frozen);
    let freezing = Backend::start(move |_, mut client| {
        let is_frozen = Arc::clone(&is_frozen);
        async move {
            while is_frozen.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            client.send(OK).await;
            Some(client)
        }
    })
    .await;
    let (well, other) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let mut config = config(&[freezing.address, well.address, other.address]);
    config.health.timeout = Duration::from_millis(200);
    let balancer = start(&config);
    balancer.wait_until(|backends| backends.iter().all(|one| one.state == State::Up)).await;
    frozen.store(true, Ordering::SeqCst);
    balancer.wait_until(|backends| !backends[0].available).await;
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    frozen.store(false, Ordering::SeqCst);
    balancer.wait_until(|backends| backends[0].available).await;
}

#[tokio::test]
async fn what_a_backend_tells_of_its_load_is_kept_and_not_passed_on() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\
                  Sixfold-Load: in_flight=3, latency_us=1200\r\n\r\nok";
    let backend = Backend::answering(answer).await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let response = balancer.exchange(GET).await;
    assert_eq!((response.status(), response.head.get("sixfold-load")), (200, None));
    let report = balancer.report().await;
    assert_eq!((report[0].own_in_flight, report[0].own_latency_ms), (Some(3), Some(1.2)));
}

#[tokio::test]
async fn only_the_statuses_asked_for_are_good() {
    let backend = Backend::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    let mut config = config(&[backend.address]);
    config.health.statuses = "200-299".to_owned();
    start(&config).wait_until(|backends| backends[0].state == State::Down).await;
}
