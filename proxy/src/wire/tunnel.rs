//! Two connections that have left HTTP and carry bytes for each other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

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
/// Nothing is timed: a WebSocket may be silent for hours. Draining waits for it within the grace.
pub(super) async fn run(client: &RefCell<Downstream>, link: &mut Link) -> Ending {
    let (mut there, mut back) = (Way::new(), Way::new());
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
        match (came, went) {
            (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(Ending::ClientLeft),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ending::Whole),
            _ => Poll::Pending,
        }
    })
    .await
}
