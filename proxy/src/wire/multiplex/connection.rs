//! One HTTP/2 connection to a backend: how it is opened, and the task that drives it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::io::InspectReader;

use crate::Stream;
use crate::wire::ping::Pings;

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

/// What one stream may keep of an upload for a backend that grants room and then does not read; as towards clients.
const SEND_BUFFER: usize = 64 << 10;

/// Requests at a time until the backend has said what it allows: it refuses those above (RFC 9113 §5.1.2).
const FIRST_STREAMS: usize = 1;

/// Stands in h2 for what the backend has not said; none can say so much (RFC 9113 §6.5.1).
const UNTOLD: usize = usize::MAX - 1;

/// A connection and who uses it.
#[derive(Debug)]
pub(super) struct Shared {
    sender: RefCell<SendRequest<Bytes>>,
    /// What the backend allows at a time (RFC 9113 §6.5.2), once it has said.
    limit: Cell<Option<usize>>,
    /// It has allowed some once; one that allows none later is about to be ended.
    has_allowed: Cell<bool>,
    /// Wakes those who wait until it has, when it has, and when it will not.
    told: Notify,
    pub(super) requests: Cell<usize>,
    pub(super) since: Cell<Instant>,
    has_ended: Cell<bool>,
    /// The backend has left a ping unanswered.
    is_silent: Cell<bool>,
}

/// Opens a connection, and gives it a task.
pub(super) async fn open(stream: impl Future<Output = io::Result<Stream>>) -> io::Result<Rc<Shared>> {
    let was_heard = Rc::<Cell<bool>>::default();
    let notes = Rc::clone(&was_heard);
    let heard = InspectReader::new(stream.await?, move |_| notes.set(true));
    let (sender, mut connection) = Builder::new()
        .initial_max_send_streams(UNTOLD)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false)
        .handshake(heard)
        .await
        .map_err(io::Error::other)?;
    let shared = Rc::new(Shared {
        sender: RefCell::new(sender),
        limit: Cell::new(None),
        has_allowed: Cell::new(false),
        told: Notify::new(),
        requests: Cell::new(0),
        since: Cell::new(Instant::now()),
        has_ended: Cell::new(false),
        is_silent: Cell::new(false),
    });
    let pings = connection.ping_pong().map(|pings| Pings::new(pings, PING_INTERVAL, PING_TIMEOUT));
    // It ends with the pool and the requests, which hold the sender, or with the thread, whose runtime owns it.
    tokio::task::spawn_local(drive(connection, pings, was_heard, Rc::downgrade(&shared)));
    Ok(shared)
}

/// Drives a connection to its end.
async fn drive(
    connection: h2::client::Connection<impl AsyncRead + AsyncWrite + Unpin, Bytes>,
    mut pings: Option<Pings>,
    was_heard: Rc<Cell<bool>>,
    known: Weak<Shared>,
) {
    let mut connection = pin!(connection);
    let ended = poll_fn(|cx| {
        if let (Some(pings), Some(shared)) = (&mut pings, known.upgrade()) {
            let is_used = shared.requests.get() > 0;
            if pings.poll_silence(cx, is_used, || was_heard.take()) {
                shared.is_silent.set(true);
                return Poll::Ready(Ok(()));
            }
        }
        let polled = connection.as_mut().poll(cx);
        if let Some(shared) = known.upgrade() {
            shared.note_limit(connection.max_concurrent_send_streams());
        }
        polled
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "an HTTP/2 connection to a backend ended early");
    }
    if let Some(shared) = known.upgrade() {
        shared.has_ended.set(true);
        shared.told.notify_waiters();
    }
}

impl Shared {
    /// Begins a request; an error if nothing of it was sent.
    pub(super) fn send(
        &self,
        request: Request<()>,
        is_all: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        // A copy, because one that has reached the backend's limit sends no more before it is waited for.
        let mut sender = self.sender.borrow().clone();
        sender.send_request(request, is_all)
    }

    fn note_limit(&self, limit: usize) {
        self.has_allowed.set(self.has_allowed.get() || (limit != UNTOLD && limit > 0));
        if limit != UNTOLD && self.limit.replace(Some(limit)).is_none() {
            self.told.notify_waiters();
        }
    }

    /// Tells whether it may take one more request.
    pub(super) fn has_room(&self) -> bool {
        self.requests.get() < self.limit.get().unwrap_or(FIRST_STREAMS)
    }

    /// Tells whether the backend has not said yet what it allows.
    pub(super) fn is_untold(&self) -> bool {
        self.limit.get().is_none()
    }

    /// Tells whether the backend has never allowed a request (RFC 9113 §6.5.2).
    pub(super) fn allows_none(&self) -> bool {
        self.limit.get() == Some(0) && !self.has_allowed.get()
    }

    /// Waits until that changes, or a place becomes free meanwhile, or it ends.
    pub(super) async fn change(&self) {
        self.told.notified().await;
    }

    /// Notes that a request has ended.
    pub(super) fn note_end(&self) {
        self.requests.set(self.requests.get() - 1);
        self.since.set(Instant::now());
        if self.is_untold() {
            self.told.notify_waiters();
        }
    }

    /// Tells whether it takes more requests, now or later, or still has some.
    pub(super) fn is_of_use(&self) -> bool {
        let is_idle = self.limit.get() == Some(0) && self.requests.get() == 0;
        !is_idle && !self.is_closed()
    }

    fn is_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.has_ended.get() || matches!(self.sender.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Says why a request on it failed.
    pub(super) fn reason(&self, error: h2::Error) -> io::Error {
        if self.is_silent.get() {
            let reason = format!("no answer to a PING within {PING_TIMEOUT:?}");
            return io::Error::new(io::ErrorKind::TimedOut, reason);
        }
        io::Error::other(error)
    }
}

/// Tells whether a backend certainly did not begin a request: it refused the stream (RFC 9113 §8.7), or ended
/// the connection before it.
pub(super) fn is_unprocessed(error: &h2::Error) -> bool {
    // h2 gives a remote GOAWAY only to streams above its last identifier.
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}
