//! Beginning and end: draining, panics, upgraded connections.

use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use process::Shutdown;
use proxy::server::{self, Connection, Handler, Limits, Listeners, message};
use proxy::{Body, Client, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::raw_http2::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS};
#[cfg(target_os = "linux")]
use crate::sockets::is_kept_alive;
use crate::support::{Echo, Lane, get, soon, start};

struct Panics;

impl Handler for Panics {
    fn serve(self: &Rc<Self>, connection: Connection) -> impl Future<Output = ()> + 'static {
        message::serve(connection, Rc::clone(self))
    }

    fn tick(&self) {
        panic!("as the test wants it");
    }
}

impl message::Handler for Panics {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, _: &Rc<Client>) -> Response<Body> {
        Response::new(Body::from(bytes::Bytes::from(request.uri().path().to_owned())))
    }
}

struct Works;

/// Of several threads the first panics.
enum Either {
    Panics(Panics),
    Works(Works),
}

impl Handler for Either {
    fn serve(self: &Rc<Self>, connection: Connection) -> impl Future<Output = ()> + 'static {
        message::serve(connection, Rc::clone(self))
    }

    fn tick(&self) {
        if let Self::Panics(panics) = self {
            panics.tick();
        }
    }
}

impl message::Handler for Either {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, client: &Rc<Client>) -> Response<Body> {
        match self {
            Self::Panics(panics) => panics.handle(request, client).await,
            Self::Works(Works) => Response::new(Body::empty()),
        }
    }
}

#[tokio::test]
async fn a_thread_that_panics_ends_the_role_while_others_still_run() {
    let listeners = Listeners::bind("test", "127.0.0.1:0", 3).unwrap();
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let make = || match std::thread::current().name() {
        // Not the first: they were joined in turn once.
        Some("test 2") => Either::Panics(Panics),
        _ => Either::Works(Works),
    };
    let served = soon(server::serve("test", listeners, Limits::default(), &shutdown, make)).await;
    assert!(served.unwrap_err().to_string().contains("panicked"));
}

/// A backend that answers when it is told.
async fn backend_that_waits()
-> (std::net::SocketAddr, oneshot::Receiver<()>, oneshot::Sender<()>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, is_asked) = oneshot::channel();
    let (tell, told) = oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        asked.send(()).unwrap();
        let _ = told.await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    });
    (address, is_asked, tell, tasks)
}

#[tokio::test]
async fn draining_sends_goaway_and_finishes_the_streams_in_flight() {
    for lane in Lane::BOTH {
        drain(lane).await;
    }
}

async fn drain(lane: Lane) {
    let (backend, is_asked, tell, _tasks) = backend_that_waits().await;
    let mut running = lane.start(Limits::default(), Target::plain(backend));
    let mut stream = raw_http2::connect(running.address).await;
    let block = raw_http2::get_fields();
    stream.write_all(&raw_http2::frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await.unwrap();
    soon(is_asked).await.unwrap();
    running.shutdown.request();
    assert!(raw_http2::read_until(&mut stream, GOAWAY, 0).await.is_some());
    tell.send(()).unwrap();
    assert!(raw_http2::read_until(&mut stream, HEADERS, 1).await.is_some(), "the response still comes");
    raw_http2::read_to_end(&mut stream).await;
    running.ended().await.unwrap();
}

/// Opens a WebSocket-like connection to a backend that echoes.
async fn upgraded(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    soon(stream.read_exact(&mut back)).await.unwrap();
    stream
}

async fn upgrading_backend() -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let answer =
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn an_upgraded_connection_counts_and_ends_with_the_grace() {
    let (backend, _tasks) = upgrading_backend().await;
    let limits = Limits { connections: 1, ..Limits::default() };
    let mut running = start(limits, Target::plain(backend));
    let mut open = upgraded(running.address).await;
    let mut waiting = running.connect().await;
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.read(&mut [0; 1])).await;
    assert!(early.is_err(), "the upgraded connection has the only place");
    running.shutdown.request_by(tokio::time::Instant::now() + Duration::from_millis(200));
    assert_eq!(soon(open.read(&mut [0; 1])).await.unwrap_or(0), 0);
    running.ended().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn both_ends_of_an_upgraded_connection_are_asked_by_tcp() {
    let (backend, _tasks) = upgrading_backend().await;
    let running = start(Limits::default(), Target::plain(backend));
    let open = upgraded(running.address).await;
    let (ours, theirs) = (running.address.port(), open.local_addr().unwrap().port());
    let both_are_asked = async {
        let is_so = || {
            is_kept_alive(|local, remote| (local, remote) == (ours, theirs))
                && is_kept_alive(|_, remote| remote == backend.port())
        };
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(both_are_asked).await;
}

#[tokio::test]
async fn connections_are_kept_between_requests() {
    let backend = Echo::start().await;
    let running = start(Limits::default(), Target::plain(backend.address));
    let mut stream = running.connect().await;
    for _ in 0..3 {
        assert!(get(&mut stream, "/").await.contains("x-forwarded-proto: http\r\n"));
    }
    assert_eq!(backend.text().len(), 1, "one connection to the backend");
}
