//! Backends that are dead, break off, stay silent or are slow.

use std::time::Duration;

use load_balancer::Policy;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::support::{Backend, PATIENCE, config, dead_address, start, start_over};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

#[tokio::test]
async fn a_dead_backend_costs_no_request() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[dead_address(), backend.address]);
    config.policy = Policy::RoundRobin;
    // Only requests are to find out.
    config.health.interval = Duration::from_secs(3600);
    let balancer = start(&config);
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    for _ in 0..20 {
        assert_eq!(balancer.exchange("POST / HTTP/1.1\r\nHost: a\r\n\r\n").await.status(), 200);
    }
    assert_eq!(backend.count(), 40);
}

/// A backend that reads requests and breaks off instead of answering.
async fn breaking() -> Backend {
    Backend::start(|head, mut client| async move {
        if head.starts_with("GET /health") {
            client.send(OK).await;
        }
        None
    })
    .await
}

#[tokio::test]
async fn an_idempotent_request_is_repeated_elsewhere_when_the_connection_breaks() {
    let (breaking, good) = (breaking().await, Backend::answering(OK).await);
    let mut config = config(&[breaking.address, good.address]);
    config.policy = Policy::RoundRobin;
    let balancer = start(&config);
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert!(breaking.count() > 0, "the breaking one was tried");
    assert_eq!(good.count(), 20);
}

#[tokio::test]
async fn a_post_that_may_have_been_acted_on_is_not_repeated() {
    let (one, other) = (breaking().await, breaking().await);
    let balancer = start(&config(&[one.address, other.address]));
    let response = balancer.exchange(POST).await;
    assert_eq!((response.status(), response.problem().as_str()), (502, "bad-gateway"));
    assert_eq!(one.count() + other.count(), 1);
    let response = balancer.exchange(GET).await;
    assert_eq!(response.status(), 502);
    assert_eq!(one.count() + other.count(), 1 + 3, "a GET was sent once and repeated twice");
}

#[tokio::test]
async fn a_backend_that_closes_after_each_answer_costs_no_request() {
    let backend = Backend::start(|_, mut client| async move {
        client.send(OK).await;
        None
    })
    .await;
    let balancer = start_over(&backend);
    let mut client = balancer.connect().await;
    for _ in 0..50 {
        assert_eq!(client.exchange(GET).await.status(), 200);
    }
}

#[tokio::test]
async fn a_kept_connection_that_closes_without_an_answer_is_replaced_for_a_get_and_never_for_a_post() {
    // Answers the first request of a connection, and reads the second one and closes.
    let backend = Backend::start(|head, mut client| async move {
        client.send(OK).await;
        if !head.starts_with("GET /health") {
            client.read_head().await;
        }
        None
    })
    .await;
    let mut config = config(&[backend.address]);
    config.retries = 0;
    let balancer = start(&config);
    assert_eq!(balancer.exchange(GET).await.status(), 200);
    assert_eq!(balancer.exchange(GET).await.status(), 200, "asked again on a connection of its own");
    assert_eq!(backend.count(), 2, "the lost one is not counted by the backend");
    let response = balancer.exchange(POST).await;
    assert_eq!((response.status(), response.problem().as_str()), (502, "bad-gateway"));
    assert_eq!(backend.count(), 2, "it may have been acted on");
    assert_eq!(balancer.exchange(POST).await.status(), 200, "a new connection is no doubt");
}

