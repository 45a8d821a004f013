//! A running load balancer, backends that do as told, and a client that shows every byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use load_balancer::{BackendReport, Config};
use process::{Reload, RoleError, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long a test waits for what must happen before it fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running load balancer.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    admin: axum::Router,
    task: JoinSet<Result<(), RoleError>>,
}

/// A config over these backends, with one thread and quick probes.
pub(crate) fn config(backends: &[SocketAddr]) -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".to_owned(),
        threads: 1,
        backends: backends.iter().map(|address| address.to_string().into()).collect(),
        ..Config::default()
    };
    config.health.interval = Duration::from_millis(10);
    config
}

/// Starts a load balancer.
pub(crate) fn start(config: &Config) -> Running {
    Running::of(
        load_balancer::bind(Reload::fixed(config.clone())).unwrap(),
        Shutdown::new(Duration::from_secs(5)),
    )
}

/// Starts a load balancer over one backend.
pub(crate) fn start_over(backend: &Backend) -> Running {
    start(&config(&[backend.address]))
}

impl Running {
    /// Runs a bound load balancer.
    pub(crate) fn of(bound: process::Bound, shutdown: Shutdown) -> Self {
        let (address, admin) = (bound.address().unwrap(), bound.admin.clone());
        let mut task = JoinSet::new();
        task.spawn(bound.run(shutdown.clone()));
        Self { address, shutdown, admin, task }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends one request on a connection of its own and reads the whole response.
    pub(crate) async fn exchange(&self, request: &str) -> Response {
        self.connect().await.exchange(request).await
    }

    /// Asks `GET /v1/backends`.
    pub(crate) async fn report(&self) -> Vec<BackendReport> {
        let request = http::Request::get("/v1/backends").body(axum::body::Body::empty()).unwrap();
        let response = self.admin.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let backends = serde_json::from_slice::<load_balancer::admin::Backends>(&body).unwrap().backends;
        backends.into_iter().map(|backend| backend.report).collect()
    }

    /// Sends a request with a JSON body to the admin address; gives the status and what was answered.
    pub(crate) async fn administer(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json");
        let request = request.body(axum::body::Body::from(body.to_owned())).unwrap();
        let response = self.admin.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Waits until what is known about the backends is as expected.
    pub(crate) async fn wait_until(&self, expected: impl Fn(&[BackendReport]) -> bool) {
        let waiting = async {
            while !expected(&self.report().await) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("it did not come to that: {:?}", self.report().await);
        }
    }

    /// Waits for the end after a shutdown.
    pub(crate) async fn ended(mut self) -> Result<(), RoleError> {
        let ended = tokio::time::timeout(PATIENCE, self.task.join_next()).await;
        ended.expect("the role ends").unwrap().unwrap()
    }
}

/// A backend; probes are answered apart and not counted.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    count: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

/// Where a request is held back.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) arrived: Arc<Notify>,
    pub(crate) goes_on: Arc<Notify>,
}

impl Backend {
    /// Starts a backend which reads the head of each request and lets `answer` do the rest; a connection
    /// goes on while `answer` gives it back.
    pub(crate) async fn start<F>(answer: impl Fn(String, Client) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Client>> + Send + 'static,
    {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer).await
    }

    /// Starts one that answers at once, but holds back requests that begin with `held` until told.
    pub(crate) async fn holding(held: &'static str, response: &'static str) -> (Self, Held) {
        let at = Held { arrived: Arc::new(Notify::new()), goes_on: Arc::new(Notify::new()) };
        let told = at.clone();
        let backend = Self::start(move |head, mut client| {
            let told = told.clone();
            async move {
                if head.starts_with(held) {
                    told.arrived.notify_one();
                    told.goes_on.notified().await;
                }
                client.send(response).await;
                Some(client)
            }
        })
        .await;
        (backend, at)
    }

