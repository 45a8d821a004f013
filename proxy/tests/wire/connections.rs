//! Which connections are kept, and how they end.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proxy::wire::Ending;
use tokio::net::TcpListener;

use crate::backend::{self, answer_all};
use crate::front::{Setup, start};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_over_one_connection() {
    let (address, record) = backend::start(|mut peer, _| async move {
        let mut number = 0;
        while peer.head().await {
            number += 1;
            peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nn{number}")).await;
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HT").await;
    caller.until("n1").await;
    caller.until("n2").await;
    caller.say(b"TP/1.1\r\nHost: h\r\n\r\n").await;
    caller.until("n3").await;
    assert_eq!(record.connections(), 1);
}

#[tokio::test]
async fn a_client_that_asks_so_is_closed_after_its_answer() {
    let (address, _) = backend::start(answer_all).await;
    let lane = start(address, Setup::default());
    let answer = lane.ask(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("Connection: close\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_connection_closed() {
    let (address, record) = backend::start(answer_all).await;
    let lane = start(address, Setup::default());
    let answer = lane.ask(b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("X-Request-Id: ") && answer.contains("Connection: close"), "{answer}");
    assert_eq!(record.connections(), 0);
}

/// Answers one request on the first connection and closes it; serves the others.
async fn stale_once(mut peer: backend::Peer, number: usize) {
    if number == 0 {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        // The second request is read and met with a close.
        peer.head().await;
        return;
    }
    answer_all(peer, number).await;
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_without_a_word() {
    let (address, record) = backend::start(stale_once).await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for _ in 0..2 {
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(caller.until("ok").await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(record.connections(), 2);
    assert!(lane.seen.errors.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_that_may_have_been_acted_on_is_not_repeated() {
    let (address, record) = backend::start(stale_once).await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    caller.until("ok").await;
    caller.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx").await;
    assert!(caller.until("\r\n\r\n").await.starts_with("HTTP/1.1 502"));
    assert_eq!(*lane.seen.errors.lock().unwrap(), ["broken"]);
    assert_eq!(record.connections(), 1);
}

#[tokio::test]
async fn bytes_after_a_response_spoil_its_connection() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        )
        .await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for _ in 0..2 {
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(caller.until("ok").await.ends_with("\r\n\r\nok"));
    }
    assert_eq!(record.connections(), 2);
}

#[tokio::test]
async fn a_second_answer_that_comes_before_the_next_request_is_nobody_s() {
    let lied = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = std::sync::Arc::clone(&lied);
    let (address, record) = backend::start(move |mut peer, _| {
        let told = std::sync::Arc::clone(&told);
        async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            // After what came with the answer was read.
            tokio::time::sleep(Duration::from_millis(20)).await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
            told.notify_one();
            peer.closed().await;
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for _ in 0..2 {
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(caller.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
        lied.notified().await;
        // The lane's loop has turned meanwhile, as it does with every event.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(record.connections(), 2);
}

#[tokio::test]
async fn a_backend_that_closes_is_not_sent_another_request() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for _ in 0..2 {
        caller.say(b"POST / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(!caller.until("ok").await.contains("Connection: close"));
    }
    assert_eq!(record.connections(), 2);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_exchange_along() {
    let gone = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = std::sync::Arc::clone(&gone);
    let (address, record) = backend::start(move |mut peer, _| {
        let told = std::sync::Arc::clone(&told);
        async move {
            peer.head().await;
            peer.closed().await;
            told.notify_one();
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    while record.text().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(caller);
    tokio::time::timeout(Duration::from_secs(10), gone.notified()).await.unwrap();
    lane.seen.until(|seen| seen.in_flight.load(Relaxed) == 0).await;
    assert!(lane.seen.errors.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20)).await;
        let piece = "x".repeat(1 << 20);
        for _ in 0..64 {
            peer.say(&piece).await;
        }
        peer.closed().await;
    })
    .await;
    let mut setup = Setup::default();
    setup.rules.limits.body_idle = Duration::from_millis(200);
    let lane = start(address, setup);
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    lane.seen.until(|seen| *seen.endings.lock().unwrap() == [Ending::ClientLeft]).await;
    assert_eq!(lane.seen.broken.load(Relaxed), 0);
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_was_sent_nothing() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"POST / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(caller.until("}").await.starts_with("HTTP/1.1 502"));
    assert_eq!(*lane.seen.errors.lock().unwrap(), ["connect"]);
}

#[tokio::test]
async fn draining_lets_a_request_end_and_closes_who_waits() {
    let (address, record) = backend::start(|mut peer, _| async move {
        while peer.head().await {
            if peer.said("/slow") {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let (mut idle, mut half, mut busy) = (lane.connect().await, lane.connect().await, lane.connect().await);
    for caller in [&mut idle, &mut half] {
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        caller.until("ok").await;
    }
    half.say(b"GET / HT").await;
    busy.say(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    while !record.text().contains("/slow") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    lane.shutdown.request();
    assert_eq!(idle.rest().await, "");
    assert_eq!(half.rest().await, "");
    let answer = busy.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_target_that_no_head_has_room_for_is_told_apart_from_fields() {
    let (address, record) = backend::start(backend::answer_all).await;
    let mut setup = Setup::default();
    setup.rules.limits.head_size = 4 << 10;
    let lane = start(address, setup);
    let long = "x".repeat(4 << 10);
    for (request, status) in [
        (format!("GET /{long}"), 414),
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}"), 431),
    ] {
        let answer = lane.ask(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(record.connections(), 0);
}
