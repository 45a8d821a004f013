//! Connections to backends, kept open by the thread that made them.
//!
//! A connection has no task of its own while it is kept or waits for the head of a response: whoever waits
//! for the head drives it, which saves two wake-ups a request. Only a response that is longer than what came
//! with its head gets a task, so that its body moves while the client reads. Messages go to backends of HTTP/1
//! alone; those of HTTP/2 are reached in the wire lane ([`crate::wire`]).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::connect::{Protocol, Target};
use crate::proxy_protocol::Addresses;
use crate::{Body, Connector, ForwardError, Stream, Timeouts};

/// How many connections a checkout looks at before it opens a new one.
///
/// Those looked at are busy with the rest of a response; a pool full of them must not cost a walk.
const CHECKOUT_LIMIT: usize = 8;

/// How long connections are kept, and how many.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Connections kept to one backend, by one thread.
    pub max_idle: usize,
    /// How long an unused connection is kept; it should be shorter than the backend keeps it.
    pub idle_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            // As many as a backend may be asked at a time (`load_balancer.limit.max`). A thousand requests in
            // flight may be answered in one turn of the loop; when no more than 256 of their connections were
            // kept, one request in twelve opened another, at several times the cost of the rest of it.
            max_idle: 8192,
            // A Node.js server closes an idle connection after 5 s, the shortest of common defaults.
            idle_timeout: Duration::from_secs(4),
        }
    }
}

/// One thread's connections to all its backends; clones share them.
#[derive(Debug, Clone)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    upstreams: RefCell<HashMap<Target, Rc<Upstream>>>,
    builder: http1::Builder,
    now: Cell<Instant>,
}

/// One thread's connections to one backend.
#[derive(Debug)]
pub struct Upstream {
    target: Target,
    host: HeaderValue,
    idle: RefCell<VecDeque<Idle>>,
    pool: std::rc::Weak<Inner>,
}

/// The head of a response, or why there is none, with the request if nothing of it was sent.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<Body>>>;

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    /// What reads and writes; without one a task of its own does.
    driver: Option<Driver>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(PoolOptions::default())
    }
}

impl Pool {
    /// Makes an empty pool; it belongs to the present thread, which must run a local runtime.
    pub fn new(options: PoolOptions) -> Self {
        let mut builder = http1::Builder::new();
        // For messages that fit a packet one plain write costs less than a vectored one.
        builder.writev(false);
        Self(Rc::new(Inner {
            options,
            upstreams: RefCell::default(),
            builder,
            now: Cell::new(Instant::now()),
        }))
    }

    /// Gives the connections to one backend that speaks HTTP/1.1 in the clear.
    pub fn upstream(&self, address: SocketAddr) -> Rc<Upstream> {
        self.upstream_to(Target::plain(address))
    }

    /// Gives the connections to one backend; keep what it gives, because finding it costs a hash.
    pub fn upstream_to(&self, target: Target) -> Rc<Upstream> {
        let mut upstreams = self.0.upstreams.borrow_mut();
        let upstream = upstreams.entry(target).or_insert_with_key(|target| {
            let host = HeaderValue::try_from(target.address.to_string());
            Rc::new(Upstream {
                target: target.clone(),
                host: host.unwrap_or(HeaderValue::from_static("")),
                idle: RefCell::default(),
                pool: Rc::downgrade(&self.0),
            })
        });
        Rc::clone(upstream)
    }

    /// Gives how long connections are kept, and how many.
    pub fn options(&self) -> PoolOptions {
        self.0.options
    }

    /// Closes connections that were unused too long; call it about once a second.
    pub fn close_idle(&self) {
        let now = Instant::now();
        self.0.now.set(now);
        self.0.upstreams.borrow_mut().retain(|_, upstream| {
            upstream.idle.borrow_mut().retain(|idle| {
                !idle.connection.sender.is_closed() && now - idle.since < self.0.options.idle_timeout
            });
            // Backends come and go; of one that has gone nobody else knows.
            Rc::strong_count(upstream) > 1 || !upstream.idle.borrow().is_empty()
        });
    }
}

impl Upstream {
    /// Gives the backend's address.
    pub fn address(&self) -> SocketAddr {
        self.target.address
    }

    /// Gives where its connections lead.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Gives the address as a `Host` field, for the HTTP/1.0 request that has none.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Takes a connection that can send at once, as far as is known: that a backend has closed one may show
    /// only when it is driven.
    pub(crate) fn check_out(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        for _ in 0..CHECKOUT_LIMIT {
            let candidate = idle.pop_back()?;
            if candidate.connection.sender.is_ready() {
                return Some(candidate.connection);
            }
            if !candidate.connection.sender.is_closed() {
                idle.push_front(candidate);
            }
        }
        None
    }

    /// Keeps a connection whose response has begun; whether it can send again is seen at checkout.
    pub(crate) fn check_in(&self, mut connection: Connection) {
        let Some(pool) = self.pool.upgrade() else { return };
        if self.target.proxy_header {
            // It belongs to one client; it ends with its response.
            connection.drive_apart(self.address());
            return;
        }
        if connection.sender.is_closed() {
            return;
        }
        if !connection.sender.is_ready() {
            connection.drive_apart(self.address());
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < pool.options.max_idle {
            idle.push_back(Idle { connection, since: pool.now.get() });
        }
    }

    /// Closes the connections that nobody uses; one that still brings a response ends with it.
    pub(crate) fn forget_kept(&self) {
        drop(self.idle.take());
    }

    /// Opens a connection of HTTP/1.
    pub(crate) async fn connect(
        &self,
        timeouts: &Timeouts,
        client: Option<Addresses>,
    ) -> Result<Connection, ForwardError> {
        let fault = |reason: io::Error| ForwardError::unconnected(self.address(), reason);
        let stream = self.open(timeouts, client).await.map_err(fault)?;
        let pool = self.pool.upgrade().ok_or_else(|| fault(io::ErrorKind::NotConnected.into()))?;
        // It may become a tunnel, which hyper takes over with all that is around it.
        stream.keep_alive();
        let (sender, connection) = pool
            .builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| fault(io::Error::other(error)))?;
        Ok(Connection { sender, driver: Some(Box::pin(connection.with_upgrades())) })
    }

    async fn open(&self, timeouts: &Timeouts, client: Option<Addresses>) -> io::Result<Stream> {
        if self.target.protocol == Protocol::Http2 {
            let reason = "messages go to backends of HTTP/1 only";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        let connector =
            Connector { connect_timeout: timeouts.connect, handshake_timeout: timeouts.handshake };
        Ok(connector.connect(&self.target, client).await?)
    }
}

impl Connection {
    /// Sends a request and gives the head of its response.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Sent {
        let mut sending = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && let Poll::Ready(ended) = driver.as_mut().poll(cx)
            {
                // Dropped, so that a request it still held is given back.
                self.driver = None;
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to a backend ended early");
                }
            }
            sending.as_mut().poll(cx)
        })
        .await
    }

    /// Gives the connection a task that drives it from now on.
    pub(crate) fn drive_apart(&mut self, backend: SocketAddr) {
        let Some(driver) = self.driver.take() else { return };
        // It ends with the pool, which holds its sender, or with the thread, whose runtime owns it.
        tokio::task::spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, %backend, "a connection to a backend ended early");
            }
        });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("sender", &self.sender).finish_non_exhaustive()
    }
}
