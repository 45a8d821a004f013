//! Bodies to and from backends of HTTP/2.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, Response};
use proxy::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http2_peers::{Client, Ends, backend, read_all, trailers};
use crate::support::{Lane, soon};

/// More than all windows and buffers on the way.
const LONG: usize = 8 << 20;

fn pattern() -> Bytes {
    (0..LONG).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect()
}

async fn send_all(mut left: Bytes, stream: &mut SendStream<Bytes>) {
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let room = soon(poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap();
        let part = left.split_to(room.min(left.len()));
        stream.send_data(part, left.is_empty()).unwrap();
    }
}

/// Sends a request over HTTP/1 and reads until the bytes end so.
async fn until(client: &mut tokio::net::TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        all.push(soon(client.read_u8()).await.expect("it goes on"));
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn long_ones_move_both_ways_with_clients_of_http2() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/long").await;
    let (mut request, mut respond) = backend.call().await;
    let (sent, received) = (pattern(), read_all(request.body_mut()));
    let ((), received) = tokio::join!(send_all(sent.clone(), &mut upload), received);
    assert!(received == sent);
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    let ((), received) = tokio::join!(send_all(sent.clone(), &mut download), read_all(&mut body));
    assert!(received == sent);
}

#[tokio::test]
async fn long_ones_move_both_ways_with_clients_of_http1() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let sent = pattern();
    let (mut from, mut to) = running.connect().await.into_split();
    let length = format!("content-length: {LONG}\r\n");
    for framing in [&length, "transfer-encoding: chunked\r\n"] {
        let head = format!("PUT /long HTTP/1.1\r\nHost: a\r\n{framing}\r\n");
        let is_chunked = framing != length;
        let writing = async {
            to.write_all(head.as_bytes()).await.unwrap();
            for piece in sent.chunks(10_000) {
                if is_chunked {
                    to.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
                }
                to.write_all(piece).await.unwrap();
                if is_chunked {
                    to.write_all(b"\r\n").await.unwrap();
                }
            }
            if is_chunked {
                to.write_all(b"0\r\n\r\n").await.unwrap();
            }
        };
        let serving = async {
            let (mut request, mut respond) = backend.call().await;
            assert!(read_all(request.body_mut()).await == sent);
            let response = Response::builder().header("content-length", LONG).body(()).unwrap();
            send_all(sent.clone(), &mut respond.send_response(response, false).unwrap()).await;
        };
        let reading = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(soon(from.read_u8()).await.unwrap());
            }
            assert!(String::from_utf8(head).unwrap().contains(&length));
            let mut received = vec![0; LONG];
            soon(from.read_exact(&mut received)).await.unwrap();
            assert!(received == sent);
        };
        tokio::join!(writing, serving, reading);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_client_of_http1_has_trailers_both_ways_in_chunks() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    let head =
        "POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n";
    // The beginning of a trailer comes with the head, its end apart.
    client.write_all(format!("{head}3\r\none\r\n0\r\nX-Ch").as_bytes()).await.unwrap();
    let (mut request, mut respond) = backend.call().await;
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(soon(request.body_mut().data()).await.unwrap().unwrap(), "one");
    client.write_all(b"eck: 2\r\nHost: evil\r\n\r\n").await.unwrap();
    assert_eq!(read_all(request.body_mut()).await, "");
    let sent = soon(request.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!((sent.len(), &sent["x-check"]), (1, &HeaderValue::from_static("2")), "a host comes too late");
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    download.send_data("two".into(), false).unwrap();
    let mut told = trailers("0");
    told.insert("content-length", HeaderValue::from_static("9"));
    download.send_trailers(told).unwrap();
    let answer = until(&mut client, "\r\n0\r\ngrpc-status: 0\r\n\r\n").await;
    assert!(answer.contains("Transfer-Encoding: chunked\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\n3\r\ntwo\r\n"), "{answer}");
}

