//! How a client's connection is closed so that it can read what was sent to it.
//!
//! A socket that is closed with unread bytes resets the connection, and the reset may overtake the response
//! (RFC 9112 §9.6). So the writing side is shut first, and what the client still sends is read and dropped.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::downstream::Downstream;
use crate::server::{Order, Watched};

/// How long a client that goes on sending is listened to; two round trips around the world and a lost packet.
const PATIENCE: Duration = Duration::from_secs(2);

/// Closes a client's connection.
pub(super) async fn close(client: &RefCell<Downstream>, watched: &Watched) {
    let deadline = Instant::now() + PATIENCE;
    let mut is_shut = false;
    poll_fn(|cx| {
        let mut client = client.borrow_mut();
        let client = &mut *client;
        if watched.order(cx.waker()) == Order::Close || client.timer.poll_due(cx, deadline) {
            return Poll::Ready(());
        }
        if !is_shut {
            match Pin::new(&mut client.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => is_shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        loop {
            client.input.release();
            match client.input.poll_fill(&mut client.stream, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}
