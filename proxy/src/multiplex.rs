//! HTTP/2 connections to one backend, each shared by as many requests as the backend allows.
//!
//! A request goes to the fullest connection that has room, so that those no longer needed run empty; without
//! room another is opened, once for all who wait. A connection the backend ends (`GOAWAY`) takes no more
//! requests; what it had not begun comes back ([`is_unprocessed`]).

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::Slot;
use crate::{Body, Stream};

/// How long a connection without requests is kept. A server that ends one says so by `GOAWAY`, so unlike with
/// HTTP/1 no request is at risk.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a backend with requests in flight that sends nothing is asked whether it is still there, and how
/// long it may take to answer: a machine that went away is noticed before the usual wait for a head is over.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The size of a response's fields, like that of a request's.
const HEADER_LIST: u32 = 64 << 10;

/// What a backend may send before the client has read it, on a stream and on a connection. Over 10 ms of round
/// trip the first is 50 MB/s; it bounds the memory a slow client costs.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// One thread's HTTP/2 connections to one backend.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: RefCell<Vec<Rc<Shared>>>,
    opening: RefCell<Option<Rc<Opening>>>,
}

/// A connection and who uses it.
#[derive(Debug)]
struct Shared {
    sender: SendRequest<Body>,
    /// What the backend allows at a time (RFC 9113 §6.5.2), as far as it has said.
    limit: Cell<usize>,
    requests: Cell<usize>,
    since: Cell<Instant>,
}

/// A connection that is being opened, and those who wait for it.
#[derive(Debug, Default)]
struct Opening {
    done: Notify,
    failed: RefCell<Option<Failed>>,
}

/// Why a connection was not opened, for each of those who wait.
#[derive(Debug, Clone)]
enum Failed {
    /// By the number the system has for it.
    System(i32),
    Other(io::ErrorKind, String),
}

impl From<&io::Error> for Failed {
    fn from(error: &io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Other(error.kind(), error.to_string()), Self::System)
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::System(number) => Self::from_raw_os_error(number),
            Failed::Other(kind, reason) => Self::new(kind, reason),
        }
    }
}

/// The right to one request on a connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease(Rc<Shared>);

impl Slot for Lease {}

impl Lease {
    /// Gives what sends the request.
    pub(crate) fn sender(&self) -> SendRequest<Body> {
        self.0.sender.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
        self.0.since.set(Instant::now());
    }
}

impl Connections {
    /// Gives a place on a connection, of those open or a new one.
    pub(crate) async fn lease<F>(&self, mut connect: impl FnMut() -> F) -> io::Result<Lease>
    where
        F: Future<Output = io::Result<Stream>>,
    {
        loop {
            if let Some(lease) = self.lease_open() {
                return Ok(lease);
            }
            let awaited = self.opening.borrow().clone();
            if let Some(opening) = awaited {
                opening.done.notified().await;
                let failed = opening.failed.borrow().clone();
                if let Some(failed) = failed {
                    return Err(failed.into());
                }
                continue;
            }
            let turn = Turn::take(self);
            match open(connect()).await {
                Ok(shared) => {
                    let lease = shared.lease();
                    self.open.borrow_mut().push(shared);
                    return Ok(lease);
                }
                Err(error) => {
                    turn.0.failed.replace(Some(Failed::from(&error)));
                    return Err(error);
                }
            }
        }
    }

    fn lease_open(&self) -> Option<Lease> {
        let mut open = self.open.borrow_mut();
        open.retain(|shared| !shared.sender.is_closed());
        let with_room = open.iter().filter(|shared| shared.requests.get() < shared.limit.get());
        with_room.max_by_key(|shared| shared.requests.get()).map(Shared::lease)
    }

    /// Closes connections that were without requests for too long.
    pub(crate) fn close_idle(&self, now: Instant) {
        self.open.borrow_mut().retain(|shared| {
            let is_used = shared.requests.get() > 0 || now - shared.since.get() < IDLE_TIMEOUT;
            is_used && !shared.sender.is_closed()
        });
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty() && self.opening.borrow().is_none()
    }
}

impl Shared {
    fn lease(self: &Rc<Self>) -> Lease {
        self.requests.set(self.requests.get() + 1);
        Lease(Rc::clone(self))
    }
}

/// Whose turn it is to open a connection; however it ends, those who wait go on.
struct Turn<'a>(Rc<Opening>, &'a Connections);

impl<'a> Turn<'a> {
    fn take(connections: &'a Connections) -> Self {
        let opening = Rc::new(Opening::default());
        connections.opening.replace(Some(Rc::clone(&opening)));
        Self(opening, connections)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.1.opening.replace(None);
        self.0.done.notify_waiters();
    }
}

/// Opens a connection of one's own, for a request that must not share one.
pub(crate) async fn open_alone(stream: impl Future<Output = io::Result<Stream>>) -> io::Result<Lease> {
    Ok(open(stream).await?.lease())
}

async fn open(stream: impl Future<Output = io::Result<Stream>>) -> io::Result<Rc<Shared>> {
    let stream = stream.await?;
    let (sender, connection) = http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let limit = Cell::new(connection.current_max_send_streams());
    let shared = Rc::new(Shared { sender, limit, requests: Cell::new(0), since: Cell::new(Instant::now()) });
    let known = Rc::downgrade(&shared);
    // It ends with the pool, which holds its sender, or with the thread, whose runtime owns it.
    tokio::task::spawn_local(async move {
        let mut connection = pin!(connection);
        let ended = std::future::poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            if let Some(shared) = known.upgrade() {
                shared.limit.set(connection.current_max_send_streams());
            }
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "an HTTP/2 connection to a backend ended early");
        }
    });
    Ok(shared)
}

/// Tells whether a backend certainly did not begin a request: it refused the stream (RFC 9113 §8.7), or ended
/// the connection before it.
pub(crate) fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        // h2 gives a remote GOAWAY only to streams above its last identifier.
        cause.is_remote() && (cause.is_go_away() || cause.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Runs the parts of a connection: it, and the bodies of requests.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        // As above: they end with the connection.
        tokio::task::spawn_local(future);
    }
}
