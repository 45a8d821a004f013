//! A request from its head to the end of its response.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::streams::{self, Stream};
use super::watch::Standing;

/// Counts as a request of its connection until it is dropped.
pub(crate) struct Counted(Arc<Standing>);

impl Counted {
    pub(crate) fn begin(standing: &Arc<Standing>) -> Self {
        standing.note_request();
        Self(Arc::clone(standing))
    }

    /// Notes that the client has had its answer whole.
    pub(crate) fn note_whole(&self) {
        self.0.note_whole();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.note_response();
    }
}

/// A response's body, which ends its exchange when it is dropped.
pub(super) struct Timed<B: Body> {
    body: B,
    counted: Counted,
    /// The HTTP/2 stream it goes out on.
    stream: Option<Rc<Stream>>,
    is_whole: bool,
}

impl<B: Body> Timed<B> {
    /// Called where the response is about to be sent, so that its stream is the present one.
    pub(super) fn new(body: B, counted: Counted) -> Self {
        Self { is_whole: false, stream: streams::present(), body, counted }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Timed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.is_whole = true,
            // It is asked for more as soon as the client has room for more.
            Poll::Ready(Some(Ok(_))) => {
                if let Some(stream) = &self.stream {
                    stream.note_waiting_for_client(self.counted.0.now_ms());
                }
            }
            Poll::Pending => {
                if let Some(stream) = &self.stream {
                    stream.note_waiting_for_body();
                }
            }
            Poll::Ready(Some(Err(_))) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body> Drop for Timed<B> {
    fn drop(&mut self) {
        if self.is_whole || self.body.is_end_stream() {
            self.counted.note_whole();
        }
    }
}
