//! HTTP/2 at the backend: as gRPC uses it, and as backends end it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use proxy::connect::Protocol;
use proxy::server::{Limits, Options};
use proxy::tls::{self, Acceptor};
use proxy::{Target, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::raw_http2;
use crate::support::{Running, soon, start, start_with};
use crate::tls::Authority;

type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// A backend whose calls the test answers.
struct Backend {
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    connections: Arc<Mutex<usize>>,
    _tasks: JoinSet<()>,
}

/// How a backend's connections end by themselves.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Never,
    /// `GOAWAY` after the first request.
    AfterOne,
}

async fn backend(max_streams: u32, ends: Ends) -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (give, calls) = mpsc::unbounded_channel();
    let connections: Arc<Mutex<usize>> = Arc::default();
    let count = Arc::clone(&connections);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut served = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            *count.lock().unwrap() += 1;
            let give = give.clone();
            served.spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(max_streams);
                let mut connection = builder.handshake(socket).await.unwrap();
                while let Some(Ok(call)) = connection.accept().await {
                    if give.send(call).is_err() {
                        return;
                    }
                    if ends == Ends::AfterOne {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    Backend { address, calls, connections, _tasks: tasks }
}

impl Backend {
    fn target(&self) -> Target {
        Target { protocol: Protocol::Http2, ..Target::plain(self.address) }
    }

    async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.unwrap()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// An HTTP/2 client of the data plane.
struct Client {
    sender: h2::client::SendRequest<Bytes>,
    _tasks: JoinSet<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(running: &Running) -> Self {
        let socket = TcpStream::connect(running.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Self { sender, _tasks: tasks }
    }

    async fn post(&self, path: &str) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::post(format!("http://calls.example{path}"))
            .header("te", "trailers")
            .header("grpc-timeout", "1S")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        self.sender.clone().ready().await.unwrap().send_request(request, false).unwrap()
    }

    async fn get(&self) -> h2::client::ResponseFuture {
        let request = Request::get("http://calls.example/").body(()).unwrap();
        self.sender.clone().ready().await.unwrap().send_request(request, true).unwrap().0
    }
}

fn trailers(status: &'static str) -> HeaderMap {
    [("grpc-status".parse().unwrap(), HeaderValue::from_static(status))].into_iter().collect()
}

async fn read_all(body: &mut RecvStream) -> Bytes {
    let mut all = Vec::new();
    while let Some(data) = soon(body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    all.into()
}

#[tokio::test]
async fn a_unary_call_passes_with_its_fields_and_trailers_both_ways() {
    let mut backend = backend(100, Ends::Never).await;
    let running = start(Limits::default(), backend.target());
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
async fn interim_responses_end_here_and_the_final_one_passes() {
    let mut backend = backend(100, Ends::Never).await;
    let running = start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let mut response = client.get().await;
    let (_request, mut respond) = backend.call().await;
    for _ in 0..3 {
        let hints = Response::builder().status(103).header("link", "</a.css>; rel=preload").body(()).unwrap();
        respond.send_informational(hints).unwrap();
    }
    let mut download = respond.send_response(Response::new(()), false).unwrap();
    download.send_data("answer".into(), true).unwrap();
    let informed = std::future::poll_fn(|cx| std::task::Poll::Ready(response.poll_informational(cx)));
    assert!(informed.await.is_pending(), "hyper sends none");
    let answer = soon(response).await.unwrap();
    assert!(!answer.headers().contains_key("link"));
    assert_eq!(read_all(&mut answer.into_body()).await, "answer");
}

#[tokio::test]
async fn a_status_without_a_body_passes() {
    let mut backend = backend(100, Ends::Never).await;
    let running = start(Limits::default(), backend.target());
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
    let running = start(Limits::default(), backend.target());
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
    let running = start(Limits::default(), backend.target());
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
    let running = start_with(Limits::default(), backend.target(), timeouts);
    let client = Client::connect(&running).await;
    let response = client.get().await;
    let (_request, mut respond) = backend.call().await;
    assert_eq!(soon(std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap(), Reason::CANCEL);
    assert_eq!(soon(response).await.unwrap().status(), 504);
}

#[tokio::test]
async fn a_full_connection_gets_another_beside_it() {
    let mut backend = backend(2, Ends::Never).await;
    let running = start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let first = client.get().await;
    let mut calls = vec![backend.call().await];
    // By now the backend's limit is known.
    let mut responses = vec![first];
    for _ in 0..4 {
        responses.push(client.get().await);
        calls.push(backend.call().await);
    }
    assert_eq!(backend.connections(), 3);
    for (_, respond) in &mut calls {
        respond.send_response(Response::new(()), true).unwrap();
    }
    for response in responses {
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
    let again = client.get().await;
    backend.call().await.1.send_response(Response::new(()), true).unwrap();
    assert_eq!(soon(again).await.unwrap().status(), 200);
    assert_eq!(backend.connections(), 3, "those open are used again");
}

#[tokio::test]
async fn many_who_come_at_once_wait_for_one_connection() {
    let mut backend = backend(100, Ends::Never).await;
    let running = start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    let mut responses = Vec::new();
    for _ in 0..50 {
        responses.push(client.get().await);
    }
    for _ in 0..50 {
        backend.call().await.1.send_response(Response::new(()), true).unwrap();
    }
    for response in responses {
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_is_ended_finishes_what_it_has_and_takes_no_more() {
    let mut backend = backend(100, Ends::AfterOne).await;
    let running = start(Limits::default(), backend.target());
    let client = Client::connect(&running).await;
    for _ in 0..5 {
        let response = client.get().await;
        backend.call().await.1.send_response(Response::new(()), true).unwrap();
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_refused_request_comes_back_whole() {
    let mut backend = backend(100, Ends::Never).await;
    let target = backend.target();
    let local = tokio::task::LocalSet::new();
    let test = async {
        let pool = proxy::Pool::default();
        let upstream = pool.upstream_to(target);
        let request = Request::post("/order")
            .header("host", "a")
            .body(proxy::Body::from(Bytes::from_static(b"one")))
            .unwrap();
        let timeouts = Timeouts::default();
        let refuse = async {
            let (_request, mut respond) = backend.call().await;
            respond.send_reset(Reason::REFUSED_STREAM);
        };
        let (failed, ()) = tokio::join!(upstream.forward(request, &timeouts), refuse);
        let failure = failed.unwrap_err();
        assert!(failure.error.is_unsent(), "{}", failure.error);
        let again = failure.request.expect("it was not begun");
        assert_eq!((again.method().as_str(), again.uri().path()), ("POST", "/order"));
        assert_eq!(again.headers()["host"], "a");
        let acted_on = async {
            let (mut request, mut respond) = backend.call().await;
            assert_eq!(read_all(request.body_mut()).await, "one");
            respond.send_reset(Reason::INTERNAL_ERROR);
        };
        let (failed, ()) = tokio::join!(upstream.forward(*again, &timeouts), acted_on);
        let failure = failed.unwrap_err();
        assert!(!failure.error.is_unsent() && failure.request.is_none(), "it may have been acted on");
    };
    local.run_until(test).await;
}

#[tokio::test]
async fn a_request_above_the_last_stream_of_a_goaway_comes_back_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { protocol: Protocol::Http2, ..Target::plain(listener.local_addr().unwrap()) };
    let backend = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 24]).await.unwrap();
        assert!(raw_http2::read_until(&mut socket, raw_http2::HEADERS, 1).await.is_some());
        let mut end = raw_http2::frame(raw_http2::SETTINGS, 0, 0, &[]);
        end.extend(raw_http2::frame(raw_http2::GOAWAY, 0, 0, &[0; 8]));
        socket.write_all(&end).await.unwrap();
        raw_http2::read_to_end(&mut socket).await;
    };
    let test = async {
        let pool = proxy::Pool::default();
        let upstream = pool.upstream_to(target);
        let request = Request::delete("/order").header("host", "a").body(proxy::Body::empty()).unwrap();
        let timeouts = Timeouts::default();
        let ask = async {
            let failure = soon(upstream.forward(request, &timeouts)).await.unwrap_err();
            assert!(failure.error.is_unsent(), "{}", failure.error);
            assert_eq!(failure.request.expect("it was not begun").method(), "DELETE");
        };
        tokio::join!(ask, backend);
    };
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_refused_connect_is_told_to_all_who_wait_for_it() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target { protocol: Protocol::Http2, ..Target::plain(address) };
    let running = start(Limits::default(), target);
    let client = Client::connect(&running).await;
    let responses = [client.get().await, client.get().await, client.get().await];
    for response in responses {
        assert_eq!(soon(response).await.unwrap().status(), 502);
    }
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
    let outer = start(Limits::default(), target);
    let answer = crate::support::get(&mut outer.connect().await, "/through").await;
    assert!(answer.contains("GET /through HTTP/1.1\r\n"), "{answer}");
    assert!(answer.contains("via: 1.1 sixfold\r\nvia: 2 sixfold\r\n"), "{answer}");
    assert!(answer.contains("host: a\r\n"), "{answer}");
}
