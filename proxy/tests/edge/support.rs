//! A data plane that forwards to one backend, and backends.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use process::{RoleError, Shutdown};
use proxy::fields::{TrustedProxies, prepare_request};
use proxy::server::{self, Handler, Listeners, Options, message};
use proxy::wire::{self, AddedFields, Exchange, Rules};
use proxy::{Body, Client, ForwardError, Pool, Target, Timeouts};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a test waits for what must happen before it fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must happen.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it should have happened by now")
}

/// A running data plane of one thread.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    task: JoinSet<Result<(), RoleError>>,
}

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Message,
    Wire,
}

impl Lane {
    pub(crate) const BOTH: [Self; 2] = [Self::Message, Self::Wire];

    pub(crate) fn start(self, options: impl Into<Options>, target: Target) -> Running {
        start_all(options.into(), target, Timeouts::default(), self)
    }
}

pub(crate) fn start(options: impl Into<Options>, target: Target) -> Running {
    Lane::Message.start(options, target)
}

pub(crate) fn start_all(options: Options, target: Target, timeouts: Timeouts, lane: Lane) -> Running {
    let listeners = Listeners::bind("test", "127.0.0.1:0", 1).unwrap();
    let address = listeners.address();
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let mut task = JoinSet::new();
    let stop = shutdown.clone();
    let mut limits = wire::Limits::default();
    limits.body_idle = options.limits.body_idle_timeout;
    task.spawn(async move {
        let make = move || Forwarder {
            pool: Pool::default(),
            wire: wire::Pool::default(),
            target: target.clone(),
            timeouts,
            lane,
            rules: Rc::new(Rules { limits, ..Rules::default() }),
        };
        server::serve("test", listeners, options, &stop, make).await
    });
    Running { address, shutdown, task }
}

impl Running {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until it has ended by itself or after the shutdown was requested.
    pub(crate) async fn ended(&mut self) -> Result<(), RoleError> {
        soon(self.task.join_next()).await.unwrap().unwrap()
    }
}

/// Forwards everything to one target; what is for `/twice` in the wire lane a second time, if nothing of it was sent.
struct Forwarder {
    pool: Pool,
    wire: wire::Pool,
    target: Target,
    timeouts: Timeouts,
    lane: Lane,
    rules: Rc<Rules>,
}

impl Handler for Forwarder {
    fn serve(self: &Rc<Self>, connection: server::Connection) -> impl Future<Output = ()> + 'static {
        let this = Rc::clone(self);
        async move {
            match this.lane {
                Lane::Message => message::serve(connection, this).await,
                Lane::Wire => wire::serve(connection, this).await,
            }
        }
    }

    fn tick(&self) {
        self.pool.close_idle();
        self.wire.close_idle();
    }
}

impl message::Handler for Forwarder {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, client: &Rc<Client>) -> Response<Body> {
        let prepared = prepare_request(request, client, &TrustedProxies::default());
        let problem = match prepared {
            Ok(request) => {
                let upstream = self.pool.upstream_to(self.target.clone());
                match upstream.forward_for(Some(client.addresses()), request, &self.timeouts).await {
                    Ok(response) => return response,
                    Err(failure) => failure.error.problem(),
                }
            }
            Err(refusal) => refusal.problem(),
        };
        problem.to_response().map(Body::from)
    }
}

impl wire::Handler for Forwarder {
    async fn serve(&self, exchange: &mut Exchange<'_>) {
        let added = AddedFields::default();
        let upstream = self.wire.upstream(&self.target);
        let mut answered = exchange.attempt(&upstream, &self.timeouts).await;
        if exchange.request().path() == b"/twice" && answered.as_ref().is_err_and(ForwardError::is_unsent) {
            answered = exchange.attempt(&upstream, &self.timeouts).await;
        }
        match answered {
            Ok(answer) => drop(exchange.respond(answer, &added, &[], ()).await),
            Err(error) => exchange.refuse(&error.problem(), &added).await,
        }
    }

    fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.rules)
    }
}

/// A backend that answers each HTTP/1 request with its head, and records all bytes of each connection.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    pub(crate) recorded: Arc<Mutex<Vec<Vec<u8>>>>,
    _tasks: JoinSet<()>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorded: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let all = Arc::clone(&recorded);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let all = Arc::clone(&all);
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                connections.spawn(echo(stream, move |bytes| {
                    all.lock().unwrap()[number].extend_from_slice(bytes);
                }));
            }
        });
        Self { address, recorded, _tasks: tasks }
    }

    /// Gives all that was recorded, as text.
    pub(crate) fn text(&self) -> Vec<String> {
        let all = self.recorded.lock().unwrap();
        all.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

/// Answers each head with itself as the body; `/large` with 64 MiB.
pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, mut record: impl FnMut(&[u8])) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        // A PROXY header of IPv4, which holds what looks like the end of a head.
        if bytes.starts_with(b"\r\n\r\n\0") && bytes.len() >= 28 {
            bytes.drain(..28);
        }
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = bytes.drain(..end + 4).collect();
            let text = String::from_utf8_lossy(&head).into_owned();
            let size = text
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            while bytes.len() < size.unwrap_or(0) {
                let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
                record(&buffer[..count]);
                bytes.extend_from_slice(&buffer[..count]);
            }
            bytes.drain(..size.unwrap_or(0));
            let body = if text.starts_with("GET /large ") { vec![b'x'; 64 << 20] } else { head };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all(answer.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
                return;
            }
        }
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        record(&buffer[..count]);
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// Sends a GET over HTTP/1 and gives the whole response as text; the connection stays open.
pub(crate) async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    soon(read_response(stream)).await.expect("a response")
}

/// Reads one response with a length; `None` if the connection ends before.
pub(crate) async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let size =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= end + 4 + size.unwrap_or(0) {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
