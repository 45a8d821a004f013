use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Answer, CallError, HttpClient};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that serves each of its connections by a function, and counts them.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// What serves, for as long as somebody calls.
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                served.spawn(serve(stream));
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn post(&self, client: &HttpClient) -> Result<Answer, CallError> {
        let url = format!("http://{}/call?to=me", self.address);
        let request = Request::builder().method("POST").uri(&url);
        client.send(&url, request, Bytes::from_static(b"{}"), PATIENCE).await
    }
}

/// Reads one request with its body of two bytes; gives its head.
async fn read_request(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"{}") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn answer(stream: &mut TcpStream, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await
}

fn client() -> HttpClient {
    HttpClient::with_credential(None, PATIENCE)
}

#[tokio::test]
async fn one_connection_serves_one_call_after_the_other() {
    let server = Server::start(|mut stream| async move {
        loop {
            let head = read_request(&mut stream).await?;
            answer(&mut stream, &head).await?;
        }
    })
    .await;
    let client = client();
    for _ in 0..3 {
        let answered = server.post(&client).await.unwrap();
        let head = String::from_utf8(answered.body.to_vec()).unwrap();
        assert!(head.starts_with("POST /call?to=me HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_passed_over() {
    let close = Arc::new(Semaphore::new(0));
    let (closing, (closed, mut gone)) = (Arc::clone(&close), mpsc::unbounded_channel());
    let server = Server::start(move |mut stream| {
        let (closing, closed) = (Arc::clone(&closing), closed.clone());
        async move {
            read_request(&mut stream).await?;
            answer(&mut stream, "").await?;
            closing.acquire().await.unwrap().forget();
            drop(stream);
            closed.send(()).unwrap();
            Ok(())
        }
    })
    .await;
    let client = client();
    for sent in 1..=3 {
        server.post(&client).await.unwrap();
        assert_eq!(server.connections(), sent);
        close.add_permits(1);
        gone.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_a_server_read_is_not_safe_to_repeat() {
    let server = Server::start(|mut stream| async move { read_request(&mut stream).await.map(drop) }).await;
    let error = server.post(&client()).await.unwrap_err();
    assert!(matches!(error, CallError::Broken { .. }) && !error.is_safe_to_repeat(), "{error:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await
    })
    .await;
    // Also where less would be enough of a long one.
    for client in [client(), client().with_enough(70_000)] {
        let error = server.post(&client).await.unwrap_err();
        assert!(matches!(error, CallError::Broken { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_safe_to_repeat() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for url in [&url, "https://127.0.0.1/", "/path"] {
        let error = client().get(url).await.unwrap_err();
        assert!(error.is_safe_to_repeat(), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_is_answered_or_fails_though_its_connection_closes_meanwhile() {
    let server = Server::start(|mut stream| async move {
        for _ in 0..2 {
            read_request(&mut stream).await?;
            answer(&mut stream, "").await?;
        }
        Ok(())
    })
    .await;
    let (server, client) = (Arc::new(server), client());
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (server, client) = (Arc::clone(&server), client.clone());
        callers.spawn(async move {
            for _ in 0..500 {
                let called = server.post(&client).await;
                assert!(!matches!(called, Err(CallError::Timeout { .. })), "{called:?}");
            }
        });
    }
    callers.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn an_unused_connection_is_closed() {
    let (ended, mut seen) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let ended = ended.clone();
        async move {
            read_request(&mut stream).await?;
            answer(&mut stream, "").await?;
            let _ = ended.send(stream.read(&mut [0]).await);
            Ok(())
        }
    })
    .await;
    let client = client();
    server.post(&client).await.unwrap();
    assert!(matches!(seen.recv().await, Some(Ok(0))));
}

#[tokio::test]
async fn what_is_longer_than_enough_is_an_answer_and_its_connection_is_not_used_again() {
    let server = Server::start(|mut stream| async move {
        loop {
            read_request(&mut stream).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await?;
            stream.write_all(&[b'x'; 200_000]).await?;
        }
    })
    .await;
    let client = client().with_enough(70_000);
    for calls in 1..=2 {
        let answered = server.post(&client).await.unwrap();
        assert_eq!((answered.status.as_u16(), answered.body.len()), (200, 70_000));
        assert_eq!(server.connections(), calls);
    }
}
