//! Reading what a client still sends after it was refused.
//!
//! A connection closed with unread bytes is reset, and a reset can overtake the answer: the client, or the
//! balancer before it, would see a broken connection instead of the problem (RFC 9112 §9.6).

use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;

/// How much is read; a client that sends more is cut off.
const LIMIT: u64 = 64 << 20;

/// How long is read.
const TIME: Duration = Duration::from_secs(5);

/// Reads the rest of a refused request's body beside the answer, which does not wait for it.
pub(crate) fn drain_beside<B>(body: B)
where
    B: Body<Data = bytes::Bytes> + Unpin + 'static,
{
    if body.is_end_stream() {
        return;
    }
    // It ends by itself soon, or with the thread, whose runtime owns it.
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(TIME, drain(body)).await;
    });
}

async fn drain<B: Body<Data = bytes::Bytes> + Unpin>(mut body: B) {
    let mut left = LIMIT;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