#[tokio::test]
async fn a_get_is_sent_twice_at_most_to_a_backend_that_breaks_every_connection_with_it() {
    const KEPT: usize = 6;
    let backend = Backend::start(|head, mut client| async move {
        if head.starts_with("GET /x ") {
            return None;
        }
        if head.starts_with("GET /fill ") {
            // Long enough that the others come on connections of their own.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        client.send(OK).await;
        Some(client)
    })
    .await;
    let balancer = start_over(&backend);
    let mut clients = JoinSet::new();
    for _ in 0..KEPT {
        let mut client = balancer.connect().await;
        clients.spawn(async move { client.exchange("GET /fill HTTP/1.1\r\nHost: a\r\n\r\n").await.status() });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(backend.count(), KEPT);
    assert_eq!(balancer.exchange("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.status(), 502);
    assert_eq!(backend.count() - KEPT, 2, "once over a kept connection and once over a fresh one");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_before_the_answer_counts_as_gone() {
    let (backend, held) = Backend::holding("GET / ", OK).await;
    let balancer = start_over(&backend);
    let mut client = balancer.connect().await;
    client.send(GET).await;
    held.arrived.notified().await;
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await, "and its connection is closed without an answer");
    balancer.wait_until(|backends| backends[0].in_flight == 0).await;
    held.goes_on.notify_one();
    let mut client = balancer.connect().await;
    client.send("GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(client.read_head().await.is_some(), "who closes nothing is answered");
}

#[tokio::test]
async fn a_balancer_that_is_its_own_backend_refuses_what_comes_round() {
    let mut config = config(&[]);
    // Probes would come round too.
    config.health.path = String::new();
    let balancer = start(&config);
    let path = format!("/v1/backends/{}", balancer.address);
    assert_eq!(balancer.administer("PUT", &path, "{\"lease\": \"1m\"}").await.0, 201);
    for request in [GET, POST] {
        let response = balancer.exchange(request).await;
        assert_eq!(
            (response.status(), response.head.get("content-type").as_deref()),
            (508, Some("application/problem+json"))
        );
    }
    balancer.wait_until(|backends| backends[0].in_flight == 0).await;
    let requests = balancer.report().await[0].requests;
    assert!(requests <= 2 * 8, "{requests} rounds of two requests");
}

#[tokio::test]
async fn a_silent_backend_is_a_timeout() {
    let backend = Backend::start(|_, client| async move {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Some(client)
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    config.head_timeout = Duration::from_millis(50);
    let balancer = start(&config);
    let response = balancer.exchange(GET).await;
    assert_eq!((response.status(), response.problem().as_str()), (504, "timeout"));
    balancer.wait_until(|backends| backends[0].in_flight == 0 && backends[0].errors == 1).await;
}

#[tokio::test]
async fn a_response_that_cannot_be_read_is_a_bad_gateway() {
    for response in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let backend = Backend::answering(response).await;
        let mut config = config(&[backend.address]);
        config.health.path = String::new();
        let balancer = start(&config);
        assert_eq!(balancer.exchange(POST).await.status(), 502, "{response}");
    }
}

#[tokio::test]
async fn a_slow_gateway_gets_less_traffic() {
    let slow = Backend::start(|_, mut client| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.send(OK).await;
        Some(client)
    })
    .await;
    let (fast, other) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let balancer = start(&config(&[slow.address, fast.address, other.address]));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let mut client = balancer.connect().await;
        clients.spawn(async move {
            for _ in 0..50 {
                assert_eq!(client.exchange(GET).await.status(), 200);
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let (slow, fast, other) = (slow.count(), fast.count(), other.count());
    assert_eq!(slow + fast + other, 400);
    assert!(slow * 4 < fast && slow * 4 < other, "slow {slow}, fast {fast} and {other}");
}

#[tokio::test]
async fn five_gateways_share_the_traffic() {
    let mut backends = Vec::new();
    for _ in 0..5 {
        backends.push(Backend::answering(OK).await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let balancer = start(&config(&addresses));
    let mut client = balancer.connect().await;
    let mut sent = 0;
    let sharing = async {
        // One slow answer may keep a backend waiting for its share, but not for ever.
        while backends.iter().any(|backend| backend.count() < 20) {
            assert_eq!(client.exchange(GET).await.status(), 200);
            sent += 1;
        }
    };
    tokio::time::timeout(PATIENCE, sharing).await.expect("each gets a share");
    let report = balancer.report().await;
    // On a machine that is busy some are hedged, up to a twentieth and what is saved up.
    let got = report.iter().map(|backend| backend.requests).sum::<u64>();
    assert!((sent..=sent + sent / 20 + 50).contains(&got), "{got} of {sent}");
    assert!(report.iter().all(|backend| backend.p99_ms.is_some_and(|p99| p99 > 0.0)), "{report:?}");
}

#[tokio::test]
async fn a_gateway_that_dies_under_load_costs_no_idempotent_request() {
    let (dying, one, other) =
        (Backend::answering(OK).await, Backend::answering(OK).await, Backend::answering(OK).await);
    let mut config = config(&[dying.address, one.address, other.address]);
    // In turn, so that every third request is at the dying one, or would be.
    config.policy = Policy::RoundRobin;
    let balancer = start(&config);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let mut client = balancer.connect().await;
        clients.spawn(async move {
            for _ in 0..200 {
                assert_eq!(client.exchange(GET).await.status(), 200);
            }
        });
    }
    while dying.count() < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(dying);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    balancer.wait_until(|backends| !backends[0].state.is_available()).await;
}
