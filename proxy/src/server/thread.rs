//! One thread of the data plane, from its first accept to its last response.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use process::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::task::TaskTracker;

use super::addresses::Addresses;
use super::connection::{self, Served};
use super::watch::{Registry, TICK, Watched};
use super::{Handler, Options};

/// How long accepting pauses after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often it is told that accepting fails.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// How long a stopping thread still accepts, and then waits for what it accepted to send; a runtime under
/// load looks at its sockets many times in it.
const LAST_MOMENT: Duration = Duration::from_millis(10);

thread_local! {
    /// What this thread must finish before it ends: connections, HTTP/2 streams, upgraded connections.
    static TASKS: TaskTracker = TaskTracker::new();

    /// The connections of this thread, if it serves any.
    static REGISTRY: RefCell<Weak<Registry>> = const { RefCell::new(Weak::new()) };
}

/// Runs a future on this thread; shutdown waits for it within the grace.
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    TASKS.with(|tasks| drop(tasks.spawn_local(future)));
}

/// Counts a connection that has left HTTP among the thread's connections; `None` on a thread that serves none.
pub(crate) fn watch_upgraded() -> Option<Watched> {
    let registry = REGISTRY.with_borrow(Weak::upgrade)?;
    let watched = Registry::enter(&registry);
    // It is one long request: neither idle nor slow in sending a head.
    watched.standing().note_request();
    Some(watched)
}

/// Serves one socket until the shutdown is requested and what is in flight is done or the grace is over.
pub(super) fn run<H: Handler>(
    socket: std::net::TcpListener,
    options: Options,
    counted: Arc<Addresses>,
    shutdown: &Shutdown,
    make_handler: impl FnOnce() -> H,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(socket)?;
        let handler = Rc::new(make_handler());
        let registry = Rc::new(Registry::new(options.limits));
        REGISTRY.set(Rc::downgrade(&registry));
        let served = Rc::new(Served::new(options, counted));
        let serve = |(stream, peer)| {
            let watched = Registry::enter(&registry);
            spawn(connection::serve(stream, peer, Rc::clone(&handler), Rc::clone(&served), watched));
        };
        tokio::select! {
            () = accept(&listener, &registry, serve) => {}
            () = tick(&*handler, &registry) => {}
            () = shutdown.requested() => {}
        }
        let finished = async || {
            let tasks = TASKS.with(TaskTracker::clone);
            tasks.close();
            tokio::select! {
                () = tasks.wait() => {}
                () = tick(&*handler, &registry) => {}
            }
        };
        if shutdown.is_handed_over() {
            // The other process accepts what waits in the backlog, which is the same one.
            drop(listener);
            registry.leave();
            let _ = tokio::time::timeout(shutdown.grace() / 2, finished()).await;
        } else {
            // Closing a listener resets what waits in its backlog, and those requests were sent in good
            // faith: they are accepted, and have a moment to arrive, before connections are told to end.
            let _ = tokio::time::timeout(LAST_MOMENT, accept(&listener, &registry, serve)).await;
            drop(listener);
            tokio::time::sleep(LAST_MOMENT).await;
        }
        registry.drain();
        let finished = finished();
        if shutdown.until_grace(finished).await.is_none() {
            tracing::warn!(connections = registry.len(), "the grace is over; open connections are dropped");
        }
        handler.tick();
        Ok(())
    })
}

async fn accept(listener: &TcpListener, registry: &Registry, serve: impl Fn((TcpStream, SocketAddr))) {
    let mut told: Option<Instant> = None;
    loop {
        registry.has_place().await;
        match listener.accept().await {
            Ok(accepted) => serve(accepted),
            Err(error) => {
                // It fails again and again until something is closed, which would fill the log.
                if told.is_none_or(|told| told.elapsed() >= TELL_PAUSE) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "connections are not accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn tick<H: Handler>(handler: &H, registry: &Registry) {
    loop {
        tokio::time::sleep(TICK).await;
        registry.close_overdue();
        handler.tick();
    }
}
