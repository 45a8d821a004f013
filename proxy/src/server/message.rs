//! Connections whose requests are taken as messages of hyper's.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::exchange::{Counted, Timed};
use super::socket::Socket;
use super::streams::OnThisThread;
use super::watch::{Order, Watched};
use super::{Connection, ERROR_RESETS, Limits, PENDING_RESETS, PING_TIMEOUT};
use crate::Client;

/// What answers messages; each thread has its own.
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
}

/// How hyper serves connections; made once a thread.
#[derive(Debug)]
pub(super) struct Builders {
    http1: http1::Builder,
    http2: http2::Builder<OnThisThread>,
}

impl Builders {
    pub(super) fn new(limits: &Limits) -> Self {
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
        Self { http1, http2 }
    }
}

/// Serves a connection to its end, whichever HTTP it speaks.
pub async fn serve<H: Handler>(connection: Connection, handler: Rc<H>) {
    let Connection { stream, client, watched, is_http2, served } = connection;
    let builders = &served.message;
    let standing = Arc::clone(watched.standing());
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
        let connection = pin!(builders.http2.serve_connection(socket, service));
        drive(connection, &watched, http2::Connection::graceful_shutdown).await
    } else {
        // It may become a tunnel, which hyper takes over with all that is around it.
        stream.keep_alive();
        let socket = TokioIo::new(Socket::http1(stream, standing));
        let connection = pin!(builders.http1.serve_connection(socket, service).with_upgrades());
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