#[tokio::test]
async fn trailers_behind_a_body_of_known_length_pass_too() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let request = Request::post("http://a/x").header("content-length", 3).body(()).unwrap();
    let (response, mut upload) =
        client.sender.clone().ready().await.unwrap().send_request(request, false).unwrap();
    upload.send_data("one".into(), false).unwrap();
    let with_a_host = |status| {
        let mut told = trailers(status);
        told.insert("host", HeaderValue::from_static("evil"));
        told
    };
    upload.send_trailers(with_a_host("1")).unwrap();
    let (mut request, mut respond) = backend.call().await;
    assert_eq!(request.headers()["content-length"], "3");
    assert_eq!(read_all(request.body_mut()).await, "one");
    assert_eq!(soon(request.body_mut().trailers()).await.unwrap().unwrap(), trailers("1"));
    let told = Response::builder().header("content-length", 3).body(()).unwrap();
    let mut download = respond.send_response(told, false).unwrap();
    download.send_data("two".into(), false).unwrap();
    download.send_trailers(with_a_host("0")).unwrap();
    let (head, mut body) = soon(response).await.unwrap().into_parts();
    assert_eq!(head.headers["content-length"], "3");
    assert_eq!(read_all(&mut body).await, "two");
    assert_eq!(soon(body.trailers()).await.unwrap().unwrap(), trailers("0"), "a host comes too late");
}

#[tokio::test]
async fn one_that_breaks_off_is_told_with_the_backend_s_reason() {
    for (given, told) in [
        (Reason::ENHANCE_YOUR_CALM, Reason::ENHANCE_YOUR_CALM),
        (Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR),
        (Reason::NO_ERROR, Reason::INTERNAL_ERROR),
    ] {
        let mut backend = backend(100, Ends::Never).await;
        let running = Lane::Wire.start(Limits::default(), backend.target());
        let client = Client::connect(&running).await;
        let response = client.get().await;
        let (_request, mut respond) = backend.call().await;
        let mut download = respond.send_response(Response::new(()), false).unwrap();
        let mut body: RecvStream = soon(response).await.unwrap().into_body();
        download.send_data("begun".into(), false).unwrap();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "begun");
        download.send_reset(given);
        assert_eq!(soon(body.data()).await.unwrap().unwrap_err().reason(), Some(told));
    }
}

#[tokio::test]
async fn one_that_breaks_off_ends_the_connection_of_a_client_of_http1() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (_request, mut respond) = backend.call().await;
    let told = Response::builder().header("content-length", 9).body(()).unwrap();
    let mut download = respond.send_response(told, false).unwrap();
    download.send_data("begun".into(), false).unwrap();
    assert!(until(&mut client, "begun").await.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n"));
    download.send_reset(Reason::INTERNAL_ERROR);
    assert!(soon(client.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_backend_that_has_answered_ends_an_upload_it_does_not_want() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/large").await;
    upload.send_data("begun".into(), false).unwrap();
    let (request, mut respond) = backend.call().await;
    respond.send_response(Response::builder().status(413).body(()).unwrap(), true).unwrap();
    // h2 resets what is not read to its end (RFC 9113 §8.1).
    drop((request, respond));
    assert_eq!(soon(response).await.unwrap().status(), 413);
    assert_eq!(soon(poll_fn(|cx| upload.poll_reset(cx))).await.unwrap(), Reason::NO_ERROR);
}

#[tokio::test]
async fn a_stream_may_be_silent_for_longer_than_a_body_may_stand_still() {
    let mut backend = backend(100, Ends::Never).await;
    let limits = Limits { body_idle_timeout: Duration::from_millis(50), ..Limits::default() };
    let running = Lane::Wire.start(limits, backend.target());
    let client = Client::connect(&running).await;
    let (response, mut upload) = client.post("/Watch").await;
    let (mut request, mut respond) = backend.call().await;
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    let mut answers = soon(response).await.unwrap().into_body();
    // What is waited for is that nothing happens.
    tokio::time::sleep(Duration::from_millis(200)).await;
    download.send_data("late".into(), false).unwrap();
    assert_eq!(soon(answers.data()).await.unwrap().unwrap(), "late");
    upload.send_data("too".into(), true).unwrap();
    assert_eq!(soon(request.body_mut().data()).await.unwrap().unwrap(), "too");
}

#[tokio::test]
async fn one_that_is_shorter_than_it_says_is_no_silence_to_a_client_of_http1() {
    let mut backend = backend(100, Ends::Never).await;
    let running = Lane::Wire.start(Limits::default(), backend.target());
    let mut client = running.connect().await;
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (_request, mut respond) = backend.call().await;
    let told = Response::builder().header("content-length", 10).body(()).unwrap();
    let mut download = respond.send_response(told, false).unwrap();
    download.send_data("abc".into(), true).unwrap();
    // What was sent before the fault was found stands.
    let mut line = [0; 12];
    soon(client.read_exact(&mut line)).await.unwrap();
    assert!(matches!(&line, b"HTTP/1.1 502" | b"HTTP/1.1 200"), "{}", line.escape_ascii());
}
