//! What a backend gets of a request's head, and a client of a response's.

use crate::backend::{self, answer_all};
use crate::front::{Setup, start};

#[tokio::test]
async fn a_request_reaches_the_backend_with_who_asked() {
    let (address, record) = backend::start(answer_all).await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET /a?b HTTP/1.1\r\nHost: h:1\r\nAccept: x\r\nX-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 1\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Last: 1\r\n\r\n").await;
    let answer = caller.until("ok").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: "), "{answer}");
    assert!(answer.contains("\r\nX-Added: 1\r\n"), "{answer}");
    let got = record.text();
    let expected = "GET /a?b HTTP/1.1\r\nHost: h:1\r\nAccept: x\r\nX-Last: 1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h:1\r\nVia: 1.1 sixfold\r\ntraceparent: 00-";
    assert!(got.starts_with(expected), "{got}");
    assert!(got.ends_with("-01\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn a_response_is_cleaned_of_what_ends_here() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 Fine\r\nX-Secret: 1\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nX-Request-Id: mine\r\nContent-Length: 0\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = caller.until("\r\n\r\n").await;
    assert_eq!(answer, "HTTP/1.1 200 Fine\r\nX-Request-Id: mine\r\nContent-Length: 0\r\nX-Added: 1\r\n\r\n");
}
