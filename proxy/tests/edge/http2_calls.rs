//! Calls to backends of HTTP/2: as gRPC makes them, and from clients of either HTTP.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderValue, Response};
use proxy::connect::Protocol;
use proxy::server::{Limits, Options};
use proxy::tls::{self, Acceptor};
use proxy::{Target, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http2_peers::{Client, Ends, backend, read_all, trailers};
use crate::support::{Lane, read_response, soon, start, start_all};
use crate::tls::Authority;

#[tokio::test]
async fn a_unary_call_passes_with_its_fields_and_trailers_both_ways() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/Echo/Unary").await;
    upload.send_data("question".into(), false).unwrap();
    upload
        .send_trailers([("x-check".parse().unwrap(), HeaderValue::from_static("7"))].into_iter().collect())
        .unwrap();
    let (mut request, mut respond) = backend.call().await;
    assert_eq!(request.uri(), "http://calls.example/Echo/Unary");
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["grpc-timeout"], "1S");
    assert_eq!(request.headers()["x-forwarded-host"], "calls.example");
    for absent in ["host", "transfer-encoding", "connection"] {
        assert!(!request.headers().contains_key(absent), "{absent}");
    }
    assert_eq!(read_all(request.body_mut()).await, "question");
    assert_eq!(soon(request.body_mut().trailers()).await.unwrap().unwrap()["x-check"], "7");
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    download.send_data("answer".into(), false).unwrap();
    download.send_trailers(trailers("0")).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    assert_eq!(read_all(&mut body).await, "answer");
    assert_eq!(soon(body.trailers()).await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_status_without_a_body_passes() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/Echo/Fails").await;
    upload.send_data(Bytes::new(), true).unwrap();
    let (_request, mut respond) = backend.call().await;
    let answer = Response::builder().header("grpc-status", "12").body(()).unwrap();
    respond.send_response(answer, true).unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn messages_pass_both_ways_while_both_sides_are_open() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/Echo/Both").await;
    let (mut request, mut respond) = backend.call().await;
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    let mut answers = soon(response).await.unwrap().into_body();
    for message in ["one", "two", "three"] {
        upload.send_data(message.into(), false).unwrap();
        assert_eq!(soon(request.body_mut().data()).await.unwrap().unwrap(), message);
        download.send_data(message.into(), false).unwrap();
        assert_eq!(soon(answers.data()).await.unwrap().unwrap(), message);
    }
    upload.send_data(Bytes::new(), true).unwrap();
    while soon(request.body_mut().data()).await.is_some() {}
    download.send_trailers(trailers("0")).unwrap();
    while soon(answers.data()).await.is_some() {}
    assert_eq!(soon(answers.trailers()).await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_canceled_call_is_canceled_at_the_backend_and_its_connection_goes_on() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    // Before the head of the response, and after it.
    for answers in [false, true] {
        let (response, mut upload) = client.post("/Echo/Both").await;
        let (mut request, mut respond) = backend.call().await;
        let mut download = answers.then(|| respond.send_response(Response::new(()), false).unwrap());
        let response = if answers { Ok(soon(response).await.unwrap()) } else { Err(response) };
        upload.send_reset(Reason::CANCEL);
        drop(response);
        let reason = match &mut download {
            Some(download) => soon(std::future::poll_fn(|cx| download.poll_reset(cx))).await,
            None => soon(std::future::poll_fn(|cx| respond.poll_reset(cx))).await,
        };
        assert_eq!(reason.unwrap(), Reason::CANCEL);
        assert!(soon(request.body_mut().data()).await.is_none_or(|data| data.is_err()));
    }
    let response = client.get().await;
    let (_request, mut respond) = backend.call().await;
    respond.send_response(Response::new(()), true).unwrap();
    soon(response).await.unwrap();
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_deadline_cancels_the_call_at_the_backend() {
    let mut backend = backend(100, Ends::Never).await;
    let timeouts = Timeouts { head: Duration::from_millis(50), ..Timeouts::default() };
    let running = start_all(Limits::default().into(), backend.target(), timeouts, Lane::Wire);
    let client = Client::connect(&running).await;
    let response = client.get().await;
    let (_request, mut respond) = backend.call().await;
    assert_eq!(soon(std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap(), Reason::CANCEL);
    assert_eq!(soon(response).await.unwrap().status(), 504);
}

#[tokio::test]
async fn http1_clients_reach_http2_backends_under_tls() {
    let authority = Authority::new();
    let files = authority.sign("inner", &["inner.example"]);
    // The backend is a data plane of ours, which speaks h2 by ALPN and forwards to an echo.
    let echo = crate::support::Echo::start().await;
    let config = tls::Config { certificates: vec![files], ..tls::Config::default() };
    let options = Options { tls: Some(Acceptor::new(&config, "tls").unwrap()), ..Options::default() };
    let inner = start(options, Target::plain(echo.address));
    let settings = authority.trusted();
    let config = tls::client_config(&settings, Protocol::Http2, "tls").unwrap();
    let target = Target {
        protocol: Protocol::Http2,
        tls: settings.secure(&config, "inner.example"),
        ..Target::plain(inner.address)
    };
    let outer = Lane::Wire.start(Limits::default(), target);
    let answer = crate::support::get(&mut outer.connect().await, "/through").await;
    assert!(answer.contains("GET /through HTTP/1.1\r\n"), "{answer}");
    assert!(answer.contains("via: 1.1 sixfold\r\nvia: 2 sixfold\r\n"), "{answer}");
    assert!(answer.contains("host: a\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_is_not_offered_and_the_answer_passes() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    let head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let (request, mut respond) = backend.call().await;
    assert!(!request.headers().contains_key("upgrade"));
    respond.send_response(Response::builder().status(426).body(()).unwrap(), true).unwrap();
    let answer = soon(read_response(&mut client)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{answer}");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_to_the_next_request() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    for (method, status, length) in [("HEAD", 200, Some("9")), ("GET", 204, None), ("GET", 304, Some("7"))] {
        client.write_all(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let (_request, mut respond) = backend.call().await;
        let mut answer = Response::builder().status(status);
        if let Some(length) = length {
            answer = answer.header("content-length", length);
        }
        // The end of the stream comes apart from its head.
        let mut body = respond.send_response(answer.body(()).unwrap(), false).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(client.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let told = length.map(|length| format!("\r\ncontent-length: {length}\r\n"));
        assert_eq!(head.contains("content-length"), told.is_some(), "{head}");
        assert!(told.is_none_or(|told| head.contains(&told)), "{head}");
        let _ = body.send_data(Bytes::new(), true);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn answers_that_end_with_their_head_have_an_end_for_clients_of_http1() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    for (line, status, has_length) in [
        ("GET /x HTTP/1.1", 200, true),
        ("POST /x HTTP/1.1", 201, true),
        ("GET /x HTTP/1.1", 302, true),
        ("GET /x HTTP/1.1", 404, true),
        ("HEAD /x HTTP/1.1", 200, false),
        ("GET /x HTTP/1.1", 204, false),
        ("GET /x HTTP/1.1", 304, false),
        ("GET /x HTTP/1.0\r\nConnection: keep-alive", 500, true),
        ("GET /x HTTP/1.1", 200, true),
    ] {
        client.write_all(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let (_request, mut respond) = backend.call().await;
        respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(client.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(head.contains("\r\nContent-Length: 0\r\n"), has_length, "{line} {head}");
        assert!(!head.contains("Transfer-Encoding"), "{head}");
    }
    assert_eq!(backend.connections(), 1);
}
