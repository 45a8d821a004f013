//! What comes before a connection's first request: the PROXY header, the count of its address, TLS, and which
//! HTTP it speaks.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Options;
use super::addresses;
use super::watch::{Order, Watched};
use crate::proxy_protocol::{self, Addresses, Told};
use crate::{Client, Stream};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4); no HTTP/1 method begins so.
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// How long to wait before looking again when a client has sent less than [`HTTP2_PREFACE`]: at first, and at most.
/// No honest client sends a few bytes of it and waits; thousands that do so must not keep a thread busy.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PREFACE_PAUSE: Duration = Duration::from_secs(1);

/// A connection of which it is known who is there and what is spoken.
pub(super) struct Arrived {
    pub(super) stream: Stream,
    pub(super) client: Client,
    pub(super) is_http2: bool,
}

/// Brings a connection to where requests begin; `None` if it is to end, because it may not, or told nothing.
pub(super) async fn arrive(
    mut socket: TcpStream,
    peer: SocketAddr,
    options: &Options,
    counted: &Arc<addresses::Addresses>,
    watched: &mut Watched,
) -> Option<Arrived> {
    // Without it a small answer may wait for the peer's delayed acknowledgement.
    let _ = socket.set_nodelay(true);
    let own = Addresses { source: peer, destination: socket.local_addr().ok()? };
    let mut told = Told::Own;
    if let Some(trusted) = &options.proxy_protocol {
        if !trusted.contains(peer.ip().to_canonical()) {
            tracing::debug!(%peer, "a connection that may not bring a PROXY header was closed");
            return None;
        }
        // Boxed, as all that few connections need: it would make the future of every connection larger.
        let header = Box::pin(proxy_protocol::read(&mut socket, options.limits.header_timeout));
        match while_serving(watched, header).await? {
            Ok(header) => told = header,
            Err(error) => {
                tracing::debug!(%error, %peer, "a connection was closed");
                return None;
            }
        }
    }
    let is_tls = options.tls.is_some();
    let client = match told {
        Told::Client(addresses) => Client::new(addresses, is_tls),
        Told::Own => Client::new(own, is_tls),
        Told::Nameless => Client::new(own, is_tls).nameless(),
    };
    let Ok(place) = counted.enter(client.ip()) else {
        tracing::debug!(client = %client.ip(), "an address has all the connections it may have");
        return None;
    };
    watched.keep(place);
    let Some(acceptor) = &options.tls else {
        let is_http2 = sniff(&socket, watched).await?;
        return Some(Arrived { stream: Stream::Plain(socket), client, is_http2 });
    };
    let stream = match while_serving(watched, Box::pin(acceptor.accept(socket))).await? {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, %peer, "a TLS handshake failed");
            return None;
        }
    };
    let is_http2 = stream.alpn() == Some(b"h2");
    Some(Arrived { stream, client, is_http2 })
}

/// Waits for something that comes before the first request, unless the connection is to end.
async fn while_serving<F: Future + Unpin>(watched: &Watched, mut future: F) -> Option<F::Output> {
    poll_fn(|cx| {
        let order = watched.order(cx.waker());
        match Pin::new(&mut future).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if order == Order::Serve => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        }
    })
    .await
}

/// Waits for the first bytes and tells whether they begin HTTP/2; `None` if the connection is to end.
///
/// Peeks, so that the HTTP/1 path reads its bytes itself and pays nothing for this.
async fn sniff(stream: &TcpStream, watched: &Watched) -> Option<bool> {
    let mut begun = [0; HTTP2_PREFACE.len()];
    let mut pause = PREFACE_PAUSE;
    loop {
        // What has been sent already is answered also while draining.
        let count = while_serving(watched, pin!(stream.peek(&mut begun))).await?.ok()?;
        if count == 0 {
            return None;
        }
        if begun[..count] != HTTP2_PREFACE[..count] {
            return Some(false);
        }
        if count == HTTP2_PREFACE.len() {
            return Some(true);
        }
        match watched.present() {
            Order::Serve => watched.standing().note_bytes(),
            // Whoever serves HTTP/1 says so.
            Order::Refuse => return Some(false),
            Order::Drain | Order::Close => return None,
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PREFACE_PAUSE);
    }
}
