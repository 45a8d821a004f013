//! The lane under test with the simplest handler, and a client for it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use process::Shutdown;
use proxy::connect::Target;
use proxy::server::{self, Connection, Limits, Listeners};
use proxy::wire::{self, AddedFields, Ending, Exchange, Pool, Rules, Upstream};
use proxy::{ForwardError, Guard, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the handler saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) errors: Mutex<Vec<String>>,
    pub(crate) endings: Mutex<Vec<Ending>>,
    pub(crate) broken: AtomicUsize,
    pub(crate) in_flight: AtomicUsize,
}

impl Seen {
    /// Waits until something holds.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(waited.is_ok(), "it never came so: {self:?}");
    }
}

struct InFlight(Arc<Seen>);

impl InFlight {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(seen))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Guard for InFlight {
    fn note_broken(&mut self) {
        self.0.broken.fetch_add(1, Relaxed);
    }
}

/// How the lane is set up.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    pub(crate) rules: Rules,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
}

struct Front {
    upstream: Rc<Upstream>,
    pool: Pool,
    setup: Setup,
    seen: Arc<Seen>,
}

impl wire::Handler for Front {
    async fn serve(&self, exchange: &mut Exchange<'_>) {
        let guard = InFlight::new(&self.seen);
        let mut added = AddedFields::default();
        added.push("X-Added", b"1");
        match exchange.attempt(&self.upstream, &self.setup.timeouts).await {
            Ok(answer) => {
                let ending = exchange.respond(answer, &added, &[b"x-secret"], guard).await;
                self.seen.endings.lock().unwrap().push(ending);
            }
            Err(error) => {
                self.note(&error);
                exchange.refuse(&error.problem(), &added).await;
            }
        }
    }

    fn rules(&self) -> Rc<Rules> {
        Rc::new(self.setup.rules.clone())
    }
}

impl Front {
    fn note(&self, error: &ForwardError) {
        let kind = match error {
            ForwardError::Connect { .. } => "connect",
            ForwardError::NoAddress { .. } => "no address",
            ForwardError::Exhausted { .. } => "exhausted",
            ForwardError::Broken { .. } => "broken",
            ForwardError::Refused { .. } => "refused",
            ForwardError::Timeout { .. } => "timeout",
            ForwardError::Malformed { reason, .. } => &format!("malformed: {reason}"),
            ForwardError::Client { .. } => "client",
            ForwardError::ClientTimeout { .. } => "client timeout",
        };
        self.seen.errors.lock().unwrap().push(kind.to_owned());
    }
}

impl server::Handler for Front {
    fn serve(self: &Rc<Self>, connection: Connection) -> impl Future<Output = ()> + 'static {
        wire::serve(connection, Rc::clone(self))
    }

    fn tick(&self) {
        self.pool.close_idle();
    }
}

/// The lane, running.
pub(crate) struct Lane {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    pub(crate) shutdown: Shutdown,
}

/// Starts the lane before a backend.
pub(crate) fn start(backend: SocketAddr, setup: Setup) -> Lane {
    let listeners = Listeners::bind("test", "127.0.0.1:0", 1).unwrap();
    let address = listeners.address();
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let seen = Arc::<Seen>::default();
    let make = {
        let (setup, seen) = (setup.clone(), Arc::clone(&seen));
        move || {
            let pool = Pool::default();
            let upstream = pool.upstream(&Target::plain(backend));
            Front { upstream, pool, setup: setup.clone(), seen: Arc::clone(&seen) }
        }
    };
    let stop = shutdown.clone();
    let serving = async move {
        server::serve("test", listeners, setup.limits, &stop, make).await.unwrap();
    };
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    drop(tokio::task::spawn(serving));
    Lane { address, seen, shutdown }
}

impl Lane {
    pub(crate) async fn connect(&self) -> Caller {
        Caller { stream: TcpStream::connect(self.address).await.unwrap(), unread: Vec::new() }
    }

    /// Sends bytes on a connection of their own; gives all that comes back until it is closed.
    pub(crate) async fn ask(&self, request: &[u8]) -> String {
        let mut caller = self.connect().await;
        caller.say(request).await;
        caller.rest().await
    }
}

/// A client.
pub(crate) struct Caller {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Caller {
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads until the bytes end so.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let end = end.as_bytes();
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                let read: Vec<u8> = self.unread.drain(..at + end.len()).collect();
                return String::from_utf8_lossy(&read).into_owned();
            }
            let mut piece = [0; 4096];
            let reading = tokio::time::timeout(Duration::from_secs(10), self.stream.read(&mut piece));
            let count = reading.await.expect("nothing came in time").unwrap_or(0);
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&self.unread));
            self.unread.extend_from_slice(&piece[..count]);
        }
    }

    /// Reads until the connection is closed.
    pub(crate) async fn rest(&mut self) -> String {
        let mut all = std::mem::take(&mut self.unread);
        let reading = self.stream.read_to_end(&mut all);
        let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
        match read {
            Ok(ended) => drop(ended.expect("it is closed and not reset")),
            Err(_) => panic!("not closed after {:?}", String::from_utf8_lossy(&all)),
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Reads so many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let mut piece = vec![0; 65536];
            let read = self.stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed after {} bytes of {count}", self.unread.len());
            self.unread.extend_from_slice(&piece[..read]);
        }
        self.unread.drain(..count).collect()
    }
}
