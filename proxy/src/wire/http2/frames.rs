//! The frames of a body, of which a request's are kept for a while: one that a backend refuses unprocessed
//! (RFC 9113 §8.7) can then be sent to another.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

/// How much of a body is kept; most calls of gRPC are smaller.
const MOST: usize = 64 << 10;

/// A stream's body in frames.
#[derive(Debug)]
pub(in crate::wire) struct Frames {
    stream: RecvStream,
    /// Some of it was read.
    is_begun: bool,
    /// What was read, while it is kept.
    kept: Option<Box<Kept>>,
}

/// What was read of a body.
#[derive(Debug, Default)]
struct Kept {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What of it is to be read once more.
    gives_data: bool,
    gives_trailers: bool,
}

impl Frames {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, is_begun: false, kept: None }
    }

    /// Keeps what will be read, if nothing was read yet.
    pub(in crate::wire) fn keep(&mut self) {
        if !self.is_begun && self.kept.is_none() {
            self.kept = Some(Box::default());
        }
    }

    /// Keeps nothing any more, but what is still to be given.
    pub(super) fn forget(&mut self) {
        self.kept.take_if(|kept| !kept.gives_data && !kept.gives_trailers);
    }

    /// Tells whether all that was read can be read once more.
    pub(super) fn can_rewind(&self) -> bool {
        !self.is_begun || self.kept.is_some()
    }

    /// Goes back to the beginning; false if that is not there any more.
    pub(super) fn rewind(&mut self) -> bool {
        if let Some(kept) = &mut self.kept {
            kept.gives_data = !kept.data.is_empty();
            kept.gives_trailers = kept.trailers.is_some();
        }
        self.can_rewind()
    }

    /// Waits for data; `None` behind the last.
    pub(in crate::wire) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.gives_data) {
            kept.gives_data = false;
            return Poll::Ready(Some(Ok(Bytes::copy_from_slice(&kept.data))));
        }
        let Some(data) = ready!(self.stream.poll_data(cx)).transpose()? else { return Poll::Ready(None) };
        // It is asked for only when there is room for it, so as much again may be sent.
        self.stream.flow_control().release_capacity(data.len())?;
        self.is_begun = true;
        match &mut self.kept {
            // A copy: a frame would keep all that came in with it from being freed.
            Some(kept) if kept.data.len() + data.len() <= MOST => kept.data.extend_from_slice(&data),
            _ => self.kept = None,
        }
        Poll::Ready(Some(Ok(data)))
    }

    /// Waits for what comes behind the data.
    pub(in crate::wire) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.gives_trailers) {
            kept.gives_trailers = false;
            return Poll::Ready(Ok(kept.trailers.clone()));
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        self.is_begun = true;
        if let (Some(kept), Some(trailers)) = (&mut self.kept, &trailers) {
            kept.trailers = Some(trailers.clone());
        }
        Poll::Ready(Ok(trailers))
    }

    /// Tells whether nothing comes any more.
    pub(in crate::wire) fn is_end_stream(&self) -> bool {
        let gives = self.kept.as_ref().is_some_and(|kept| kept.gives_data || kept.gives_trailers);
        !gives && self.stream.is_end_stream()
    }
}
