//! Two connections that have left HTTP and carry bytes for each other.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::server::{self, Order};

/// Carries bytes both ways once both sides have changed the protocol, until one closes.
///
/// The serving thread owns the task and counts it as a connection: shutdown waits for it, and drops it when
/// the grace is over.
pub(crate) fn bridge(client: OnUpgrade, backend: OnUpgrade) {
    let watched = server::watch_upgraded();
    server::spawn(async move {
        let (client, backend) = match tokio::try_join!(client, backend) {
            Ok((client, backend)) => (client, backend),
            Err(error) => {
                tracing::debug!(%error, "a change of protocol did not come about");
                return;
            }
        };
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        let mut carrying = pin!(tokio::io::copy_bidirectional(&mut client, &mut backend));
        let carried = poll_fn(|cx| {
            let is_closed = watched.as_ref().is_some_and(|watched| watched.order(cx.waker()) == Order::Close);
            if is_closed { Poll::Ready(Ok((0, 0))) } else { carrying.as_mut().poll(cx) }
        });
        if let Err(error) = carried.await {
            tracing::debug!(%error, "an upgraded connection broke");
        }
    });
}
