//! Requests at a fixed rate, whatever becomes of them: an open loop on a thread of its own.
//!
//! A request is due at its place in the schedule; its latency counts from there, so that a balancer that
//! stalls is charged for everyone who would have come meanwhile. Two of three are `GET`, the third is a
//! `POST`; each asks for `/id/N` with an `N` nobody else has. Connections are kept, and one request in fifty
//! opens a new one.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// How long an answer may take before the client gives up and the request counts as failed: longer than the
/// balancer holds a request back while there is no backend (`outage_wait`), so that it is told.
const DEADLINE: Duration = Duration::from_secs(5);

/// How often the schedule is looked at.
const TICK: Duration = Duration::from_millis(1);

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its number.
    pub id: u64,
    /// Whether it is a `POST`.
    pub is_post: bool,
    /// When it was due.
    pub due: Instant,
    /// How long after that it ended.
    pub latency: Duration,
    /// The status, or why there is none.
    pub status: Result<u16, String>,
    /// Whether the answer says when to come back.
    pub has_retry_after: bool,
    /// Whether a kept connection turned out to be closed and a `GET` was sent once more on a new one.
    pub is_reopened: bool,
}

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Outcome>>,
}

impl Load {
    /// Starts sending `rate` requests a second.
    pub fn start(to: SocketAddr, rate: u64) -> Self {
        let (stop, good) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&good));
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let sender =
                Rc::new(Sender { to, idle: RefCell::default(), outcomes: RefCell::default(), good: counted });
            LocalSet::new().block_on(&runtime, send_all(sender, rate, &stopped))
        });
        Self { stop, good, thread }
    }

    /// Gives how many requests were answered 200 so far.
    pub fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Sends nothing more, waits for what is under way, and gives what became of every request.
    pub fn finish(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load ends")
    }
}

struct Sender {
    to: SocketAddr,
    idle: RefCell<Vec<TcpStream>>,
    outcomes: RefCell<Vec<Outcome>>,
    good: Arc<AtomicU64>,
}

async fn send_all(sender: Rc<Sender>, rate: u64, stop: &AtomicBool) -> Vec<Outcome> {
    let (began, mut next) = (Instant::now(), 0);
    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due_until = began.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
        while u128::from(next) < due_until {
            let due = began + Duration::from_nanos(next * 1_000_000_000 / rate);
            requests.spawn_local(Rc::clone(&sender).send(next, due));
            next += 1;
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    sender.outcomes.take()
}

/// An answer as far as anybody looks at it.
struct Got {
    status: u16,
    has_retry_after: bool,
}

impl Sender {
    async fn send(self: Rc<Self>, id: u64, due: Instant) {
        let is_post = id % 3 == 2;
        let is_reopened = Cell::new(false);
        let exchange = self.exchange(id, is_post, &is_reopened);
        let got = tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let has_retry_after = got.as_ref().is_ok_and(|got| got.has_retry_after);
        let status = got.map(|got| got.status);
        if status == Ok(200) {
            self.good.fetch_add(1, Ordering::Relaxed);
        }
        let (latency, is_reopened) = (due.elapsed(), is_reopened.get());
        self.outcomes.borrow_mut().push(Outcome {
            id,
            is_post,
            due,
            latency,
            status,
            has_retry_after,
            is_reopened,
        });
    }

    async fn exchange(&self, id: u64, is_post: bool, is_reopened: &Cell<bool>) -> Result<Got, String> {
        let kept = if id.is_multiple_of(50) { None } else { self.take_idle() };
        if let Some(kept) = kept {
            match self.ask(kept, id, is_post).await {
                // What is certain not to be acted on twice may be sent again (RFC 9110 §9.2.2).
                Err((_, true)) if !is_post => is_reopened.set(true),
                Err((error, _)) => return Err(error),
                Ok(got) => return Ok(got),
            }
        }
        let fresh = TcpStream::connect(self.to).await.map_err(|error| format!("connect: {error}"))?;
        fresh.set_nodelay(true).map_err(|error| error.to_string())?;
        self.ask(fresh, id, is_post).await.map_err(|(error, _)| error)
    }

    /// Takes a kept connection that nobody has closed.
    fn take_idle(&self) -> Option<TcpStream> {
        loop {
            let kept = self.idle.borrow_mut().pop()?;
            let is_silent =
                kept.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            if is_silent {
                return Some(kept);
            }
        }
    }

    /// Sends a request and reads its answer; an error tells whether not a byte of an answer had come.
    async fn ask(&self, mut connection: TcpStream, id: u64, is_post: bool) -> Result<Got, (String, bool)> {
        let request = if is_post {
            format!("POST /id/{id} HTTP/1.1\r\nHost: load\r\nContent-Length: 5\r\n\r\nhello")
        } else {
            format!("GET /id/{id} HTTP/1.1\r\nHost: load\r\n\r\n")
        };
        connection.write_all(request.as_bytes()).await.map_err(|error| (format!("write: {error}"), true))?;
        let mut bytes = Vec::with_capacity(1024);
        loop {
            let read = connection.read_buf(&mut bytes).await;
            let length = read.map_err(|error| (format!("read: {error}"), bytes.is_empty()))?;
            if length == 0 {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Err((format!("closed after {text:?}"), bytes.is_empty()));
            }
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let field = |name: &str| {
                head.lines()
                    .filter_map(|line| line.split_once(": "))
                    .find(|(found, _)| *found == name)
                    .map(|(_, value)| value)
            };
            let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
            let Some(length) = length else { return Err((format!("no length in {head:?}"), false)) };
            if bytes.len() < end + 4 + length {
                continue;
            }
            let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
            let has_retry_after = field("retry-after").is_some();
            if field("connection") != Some("close") {
                self.idle.borrow_mut().push(connection);
            }
            return Ok(Got { status, has_retry_after });
        }
    }
}
