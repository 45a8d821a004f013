//! HTTP/2 connections to one backend, each shared by as many requests as the backend allows.
//!
//! A request goes to the fullest connection that has room, so that those no longer needed run empty; without
//! room another is opened, once for all who wait. Who opens it sends at once; the others wait until the backend has
//! said how many it allows. One that allows none is closed, and while a request is still on it, no other is opened,
//! unless it did allow some. A connection the backend ends (`GOAWAY`) takes no more
//! requests; what it had not begun may be sent again ([`connection::is_unprocessed`]).

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::Request;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::connection::{self, Shared};
use crate::Stream;

/// How long a connection without requests is kept. A server that ends one says so by `GOAWAY`, so unlike with
/// HTTP/1 no request is at risk.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// One thread's HTTP/2 connections to one backend.
#[derive(Debug, Default)]
pub(in crate::wire) struct Connections {
    open: RefCell<Vec<Rc<Shared>>>,
    opening: RefCell<Option<Rc<Opening>>>,
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

/// Why there is no place for a request; nothing was sent.
#[derive(Debug)]
pub(in crate::wire) enum NoPlace {
    /// No connection could be opened.
    Unconnected(io::Error),
    /// The backend allows no requests.
    Refused(io::Error),
}

impl From<io::Error> for NoPlace {
    fn from(reason: io::Error) -> Self {
        Self::Unconnected(reason)
    }
}

/// What there is among the open connections.
enum Found {
    Place(Lease),
    /// It may have more, which is not known yet.
    Untold(Rc<Shared>),
    /// The backend allows none.
    NoneAllowed,
    Nothing,
}

/// The right to one request on a connection, given back when dropped.
#[derive(Debug)]
pub(in crate::wire) struct Lease(Rc<Shared>);

impl Lease {
    fn of(shared: &Rc<Shared>) -> Self {
        shared.requests.set(shared.requests.get() + 1);
        Self(Rc::clone(shared))
    }

    /// Begins the request; an error if nothing of it was sent.
    pub(super) fn send(
        &self,
        request: Request<()>,
        is_all: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.0.send(request, is_all)
    }

    /// Says why the request failed.
    pub(super) fn reason(&self, error: h2::Error) -> io::Error {
        self.0.reason(error)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.note_end();
    }
}

impl Connections {
    /// Gives a place on a connection, of those open or a new one; what a backend allows is waited for as long as
    /// `patience`.
    pub(in crate::wire) async fn lease<F>(
        &self,
        patience: Duration,
        mut connect: impl FnMut() -> F,
    ) -> Result<Lease, NoPlace>
    where
        F: Future<Output = io::Result<Stream>>,
    {
        loop {
            match self.find() {
                Found::Place(lease) => return Ok(lease),
                Found::Untold(shared) => {
                    let told = timeout(patience, shared.change()).await;
                    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no SETTINGS of HTTP/2 came");
                    told.map_err(late)?;
                    continue;
                }
                Found::NoneAllowed => {
                    let reason = "it allows no streams (SETTINGS_MAX_CONCURRENT_STREAMS)";
                    return Err(NoPlace::Refused(io::Error::other(reason)));
                }
                Found::Nothing => {}
            }
            let awaited = self.opening.borrow().clone();
            if let Some(opening) = awaited {
                opening.done.notified().await;
                let failed = opening.failed.borrow().clone();
                if let Some(failed) = failed {
                    return Err(io::Error::from(failed).into());
                }
                continue;
            }
            let turn = Turn::take(self);
            match connection::open(connect()).await {
                Ok(shared) => {
                    let lease = Lease::of(&shared);
                    self.open.borrow_mut().push(shared);
                    return Ok(lease);
                }
                Err(error) => {
                    turn.0.failed.replace(Some(Failed::from(&error)));
                    return Err(error.into());
                }
            }
        }
    }

    fn find(&self) -> Found {
        let mut open = self.open.borrow_mut();
        open.retain(|shared| shared.is_of_use());
        let with_room = open.iter().filter(|shared| shared.has_room());
        if let Some(shared) = with_room.max_by_key(|shared| shared.requests.get()) {
            return Found::Place(Lease::of(shared));
        }
        match open.iter().find(|shared| shared.is_untold()) {
            Some(shared) => Found::Untold(Rc::clone(shared)),
            None if open.iter().any(|shared| shared.allows_none()) => Found::NoneAllowed,
            None => Found::Nothing,
        }
    }

    /// Closes connections that were without requests for too long.
    pub(in crate::wire) fn close_idle(&self, now: Instant) {
        self.open.borrow_mut().retain(|shared| {
            let is_used = shared.requests.get() > 0 || now - shared.since.get() < IDLE_TIMEOUT;
            is_used && shared.is_of_use()
        });
    }

    /// Tells whether there is none.
    pub(in crate::wire) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty() && self.opening.borrow().is_none()
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
pub(in crate::wire) async fn open_alone(
    stream: impl Future<Output = io::Result<Stream>>,
) -> io::Result<Lease> {
    Ok(Lease::of(&connection::open(stream).await?))
}
