//! A backend of HTTP/2 whose calls the test answers, and a client of HTTP/2.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request};
use proxy::Target;
use proxy::connect::Protocol;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::{Running, soon};

pub(crate) type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// A backend whose calls the test answers.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) calls: mpsc::UnboundedReceiver<Call>,
    connections: Arc<Mutex<usize>>,
    _tasks: JoinSet<()>,
}

/// How a backend's connections end by themselves.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ends {
    Never,
    /// `GOAWAY` after the first request.
    AfterOne,
}

pub(crate) async fn backend(max_streams: u32, ends: Ends) -> Backend {
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
    pub(crate) fn target(&self) -> Target {
        Target { protocol: Protocol::Http2, ..Target::plain(self.address) }
    }

    pub(crate) async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.unwrap()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// An HTTP/2 client of the data plane.
pub(crate) struct Client {
    pub(crate) sender: h2::client::SendRequest<Bytes>,
    _tasks: JoinSet<Result<(), h2::Error>>,
}

impl Client {
    pub(crate) async fn connect(running: &Running) -> Self {
        let socket = TcpStream::connect(running.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Self { sender, _tasks: tasks }
    }

    pub(crate) async fn post(&self, path: &str) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::post(format!("http://calls.example{path}"))
            .header("te", "trailers")
            .header("grpc-timeout", "1S")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        self.sender.clone().ready().await.unwrap().send_request(request, false).unwrap()
    }

    pub(crate) async fn get(&self) -> h2::client::ResponseFuture {
        let request = Request::get("http://calls.example/").body(()).unwrap();
        self.sender.clone().ready().await.unwrap().send_request(request, true).unwrap().0
    }
}

pub(crate) fn trailers(status: &'static str) -> HeaderMap {
    [("grpc-status".parse().unwrap(), HeaderValue::from_static(status))].into_iter().collect()
}

pub(crate) async fn read_all(body: &mut RecvStream) -> Bytes {
    let mut all = Vec::new();
    while let Some(data) = soon(body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    all.into()
}
