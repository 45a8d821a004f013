//! One accepted connection: which HTTP it speaks, and its requests in turn.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::addresses::Addresses;
use super::arrival::{Arrived, arrive};
use super::exchange::{Counted, Timed};
use super::socket::Socket;
use super::streams::OnThisThread;
use super::watch::{Order, Watched};
use super::{Handler, Options};
use crate::{Client, Stream, wire};

/// Streams a client may open and reset before they are looked at; h2's own default.
pub(crate) const PENDING_RESETS: usize = 20;

/// Streams that may end because of the client's faults before its connection does; what h2 and Envoy allow is
/// 1,024, for clients that nobody expects to be faulty more than now and then.
pub(crate) const ERROR_RESETS: usize = 128;

/// How long a client may take to answer a ping.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What one thread's connections have in common.
#[derive(Debug)]
pub(super) struct Lane<H> {
    handler: Rc<H>,
    options: Options,
    counted: Arc<Addresses>,
    http1: http1::Builder,
    http2: http2::Builder<OnThisThread>,
    wire_http2: Rc<wire::Http2Settings>,
}

impl<H> Lane<H> {
    pub(super) fn new(handler: Rc<H>, options: Options, counted: Arc<Addresses>) -> Self {
        let limits = &options.limits;
        let mut http1 = http1::Builder::new();
        // For messages that fit a packet one plain write costs less than a vectored one. Timeouts are
        // the registry's: hyper's would set a timer a request.
        http1.writev(false).header_read_timeout(None).max_header_size(limits.max_header_size);
        let mut http2 = http2::Builder::new(OnThisThread);
        let header_list = u32::try_from(limits.max_header_size).unwrap_or(u32::MAX);
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(header_list)
            .max_concurrent_streams(limits.max_streams)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(ERROR_RESETS)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(PING_TIMEOUT);
        let wire_http2 = Rc::new(wire::Http2Settings::new(limits));
        Self { handler, options, counted, http1, http2, wire_http2 }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<H: Handler>(
    socket: TcpStream,
    peer: SocketAddr,
    lane: Rc<Lane<H>>,
    mut watched: Watched,
) {
    let arrived = arrive(socket, peer, &lane.options, &lane.counted, &mut watched).await;
    let Some(Arrived { stream, client, is_http2 }) = arrived else { return };
    let (client, handler) = (Rc::new(client), Rc::clone(&lane.handler));
    if handler.is_on_wire() {
        let http2 = is_http2.then(|| Rc::clone(&lane.wire_http2));
        // Boxed: what follows is larger, and would make every idle connection so.
        return Box::pin(handler.serve_wire(wire::Connection { stream, client, watched, http2 })).await;
    }
    Box::pin(serve_messages(stream, is_http2, client, lane, watched)).await;
}

/// Serves a connection whose requests the handler takes as messages.
async fn serve_messages<H: Handler>(
    stream: Stream,
    is_http2: bool,
    client: Rc<Client>,
    lane: Rc<Lane<H>>,
    watched: Watched,
) {
    let standing = Arc::clone(watched.standing());
    let handler = Rc::clone(&lane.handler);
    let peer = client.address();
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, client) = (Rc::clone(&handler), Rc::clone(&client));
        let counted = Counted::begin(&standing);
        async move {
            let response = handler.handle(request, &client).await;
            Ok::<_, Infallible>(response.map(|body| Timed::new(body, counted)))
        }
    });
    let standing = Arc::clone(watched.standing());
    let ended = if is_http2 {
        let socket = TokioIo::new(Socket::http2(stream, standing));
        let connection = pin!(lane.http2.serve_connection(socket, service));
        drive(connection, &watched, http2::Connection::graceful_shutdown).await
    } else {
        let socket = TokioIo::new(Socket::http1(stream, standing));
        let connection = pin!(lane.http1.serve_connection(socket, service).with_upgrades());
        drive(connection, &watched, http1::UpgradeableConnection::graceful_shutdown).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

/// Polls a connection and follows the registry's orders.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    watched: &Watched,
    drain: fn(Pin<&mut C>),
) -> hyper::Result<()> {
    let mut is_draining = false;
    poll_fn(|cx| {
        let order = watched.order(cx.waker());
        if order == Order::Close {
            return Poll::Ready(Ok(()));
        }
        let polled = connection.as_mut().poll(cx);
        // To one that is refused its socket says so, and then waits for it to close.
        if matches!(order, Order::Serve | Order::Refuse) || is_draining || polled.is_ready() {
            return polled;
        }
        // Only now, because hyper drops a connection that is told before it has read anything.
        is_draining = true;
        drain(connection.as_mut());
        let polled = connection.as_mut().poll(cx);
        // Whoever has not asked yet is not waited for; hyper itself would wait for the rest of a first head.
        if polled.is_pending() && !watched.standing().has_asked() { Poll::Ready(Ok(())) } else { polled }
    })
    .await
}
