//! The data plane's serve loop: a thread per core, each with a listener, a runtime and no lock.

mod addresses;
mod arrival;
mod connection;
mod exchange;
mod frames;
mod late;
mod listeners;
pub mod message;
mod socket;
mod streams;
mod thread;
mod watch;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use process::{RoleError, Shutdown};
use tokio::sync::mpsc;

pub use connection::Connection;
pub(crate) use connection::{ERROR_RESETS, PENDING_RESETS, PING_TIMEOUT};
pub(crate) use exchange::Counted;
pub use listeners::Listeners;
pub(crate) use socket::Socket;
pub(crate) use thread::{spawn, watch_upgraded};
#[cfg(test)]
pub(crate) use watch::Standing;
pub(crate) use watch::{Order, Watched};

use addresses::Addresses;

use crate::fields::TrustedProxies;
use crate::tls;

/// What serves connections; each thread makes its own.
pub trait Handler: 'static {
    /// Serves a connection to its end, by [`wire::serve`](crate::wire::serve) in bytes or by [`message::serve`] as
    /// messages.
    fn serve(self: &Rc<Self>, connection: Connection) -> impl Future<Output = ()> + 'static;

    /// Does what is due about once a second, such as closing idle connections and publishing figures.
    fn tick(&self) {}
}

/// What the clients of all threads are granted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time, over all threads; more wait in the backlog.
    pub connections: usize,
    /// How long a request's head may take from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// The size of a request's head in bytes.
    pub max_header_size: usize,
    /// How long a client may take nothing of a response that waits for it.
    pub body_idle_timeout: Duration,
    /// Connections of one address at a time, over all threads; more are closed. 0 means no limit. Of IPv6
    /// addresses the first 64 bits count.
    pub connections_per_address: usize,
    /// Requests at a time on a connection of HTTP/2.
    pub max_streams: u32,
    /// How often a quiet HTTP/2 client is asked whether it is still there.
    pub ping_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_header_size: 64 << 10,
            // nginx's `send_timeout`.
            body_idle_timeout: Duration::from_secs(60),
            // Who stands behind one address, a household or a carrier, this program cannot know.
            connections_per_address: 0,
            // RFC 9113 §6.5.2 asks for no less than 100; nginx has 128.
            max_streams: 128,
            // Shorter than the 60 s after which common NATs and cloud load balancers forget a connection.
            ping_interval: Duration::from_secs(45),
        }
    }
}

/// How a listener serves; made from [`Limits`] alone it speaks HTTP in the clear.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What clients are granted.
    pub limits: Limits,
    /// How clients shake hands, if the listener is under TLS.
    pub tls: Option<tls::Acceptor>,
    /// Who connects with a PROXY header, if the listener asks for one; anybody else is closed.
    pub proxy_protocol: Option<TrustedProxies>,
}

impl From<Limits> for Options {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

/// Serves until the shutdown is requested, then finishes what is in flight within the grace.
///
/// `make_handler` runs on each thread. Ends when every thread has ended and is joined; when one ends by itself,
/// all do, and so must the process.
pub async fn serve<H, M>(
    role: &str,
    listeners: Listeners,
    options: impl Into<Options>,
    shutdown: &Shutdown,
    make_handler: M,
) -> Result<(), RoleError>
where
    H: Handler,
    M: Fn() -> H + Clone + Send + 'static,
{
    let sockets = listeners.into_sockets();
    let mut options = options.into();
    let counted = Addresses::new(options.limits.connections_per_address);
    options.limits.connections = options.limits.connections.div_ceil(sockets.len()).max(1);
    let mut threads = Vec::with_capacity(sockets.len());
    let mut outcome = Ok(());
    let (ended, mut ends) = mpsc::unbounded_channel();
    for (number, socket) in sockets.into_iter().enumerate() {
        let ended = Ended { number, ends: ended.clone() };
        let (options, counted) = (options.clone(), Arc::clone(&counted));
        let (stop, make_handler) = (shutdown.clone(), make_handler.clone());
        let serve = move || {
            let _ended = ended;
            thread::run(socket, options, counted, &stop, make_handler)
        };
        match std::thread::Builder::new().name(format!("{role} {number}")).spawn(serve) {
            Ok(thread) => threads.push(Some(thread)),
            Err(error) => {
                outcome = Err(RoleError::start(role, error));
                // A role that cannot start whole does not start, and neither does its process.
                shutdown.request();
                break;
            }
        }
    }
    drop(ended);
    // Waits without blocking this runtime; joining then takes no time.
    while let Some(number) = ends.recv().await {
        let Some(thread) = threads.get_mut(number).and_then(Option::take) else { continue };
        let ended = match thread.join() {
            Ok(result) => result.map_err(|error| RoleError::stopped(role, error)),
            Err(_) => Err(RoleError::stopped(role, "a thread of the data plane panicked")),
        };
        if ended.is_err() {
            // The others would go on with a part of the connections, while the rest wait in a dead backlog.
            shutdown.request();
        }
        outcome = outcome.and(ended);
    }
    outcome
}

/// Tells that a thread has ended, also by a panic.
struct Ended {
    number: usize,
    ends: mpsc::UnboundedSender<usize>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.ends.send(self.number);
    }
}
