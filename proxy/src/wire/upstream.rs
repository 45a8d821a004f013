//! Connections to backends, kept open by the thread that made them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::buffer::{self, Buffer};
use super::multiplex::{self, Connections, Lease, NoPlace};
use crate::connect::{Connector, Target};
use crate::pool::PoolOptions;
use crate::proxy_protocol::Addresses;
use crate::stream::Stream;
use crate::{Client, ForwardError, Timeouts};

/// One thread's connections to all its backends; clones share them.
#[derive(Debug, Clone)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    upstreams: RefCell<HashMap<Target, Rc<Upstream>>>,
    /// The time as of the last sweep; exact enough for how long a connection was unused.
    now: Cell<Instant>,
}

/// One thread's connections to one backend.
#[derive(Debug)]
pub struct Upstream {
    target: Target,
    host: Box<str>,
    idle: RefCell<Vec<Idle>>,
    /// Those of HTTP/2.
    shared: Connections,
    pool: Weak<Inner>,
}

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    since: Instant,
}

/// An open connection to a backend.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) input: Buffer,
    pub(super) output: Buffer,
    /// It has carried a request before, so that the backend may have closed it meanwhile.
    pub(super) is_reused: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(PoolOptions::default())
    }
}

impl Pool {
    /// Makes an empty pool; it belongs to the present thread.
    pub fn new(options: PoolOptions) -> Self {
        Self(Rc::new(Inner { options, upstreams: RefCell::default(), now: Cell::new(Instant::now()) }))
    }

    /// Gives the connections to one backend; keep what it gives, because finding it costs a hash.
    pub fn upstream(&self, target: &Target) -> Rc<Upstream> {
        let mut upstreams = self.0.upstreams.borrow_mut();
        let made = || {
            Rc::new(Upstream {
                target: target.clone(),
                host: target.address.to_string().into(),
                idle: RefCell::default(),
                shared: Connections::default(),
                pool: Rc::downgrade(&self.0),
            })
        };
        Rc::clone(upstreams.entry(target.clone()).or_insert_with(made))
    }

    /// Closes connections that were unused too long, and frees storage that was; call it about once a second.
    pub fn close_idle(&self) {
        let now = Instant::now();
        self.0.now.set(now);
        let timeout = self.0.options.idle_timeout;
        self.0.upstreams.borrow_mut().retain(|_, upstream| {
            let mut idle = upstream.idle.borrow_mut();
            idle.retain_mut(|idle| now - idle.since < timeout && idle.link.is_silent());
            upstream.shared.close_idle(now);
            // Whoever has let go of it will not come back.
            !idle.is_empty() || !upstream.shared.is_empty() || Rc::strong_count(upstream) > 1
        });
        buffer::trim_stock();
    }
}

impl Upstream {
    /// Gives the backend's address.
    pub fn address(&self) -> SocketAddr {
        self.target.address
    }

    /// Gives where its connections lead.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Gives the address as a `Host` field's value, for the HTTP/1.0 request that has none.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Takes a connection that is open as far as is known; asking costs no system call unless the backend has
    /// sent something or closed it.
    pub(super) fn check_out(&self) -> Option<Box<Link>> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if idle.link.is_silent() {
                return Some(idle.link);
            }
        }
    }

    /// Keeps a connection whose response was read to its end.
    pub(super) fn check_in(&self, mut link: Box<Link>) {
        let Some(pool) = self.pool.upgrade() else { return };
        // Whatever lies in its buffers belongs to no request.
        let is_clean = link.input.is_empty() && link.output.is_empty();
        let mut idle = self.idle.borrow_mut();
        if is_clean && !self.target.proxy_header && idle.len() < pool.options.max_idle {
            link.is_reused = true;
            idle.push(Idle { link, since: pool.now.get() });
        }
    }

    /// Opens a connection of HTTP/1.
    pub(super) async fn connect(
        &self,
        timeouts: &Timeouts,
        client: &Client,
    ) -> Result<Box<Link>, ForwardError> {
        match self.open(timeouts, Some(client.addresses())).await {
            Ok(stream) => {
                let (input, output) = (Buffer::default(), Buffer::default());
                Ok(Box::new(Link { stream, input, output, is_reused: false }))
            }
            Err(reason) => Err(ForwardError::unconnected(self.address(), reason)),
        }
    }

    /// Gives a place on a connection of HTTP/2, opening one if there is none.
    pub(super) async fn lease(&self, timeouts: &Timeouts, client: &Client) -> Result<Lease, ForwardError> {
        let leased = if self.target.proxy_header {
            multiplex::open_alone(self.open(timeouts, Some(client.addresses()))).await.map_err(NoPlace::from)
        } else {
            self.shared.lease(timeouts.connect, || self.open(timeouts, None)).await
        };
        let backend = self.address();
        leased.map_err(|none| match none {
            NoPlace::Unconnected(reason) => ForwardError::unconnected(backend, reason),
            NoPlace::Refused(reason) => ForwardError::Refused { backend, reason },
        })
    }

    async fn open(&self, timeouts: &Timeouts, client: Option<Addresses>) -> io::Result<Stream> {
        let Timeouts { connect: connect_timeout, handshake: handshake_timeout, .. } = *timeouts;
        let connector = Connector { connect_timeout, handshake_timeout };
        Ok(connector.connect(&self.target, client).await?)
    }
}

impl Link {
    /// Tells whether an unused connection is open and nothing has come on it.
    fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut unfilled = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut cx, &mut unfilled).is_pending()
    }
}
