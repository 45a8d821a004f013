//! The data plane's serve loop: a thread per core, each with a listener, a runtime and no lock.

mod connection;
mod listeners;
mod thread;
mod watch;

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use process::{RoleError, Shutdown};
use tokio::sync::oneshot;

pub use listeners::Listeners;
pub(crate) use thread::spawn;
pub(crate) use watch::Watched;

use crate::{Client, wire};

/// What answers requests; each thread makes its own.
pub trait Handler: 'static {
    /// The body of its responses.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static;

    /// Answers one request.
    ///
    /// The future is dropped when the client goes away.
    fn handle(
        &self,
        request: Request<Incoming>,
        client: &Rc<Client>,
    ) -> impl Future<Output = Response<Self::Body>>;

    /// Tells whether this handler takes HTTP/1 connections in bytes ([`crate::wire`]) and not as messages.
    fn is_on_wire(&self) -> bool {
        false
    }

    /// Serves an HTTP/1 connection to its end, if [`Handler::is_on_wire`].
    fn serve_wire(self: &Rc<Self>, connection: wire::Connection) -> impl Future<Output = ()> + 'static {
        async move { drop(connection) }
    }

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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_header_size: 64 << 10,
        }
    }
}

/// Serves until the shutdown is requested, then finishes what is in flight within the grace.
///
/// `make_handler` runs on each thread. Ends when every thread has ended and is joined.
pub async fn serve<H, M>(
    role: &str,
    listeners: Listeners,
    limits: Limits,
    shutdown: &Shutdown,
    make_handler: M,
) -> Result<(), RoleError>
where
    H: Handler,
    M: Fn() -> H + Clone + Send + 'static,
{
    let sockets = listeners.into_sockets();
    let per_thread = Limits { connections: limits.connections.div_ceil(sockets.len()).max(1), ..limits };
    let mut threads = Vec::with_capacity(sockets.len());
    let mut outcome = Ok(());
    let stop = shutdown;
    for (number, socket) in sockets.into_iter().enumerate() {
        let (ended, end) = oneshot::channel::<()>();
        let (shutdown, make_handler) = (shutdown.clone(), make_handler.clone());
        let serve = move || {
            let result = thread::run(socket, per_thread, &shutdown, make_handler);
            drop(ended);
            result
        };
        match std::thread::Builder::new().name(format!("{role} {number}")).spawn(serve) {
            Ok(thread) => threads.push((end, thread)),
            Err(error) => {
                outcome = Err(RoleError::start(role, error));
                // A role that cannot start whole does not start, and neither does its process.
                stop.request();
                break;
            }
        }
    }
    for (end, thread) in threads {
        // Waits without blocking this runtime; joining then takes no time.
        let _ = end.await;
        let ended = match thread.join() {
            Ok(result) => result.map_err(|error| RoleError::stopped(role, error)),
            Err(_) => Err(RoleError::stopped(role, "a thread of the data plane panicked")),
        };
        outcome = outcome.and(ended);
    }
    outcome
}