    /// Starts one at an address.
    pub(crate) async fn start_at<F>(
        address: SocketAddr,
        answer: impl Fn(String, Client) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Client>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, kept, answer) = (Arc::clone(&count), Arc::clone(&heads), Arc::new(answer));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (counted, kept, answer) = (Arc::clone(&counted), Arc::clone(&kept), Arc::clone(&answer));
                connections.spawn(async move {
                    let mut client = Client::new(stream);
                    while let Some(head) = client.read_head().await {
                        if !head.starts_with("GET /health ") {
                            counted.fetch_add(1, Ordering::SeqCst);
                            kept.lock().unwrap().push(head.clone());
                        }
                        match answer(head, client).await {
                            Some(back) => client = back,
                            None => return,
                        }
                    }
                });
            }
        });
        Self { address, count, heads, _task: task }
    }

    /// Starts a backend which answers every request with these bytes.
    pub(crate) async fn answering(response: &'static str) -> Self {
        Self::answering_at(([127, 0, 0, 1], 0).into(), response).await
    }

    /// Starts one that does so at an address.
    pub(crate) async fn answering_at(address: SocketAddr, response: &'static str) -> Self {
        Self::start_at(address, move |_, mut client| async move {
            client.send(response).await;
            Some(client)
        })
        .await
    }

    /// How many requests it was sent.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// The head of the last request it was sent.
    pub(crate) fn head(&self) -> Head {
        Head::new(self.heads.lock().unwrap().last().expect("a request came"))
    }
}

/// An address at which nobody listens.
pub(crate) fn dead_address() -> SocketAddr {
    process::listen::Reserved::take().unwrap().until_exit()
}

/// A message's first line and fields.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) line: String,
    fields: HashMap<String, Vec<String>>,
}

impl Head {
    fn new(text: &str) -> Self {
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let line = lines.next().unwrap_or_default().to_owned();
        let mut fields: HashMap<String, Vec<String>> = HashMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            fields.entry(name.to_lowercase()).or_default().push(value.trim().to_owned());
        }
        Self { line, fields }
    }

    /// A field's values, joined as one list.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.fields.get(name).map(|values| values.join(", "))
    }
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn problem(&self) -> String {
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(document["trace_id"], self.head.get("x-request-id").unwrap());
        document["type"].as_str().unwrap().strip_prefix("urn:sixfold:problem:").unwrap().to_owned()
    }
}

/// One end of a connection, with what was read ahead.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        // The other end may be gone already, which a test then sees by what it does not get.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    pub(crate) async fn exchange(&mut self, request: &str) -> Response {
        self.send(request).await;
        self.read_response(request.starts_with("HEAD")).await
    }

    /// Reads a message's head; `None` when the other end has closed.
    pub(crate) async fn read_head(&mut self) -> Option<String> {
        self.read_past("\r\n\r\n").await
    }

    /// Reads a response with a length or in chunks.
    pub(crate) async fn read_response(&mut self, is_head: bool) -> Response {
        let head = Head::new(&self.read_head().await.expect("a response comes"));
        let body = if is_head {
            String::new()
        } else if head.get("transfer-encoding").as_deref() == Some("chunked") {
            let mut body = String::new();
            while let Some(chunk) = self.read_chunk().await {
                body.push_str(&chunk);
            }
            self.read_past("\r\n").await;
            body
        } else {
            let length = head.get("content-length").map_or(0, |length| length.parse().unwrap());
            self.read_exactly(length).await
        };
        Response { head, body }
    }

    /// Reads a chunk of a body; `None` at the last.
    pub(crate) async fn read_chunk(&mut self) -> Option<String> {
        let size = self.read_past("\r\n").await.expect("a chunk comes");
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            return None;
        }
        let chunk = self.read_exactly(size).await;
        self.read_exactly(2).await;
        Some(chunk)
    }

    /// Reads up to and with a mark; `None` when the other end has closed.
    pub(crate) async fn read_past(&mut self, mark: &str) -> Option<String> {
        loop {
            let found = self.ahead.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(start) = found {
                let rest = self.ahead.split_off(start + mark.len());
                let text = std::mem::replace(&mut self.ahead, rest);
                return Some(String::from_utf8(text).unwrap());
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    pub(crate) async fn read_exactly(&mut self, length: usize) -> String {
        while self.ahead.len() < length {
            assert!(self.read_more().await, "the connection closed before {length} bytes had come");
        }
        let rest = self.ahead.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap()
    }

    /// Reads something; false when the other end has closed.
    async fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let count = read.expect("something comes, or the end").unwrap_or(0);
        self.ahead.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Tells whether the other end closes, be it after it sent something.
    pub(crate) async fn is_closed_whatever_was_sent(&mut self) -> bool {
        while self.read_more().await {}
        true
    }

    /// Tells whether the other end closes without sending more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && !self.read_more().await
    }
}
