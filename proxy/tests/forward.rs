//! Forwarding over real sockets: which connection is used, and when waiting ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use proxy::connect::Protocol;
use proxy::{Body, BodyError, ForwardError, Pool, Target, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get() -> Request<Body> {
    Request::get("/").header("host", "a").body(Body::empty()).unwrap()
}

/// Starts a backend on this thread; gives its address and how many connections it accepted.
async fn backend<F: Future<Output = ()> + 'static>(
    serve: impl Fn(TcpStream) -> F + 'static,
) -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Rc::new(Cell::new(0));
    let count = Rc::clone(&accepted);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.set(count.get() + 1);
            spawn_local(serve(stream));
        }
    });
    (address, accepted)
}

/// Reads the head of a request without a body; false when the other end has closed.
async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

async fn answer_all(mut stream: TcpStream) {
    while read_head(&mut stream).await {
        stream.write_all(OK.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn requests_in_turn_share_one_connection() {
    let test = async {
        let (address, accepted) = backend(answer_all).await;
        let pool = Pool::default();
        let upstream = pool.upstream(address);
        for _ in 0..10 {
            let response = upstream.forward(get(), &Timeouts::default()).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
        }
        assert_eq!(accepted.get(), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn when_one_kept_connection_breaks_the_others_are_not_tried() {
    let test = async {
        // Each connection answers once, late enough that another request opens another, and then breaks.
        let (address, accepted) = backend(|mut stream| async move {
            read_head(&mut stream).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            read_head(&mut stream).await;
        })
        .await;
        let pool = Pool::default();
        let (upstream, timeouts) = (pool.upstream(address), Timeouts::default());
        let get_whole = async || {
            let response = upstream.forward(get(), &timeouts).await.map_err(|failure| failure.error)?;
            Ok::<_, ForwardError>(response.into_body().collect().await.unwrap().to_bytes())
        };
        let (one, two, three) = tokio::join!(get_whole(), get_whole(), get_whole());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        assert_eq!(accepted.get(), 3);
        let broken = get_whole().await;
        assert!(matches!(broken, Err(ForwardError::Broken { .. })), "{broken:?}");
        assert_eq!(get_whole().await.unwrap(), "ok", "the repeat comes over a fresh one");
        assert_eq!(accepted.get(), 4);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_connection_still_busy_with_a_body_is_not_used() {
    let test = async {
        let (address, accepted) = backend(|mut stream| async move {
            while read_head(&mut stream).await {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
            }
        })
        .await;
        let pool = Pool::default();
        let upstream = pool.upstream(address);
        let first = upstream.forward(get(), &Timeouts::default()).await.unwrap();
        let second = upstream.forward(get(), &Timeouts::default()).await.unwrap();
        assert_eq!(accepted.get(), 2);
        drop((first, second));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_refused_connect_gives_the_request_back() {
    let test = async {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let pool = Pool::default();
        let failure = pool.upstream(address).forward(get(), &Timeouts::default()).await.unwrap_err();
        assert!(failure.error.is_unsent());
        assert_eq!(failure.request.expect("nothing was sent").headers()["host"], "a");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_message_for_a_backend_of_http2_is_not_sent_and_comes_back() {
    let run = async {
        let (address, accepted) = backend(answer_all).await;
        let target = Target { protocol: Protocol::Http2, ..Target::plain(address) };
        let upstream = Pool::default().upstream_to(target);
        let failure = upstream.forward(get(), &Timeouts::default()).await.unwrap_err();
        assert!(failure.error.is_unsent() && failure.request.is_some());
        assert!(failure.error.to_string().contains("HTTP/1 only"), "{}", failure.error);
        assert_eq!(accepted.get(), 0);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_body_that_does_not_end_in_time_breaks_off() {
    let test = async {
        let (address, _) = backend(|mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
            std::future::pending().await
        })
        .await;
        let pool = Pool::default();
        let timeouts = Timeouts { total: Some(Duration::from_millis(50)), ..Timeouts::default() };
        let response = pool.upstream(address).forward(get(), &timeouts).await.unwrap();
        let error = response.into_body().collect().await.unwrap_err();
        assert!(matches!(error, BodyError::Deadline), "{error}");
    };
    LocalSet::new().run_until(test).await;
}

/// Counts what a backend is blamed for.
struct Blame(Rc<Cell<usize>>);

impl proxy::Guard for Blame {
    fn note_broken(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[tokio::test]
async fn a_backend_is_not_blamed_for_a_client_that_took_its_time() {
    let test = async {
        let (address, _) = backend(|mut stream| async move {
            read_head(&mut stream).await;
            // Half at once; the rest when the time is over.
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
            std::future::pending().await
        })
        .await;
        let pool = Pool::default();
        let timeouts = Timeouts { total: Some(Duration::from_millis(200)), ..Timeouts::default() };
        // One client asks for more at once and waits for the backend; the other looks again too late.
        for (is_slow, blamed) in [(false, 1), (true, 0)] {
            let blame = Rc::new(Cell::new(0));
            let response = pool.upstream(address).forward(get(), &timeouts).await.unwrap();
            let mut body = response.into_body().guarded(Blame(Rc::clone(&blame)));
            assert!(body.frame().await.unwrap().is_ok());
            if is_slow {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            let error = body.frame().await.unwrap().unwrap_err();
            assert_eq!(matches!(error, BodyError::ClientDeadline), is_slow, "{error}");
            assert_eq!(blame.get(), blamed);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_whole_time_bounds_the_wait_for_the_head_too() {
    let test = async {
        let (address, _) = backend(|stream| async move {
            let _open = stream;
            std::future::pending().await
        })
        .await;
        let pool = Pool::default();
        let timeouts = Timeouts { total: Some(Duration::from_millis(20)), ..Timeouts::default() };
        let failure = pool.upstream(address).forward(get(), &timeouts).await.unwrap_err();
        assert!(matches!(failure.error, ForwardError::Timeout { .. }), "{}", failure.error);
        assert!(failure.request.is_none(), "it may have been acted on");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_backend_that_closes_what_it_accepts_is_not_asked_again_and_again() {
    const REQUESTS: usize = 50;
    // On a thread of its own, so that the end is there before the request is.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    LocalSet::new()
        .run_until(async {
            // A connection of HTTP/2 is opened for whoever asks next, so the first failure says nothing of it.
            for (protocol, most) in [(Protocol::Http1, REQUESTS), (Protocol::Http2, 2 * REQUESTS)] {
                accepted.store(0, Ordering::SeqCst);
                for _ in 0..REQUESTS {
                    let target = Target { protocol, ..Target::plain(address) };
                    let sent = Pool::default().upstream_to(target).forward(get(), &Timeouts::default()).await;
                    assert!(sent.is_err());
                }
                let accepted = accepted.load(Ordering::SeqCst);
                assert!(accepted <= most, "{accepted} connections for {REQUESTS} requests");
            }
        })
        .await;
}
