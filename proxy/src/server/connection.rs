//! One accepted connection, on its way to what serves it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::addresses::Addresses;
use super::arrival::{Arrived, arrive};
use super::watch::Watched;
use super::{Handler, Options, message};
use crate::{Client, Stream, wire};

/// Streams a client may open and reset before they are looked at; h2's own default.
pub(crate) const PENDING_RESETS: usize = 20;

/// Streams that may end because of the client's faults before its connection does; what h2 and Envoy allow is
/// 1,024, for clients that nobody expects to be faulty more than now and then.
pub(crate) const ERROR_RESETS: usize = 128;

/// How long a client may take to answer a ping.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// An accepted connection of which it is known who is there and what is spoken, on its way to
/// [`wire::serve`] or [`message::serve`].
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: Stream,
    pub(crate) client: Rc<Client>,
    pub(crate) watched: Watched,
    pub(crate) is_http2: bool,
    pub(crate) served: Rc<Served>,
}

/// How one thread's connections are served, made once.
#[derive(Debug)]
pub(crate) struct Served {
    options: Options,
    counted: Arc<Addresses>,
    pub(super) message: message::Builders,
    pub(crate) wire_http2: wire::Http2Settings,
}

impl Served {
    pub(super) fn new(options: Options, counted: Arc<Addresses>) -> Self {
        let message = message::Builders::new(&options.limits);
        let wire_http2 = wire::Http2Settings::new(&options.limits);
        Self { options, counted, message, wire_http2 }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<H: Handler>(
    socket: TcpStream,
    peer: SocketAddr,
    handler: Rc<H>,
    served: Rc<Served>,
    mut watched: Watched,
) {
    let arrived = arrive(socket, peer, &served.options, &served.counted, &mut watched).await;
    let Some(Arrived { stream, client, is_http2 }) = arrived else { return };
    let connection = Connection { stream, client: Rc::new(client), watched, is_http2, served };
    // Boxed: what follows is larger, and would make every idle connection so.
    Box::pin(handler.serve(connection)).await;
}
