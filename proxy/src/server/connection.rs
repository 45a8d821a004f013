//! One accepted connection: which HTTP it speaks, and its requests in turn.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::watch::{Order, Standing, Watched};
use super::{Handler, Limits, thread};
use crate::{Client, wire};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4); no HTTP/1 method begins so.
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// How long to wait before looking again when a client has sent less than [`HTTP2_PREFACE`].
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

/// How connections are served.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    http1: http1::Builder,
    http2: http2::Builder<OnThisThread>,
}

impl Settings {
    pub(super) fn new(limits: Limits) -> Self {
        let mut http1 = http1::Builder::new();
        // For messages that fit a packet one plain write costs less than a vectored one. Timeouts are
        // the registry's: hyper's would set a timer a request.
        http1.writev(false).header_read_timeout(None).max_header_size(limits.max_header_size);
        let mut http2 = http2::Builder::new(OnThisThread);
        let header_list = u32::try_from(limits.max_header_size).unwrap_or(u32::MAX);
        http2.timer(TokioTimer::new()).max_header_list_size(header_list);
        Self { http1, http2 }
    }
}

/// Runs the streams of HTTP/2 connections.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl<F: Future + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        thread::spawn(async move {
            future.await;
        });
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<H: Handler>(
    stream: TcpStream,
    peer: SocketAddr,
    handler: Rc<H>,
    watched: Watched,
    settings: Settings,
) {
    // Without it a small answer may wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(is_http2) = sniff(&stream, &watched).await else { return };
    let client = Rc::new(Client::new(peer));
    if !is_http2 && handler.is_on_wire() {
        // Boxed: what follows is larger, and would make every idle connection so.
        return Box::pin(handler.serve_wire(wire::Connection { stream: stream.into(), client, watched }))
            .await;
    }
    let standing = Arc::clone(watched.standing());
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, client) = (Rc::clone(&handler), Rc::clone(&client));
        let exchange = Exchange::begin(&standing);
        async move {
            let response = handler.handle(request, &client).await;
            Ok::<_, Infallible>(response.map(|body| Timed { body, _exchange: exchange }))
        }
    });
    let ended = if is_http2 {
        let connection = pin!(settings.http2.serve_connection(TokioIo::new(stream), service));
        drive(connection, &watched, http2::Connection::graceful_shutdown).await
    } else {
        let socket = Socket { inner: TokioIo::new(stream), standing: Arc::clone(watched.standing()) };
        let connection = pin!(settings.http1.serve_connection(socket, service).with_upgrades());
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
        if order == Order::Serve || is_draining || polled.is_ready() {
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

/// Waits for the first bytes and tells whether they begin HTTP/2; `None` if the connection is to end.
///
/// Peeks, so that the HTTP/1 path reads its bytes itself and pays nothing for this.
async fn sniff(stream: &TcpStream, watched: &Watched) -> Option<bool> {
    let mut begun = [0; HTTP2_PREFACE.len()];
    loop {
        let mut is_ending = false;
        let peeked = {
            let mut peeking = pin!(stream.peek(&mut begun));
            poll_fn(|cx| {
                let order = watched.order(cx.waker());
                is_ending = order != Order::Serve;
                match peeking.as_mut().poll(cx) {
                    // What has been sent already is answered also while draining.
                    Poll::Ready(peeked) => Poll::Ready(Some(peeked)),
                    Poll::Pending if order == Order::Serve => Poll::Pending,
                    Poll::Pending => Poll::Ready(None),
                }
            })
            .await
        };
        let count = peeked?.ok()?;
        if count == 0 {
            return None;
        }
        if begun[..count] != HTTP2_PREFACE[..count] {
            return Some(false);
        }
        if count == HTTP2_PREFACE.len() {
            return Some(true);
        }
        if is_ending {
            return None;
        }
        watched.standing().note_bytes();
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

/// A socket which notes when its client begins to send.
struct Socket {
    inner: TokioIo<TcpStream>,
    standing: Arc<Standing>,
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        self.standing.note_bytes();
        Poll::Ready(read)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A request from its head to the end of its response.
struct Exchange(Arc<Standing>);

impl Exchange {
    fn begin(standing: &Arc<Standing>) -> Self {
        standing.note_request();
        Self(Arc::clone(standing))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.note_response();
    }
}

/// A response's body, which ends its exchange when it is dropped.
struct Timed<B> {
    body: B,
    _exchange: Exchange,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Timed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
