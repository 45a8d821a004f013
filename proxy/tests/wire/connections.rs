//! Which connections are kept, and how they end.

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
