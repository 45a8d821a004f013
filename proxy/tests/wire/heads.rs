//! What a backend gets of a request's head, and a client of a response's.

use proxy::fields::TrustedProxies;

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

#[tokio::test]
async fn a_client_of_http_10_gets_no_chunks_and_is_kept_only_if_it_asks() {
    let (address, _) = backend::start(|mut peer, _| async move {
        while peer.head().await {
            peer.say("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n").await;
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let lane = start(address, Setup::default());
    let answer = lane.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "no interim response: {answer}");
    assert!(!answer.contains("Transfer-Encoding"), "{answer}");
    assert!(answer.ends_with("Connection: close\r\n\r\nok"), "{answer}");

    let (address, _) = backend::start(answer_all).await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for _ in 0..2 {
        caller.say(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert!(caller.until("ok").await.contains("Connection: keep-alive\r\n"));
    }
    caller.say(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(caller.rest().await.contains("Connection: close\r\n"));
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_in_step() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n").await;
        peer.head().await;
        peer.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        peer.head().await;
        peer.say("HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n").await;
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for method in ["HEAD", "GET", "GET", "HEAD"] {
        caller.say(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await;
        let head = caller.until("\r\n\r\n").await;
        assert!(!head.contains("Transfer-Encoding"), "{head}");
    }
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(caller.until("end").await.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"));
    assert_eq!(record.connections(), 1);
}

#[tokio::test]
async fn a_trusted_proxy_s_account_is_extended_and_a_trace_goes_on() {
    let (address, record) = backend::start(answer_all).await;
    let mut setup = Setup::default();
    setup.rules.trusted = TrustedProxies::parse(&["127.0.0.1".to_owned()]).unwrap();
    setup.rules.writes_forwarded = true;
    let lane = start(address, setup);
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nForwarded: for=9.9.9.9\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n").await;
    let answer = caller.until("ok").await;
    assert!(answer.contains("X-Request-Id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n"), "{answer}");
    let got = record.text();
    assert!(got.contains("\r\nX-Forwarded-For: 9.9.9.9\r\n"), "{got}");
    assert!(got.contains("\r\nX-Forwarded-For: 127.0.0.1\r\n"), "{got}");
    assert_eq!(got.matches("X-Forwarded-Proto").count(), 1, "{got}");
    assert!(!got.contains("X-Forwarded-Host"), "{got}");
    assert!(got.contains("\r\nForwarded: for=127.0.0.1;host=\"h\";proto=http\r\n"), "{got}");
    assert!(got.contains("\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{got}");
    assert!(!got.contains("00f067aa0ba902b7"), "{got}");
}

#[tokio::test]
async fn a_client_cannot_take_away_by_connection_what_a_trusted_proxy_told_of_it() {
    let (address, record) = backend::start(answer_all).await;
    let mut setup = Setup::default();
    setup.rules.trusted = TrustedProxies::parse(&["127.0.0.1".to_owned()]).unwrap();
    let lane = start(address, setup);
    let mut caller = lane.connect().await;
    let told = [
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop",
        "Forwarded: for=192.0.2.7",
        "X-Real-IP: 192.0.2.7",
        "Sixfold-Subject: s",
    ];
    let named = "x-forwarded-for, X-Forwarded-Proto, x-forwarded-host, forwarded, x-real-ip, sixfold-subject, \
                 traceparent";
    let request = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, {named}, x-inner\r\n{}\r\nX-Inner: 1\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
        told.join("\r\n")
    );
    caller.say(request.as_bytes()).await;
    caller.until("ok").await;
    let got = record.text();
    for line in told {
        assert!(got.contains(&format!("\r\n{line}\r\n")), "{line}: {got}");
    }
    assert!(got.contains("\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{got}");
    assert!(!got.contains("X-Inner"), "{got}");
}

#[tokio::test]
async fn a_backend_s_malformed_response_is_a_bad_gateway() {
    let responses = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 01\r\n\r\nx", "length of its body"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "length of its body",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer coding"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "length of its body"),
        ("HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n", "fields is malformed"),
        ("HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n", "fields is malformed"),
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "status line"),
        ("HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n", "status line"),
        ("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "status line"),
        ("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "status line"),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "not asked for"),
        ("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello", "its status does not have"),
        ("hello\r\n\r\n", "status line"),
    ];
    for (response, reason) in responses {
        let (address, _) = backend::start(move |mut peer, _| async move {
            peer.head().await;
            peer.say(response).await;
            peer.closed().await;
        })
        .await;
        let lane = start(address, Setup::default());
        let mut caller = lane.connect().await;
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = caller.until("\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{response:?}: {answer}");
        let errors = lane.seen.errors.lock().unwrap();
        assert!(errors.len() == 1 && errors[0].starts_with("malformed: "), "{response:?}: {errors:?}");
        assert!(errors[0].contains(reason), "{response:?}: {errors:?}");
    }
}

#[tokio::test]
async fn a_204_that_tells_of_a_body_passes_without_it_and_its_connection_is_not_used_again() {
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let (address, record) = backend::start(move |mut peer, number| async move {
            peer.head().await;
            if number == 0 {
                peer.say(&format!("HTTP/1.1 204 No Content\r\n{field}\r\n\r\n")).await;
                peer.closed().await;
            } else {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let lane = start(address, Setup::default());
        let mut caller = lane.connect().await;
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = caller.until("\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
        assert!(!answer.contains("Content-Length") && !answer.contains("Transfer-Encoding"), "{answer}");
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        caller.until("ok").await;
        assert_eq!(record.connections(), 2, "{field}");
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_passes_once() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\ncontent-length:2 \r\n\r\nok").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = caller.until("\r\n\r\nok").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(answer.to_ascii_lowercase().matches("content-length").count(), 1, "{answer}");
}

#[tokio::test]
async fn interim_responses_larger_together_than_a_head_may_be_are_a_bad_gateway() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        for _ in 0..5 {
            peer.say(&format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(20 << 10))).await;
        }
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = caller.until("502 Bad Gateway\r\n").await;
    assert_eq!(answer.matches("103 Early Hints").count(), 3, "64 KiB are three of them");
    let errors = lane.seen.errors.lock().unwrap();
    assert!(errors.len() == 1 && errors[0].contains("interim responses"), "{errors:?}");
}
