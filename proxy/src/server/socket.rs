//! A client's connection as hyper and h2 see it, which notes how it goes on and refuses a head that does not end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::FrameWatch;
use super::late::Late;
use super::watch::Standing;
use crate::Stream;

/// A connection that notes when its client begins to send, when it takes no more, and what its frames cost.
pub(crate) struct Socket {
    stream: Stream,
    standing: Arc<Standing>,
    frames: Option<Box<FrameWatch>>,
    /// There once the client is told that its head took too long.
    late: Option<Box<Late>>,
}

impl Socket {
    pub(super) fn http1(stream: Stream, standing: Arc<Standing>) -> Self {
        Self { stream, standing, frames: None, late: None }
    }

    pub(crate) fn http2(stream: Stream, standing: Arc<Standing>) -> Self {
        let frames = Some(Box::new(FrameWatch::new(standing.now_ms())));
        standing.forget_head();
        Self { stream, standing, frames, late: None }
    }

    /// Notes bytes that were read.
    fn note_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(frames) = &mut self.frames else {
            // Empty lines may stand before a request (RFC 9112 §2.2), and are none of it.
            if bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
                self.standing.note_bytes();
            }
            return Ok(());
        };
        self.standing.note_heard();
        frames.note_answers(self.standing.take_whole());
        frames.observe(bytes, self.standing.now_ms()).map_err(io::Error::other)?;
        self.standing.note_header_block(frames.is_in_headers());
        Ok(())
    }

    /// Notes what became of a write.
    fn note_write(&mut self, polled: &Poll<io::Result<usize>>) {
        self.standing.note_write(polled.is_ready());
        if let (Some(frames), Poll::Ready(Ok(written))) = (&mut self.frames, polled) {
            frames.note_written(*written);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.late.is_some() || this.standing.is_refused() {
            // hyper has no answer to such a head; it takes the end of this for the end of the connection.
            return this.late.get_or_insert_default().poll(&mut this.stream, cx).map(Ok);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        Poll::Ready(this.note_read(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        // One call for the head of a long frame and its data; hyper is told for HTTP/1 what it should do.
        self.frames.is_some() && self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        // In the clear there is nothing to flush, and so nothing to learn from it.
        if this.stream.is_tls() {
            this.standing.note_write(polled.is_ready());
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
