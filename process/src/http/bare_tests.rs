use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::super::{Limits, serve};
use super::{PREFACE, Watched};
use crate::Shutdown;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

const GOOD: &str = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// A server that echoes, and answers some requests just as hyper does those it cannot read.
struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    running: JoinSet<()>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new(Duration::from_secs(10)));
    let router = Router::new()
        .route("/echo", post(async |body: String| body))
        .route("/bare", post(async || StatusCode::BAD_REQUEST));
    let (mut running, stop) = (JoinSet::new(), shutdown.clone());
    running.spawn(async move { serve(listener, router, &stop, Limits::default()).await });
    Server { address, shutdown, running }
}

impl Server {
    /// Sends bytes and gives all that is answered until the server closes.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_all(&mut stream).await
    }

    async fn stop(mut self) {
        self.shutdown.request();
        self.running.join_next().await.unwrap().unwrap();
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8(answer).unwrap()
}

/// Checks that an answer is a problem, and gives its status and kind.
fn problem_of(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    for field in ["content-type: application/problem+json", "connection: close", "x-request-id: "] {
        assert!(head.contains(field), "{head}");
    }
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let document: Value = serde_json::from_str(body).unwrap();
    let id = document["trace_id"].as_str().unwrap();
    assert!(head.contains(id) && document["detail"].is_string(), "{answer}");
    let status: u16 = head[9..12].parse().unwrap();
    assert_eq!(document["status"], status);
    (status, document["type"].as_str().unwrap().trim_start_matches("urn:sixfold:problem:").to_owned())
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_told_so_in_a_problem() {
    let server = start().await;
    let (long, longer) = ("x".repeat(70_000), "x".repeat(400_000));
    let many: String = (0..150).map(|number| format!("a{number}: b\r\n")).collect();
    let cases = [
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 414, "target-too-long"),
        (format!("GET /{longer} HTTP/1.1\r\nhost: a\r\n\r\n"), 414, "target-too-long"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\na: {longer}\r\n\r\n"), 431, "headers-too-large"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431, "headers-too-large"),
        ("hello\r\n\r\n".to_owned(), 400, "malformed-request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "malformed-request"),
        ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400, "malformed-request"),
        ("GET / HTTP/3.0\r\nhost: a\r\n\r\n".to_owned(), 400, "malformed-request"),
        ("PRI * HTTP/1.1\r\n\u{1}: a\r\n\r\n".to_owned(), 400, "malformed-request"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(), 400, "malformed-request"),
    ];
    for (request, status, kind) in cases {
        let answer = server.send(request.as_bytes()).await;
        assert_eq!(problem_of(&answer), (status, kind.to_owned()), "{:.40}", request);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_on_sending_reads_its_refusal() {
    let server = start().await;
    let request = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(8 << 20));
    assert_eq!(problem_of(&server.send(request.as_bytes()).await).0, 431);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_after_one_that_could_is_told_so() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(GOOD.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hi") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it stays open");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(400_000));
    stream.write_all(long.as_bytes()).await.unwrap();
    assert_eq!(problem_of(&read_all(&mut stream).await), (414, "target-too-long".to_owned()));
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_of_the_service_is_passed_on_whatever_it_looks_like() {
    let server = start().await;
    let bare = server.send(b"POST /bare HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    assert!(bare.starts_with("HTTP/1.1 400 ") && bare.ends_with("\r\n\r\n"), "{bare}");
    let imitation = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let request = format!(
        "POST /echo HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{imitation}",
        imitation.len()
    );
    let echoed = server.send(request.as_bytes()).await;
    assert!(echoed.starts_with("HTTP/1.1 200 ") && echoed.ends_with(imitation), "{echoed}");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_behind_a_request_takes_nothing_from_its_answer() {
    let server = start().await;
    let answer = server.send(format!("{GOOD}hello\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 1, "{answer}");
    assert!(answer.split_once("\r\n\r\n").unwrap().1.starts_with("hi"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn http2_is_passed_through() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The preface in two pieces, then an empty SETTINGS frame (RFC 9113 §6.5).
    for piece in [&PREFACE[..10], &PREFACE[10..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]] {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut frame = [0; 9];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "SETTINGS: {frame:?}");
    // What a write begins with may be from within a body there.
    let mut watched = Watched::new(stream, Arc::default());
    watched.note_received(PREFACE);
    assert!(!watched.replace(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    drop(watched);
    server.stop().await;
}
