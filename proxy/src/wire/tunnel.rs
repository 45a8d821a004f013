//! Two connections that have left HTTP and carry bytes for each other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Limits;
use super::body::relay::{End, Relay, Sink, Source};
use super::downstream::Downstream;
use super::respond::Ending;
use super::upstream::Link;

/// One direction of a tunnel.
struct Way {
    relay: Relay,
    is_shut: bool,
}

impl Way {
    fn new() -> Self {
        Self { relay: Relay::new(Source::UntilClose, Sink::Plain), is_shut: false }
    }

    fn moved(&self) -> u64 {
        self.relay.read + self.relay.written
    }

    /// Moves bytes; ready when the source has closed and the sink was told so, with an error if one broke.
    fn poll(&mut self, cx: &mut Context<'_>, from: End<'_>, to: End<'_>) -> Poll<Result<(), ()>> {
        if self.is_shut {
            return Poll::Ready(Ok(()));
        }
        let End { stream, buffer } = to;
        match self.relay.poll(cx, from, End { stream: &mut *stream, buffer }) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
            Poll::Ready(Ok(())) => {}
        }
        let shut = Pin::new(stream).poll_shutdown(cx);
        self.is_shut = shut.is_ready();
        shut.map_err(|_| ())
    }
}

/// Carries bytes both ways until both sides have closed, or one has broken.
///
/// A WebSocket may be silent for hours, unless [`Limits::tunnel_idle`] is set; whether both ends are still there is
/// asked by TCP. Once one side has closed, the other is waited for as long as a body may stand still. Draining waits
/// for a tunnel within the grace.
pub(super) async fn run(client: &RefCell<Downstream>, link: &mut Link, limits: &Limits) -> Ending {
    let (mut there, mut back) = (Way::new(), Way::new());
    client.borrow().stream.keep_alive();
    link.stream.keep_alive();
    let (mut moved, mut since) = (0, Instant::now());
    poll_fn(|cx| {
        let mut client = client.borrow_mut();
        let client = &mut *client;
        let before = back.relay.written;
        let came = back.poll(
            cx,
            End { stream: &mut link.stream, buffer: &mut link.input },
            End { stream: &mut client.stream, buffer: &mut client.output },
        );
        client.sent += back.relay.written - before;
        let went = there.poll(
            cx,
            End { stream: &mut client.stream, buffer: &mut client.input },
            End { stream: &mut link.stream, buffer: &mut link.output },
        );
        let is_half = match (came, went) {
            (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => return Poll::Ready(Ending::ClientLeft),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ending::Whole),
            (Poll::Pending, Poll::Pending) => false,
            _ => true,
        };
        let patience = if is_half { Some(limits.body_idle) } else { limits.tunnel_idle };
        let Some(patience) = patience else { return Poll::Pending };
        let all = there.moved() + back.moved() + u64::from(is_half);
        if all != moved {
            (moved, since) = (all, Instant::now());
        }
        if client.timer.poll_due(cx, since + patience) { Poll::Ready(Ending::Whole) } else { Poll::Pending }
    })
    .await
}
