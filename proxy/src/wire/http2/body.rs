//! A body that comes in frames as HTTP/1 would bring it, so that it is read the same way from either side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::RecvStream;
use tokio::io::{AsyncRead, ReadBuf};

use super::frames::Frames;
use crate::wire::body::chunked;
use crate::wire::buffer::Buffer;

/// A stream's body, of a request or a response. Without a length it comes in chunks, with its trailers behind them.
#[derive(Debug)]
pub(in crate::wire) struct Body {
    frames: Frames,
    /// A frame's data, as far as it is still to be read.
    data: Bytes,
    /// What frames a chunk, and what comes last.
    framed: Buffer,
    is_chunked: bool,
    has_ended: bool,
}

impl Body {
    pub(in crate::wire) fn new(stream: RecvStream, is_chunked: bool) -> Self {
        let frames = Frames::new(stream);
        Self { frames, data: Bytes::new(), framed: Buffer::default(), is_chunked, has_ended: false }
    }

    /// Gives the frames themselves, of a body none of which was read as bytes.
    pub(in crate::wire) fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }

    /// Keeps nothing any more.
    pub(in crate::wire) fn forget(&mut self) {
        self.frames.forget();
    }

    /// Tells whether it can be read from its beginning.
    pub(in crate::wire) fn can_rewind(&self) -> bool {
        self.frames.can_rewind()
    }

    /// Goes back to the beginning; false if that is not there any more.
    pub(in crate::wire) fn rewind(&mut self) -> bool {
        self.frames.rewind()
    }

    /// Waits for the next data, or the end; `framed` and `data` are empty before.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.frames.poll_data(cx)) {
            Some(Ok(data)) => {
                if self.is_chunked && !data.is_empty() {
                    chunked::put_chunk(&mut self.framed, &data);
                } else {
                    self.data = data;
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            None if self.is_chunked => {
                let trailers = ready!(self.frames.poll_trailers(cx)).map_err(io::Error::other)?;
                self.framed.put(b"0\r\n");
                for (name, value) in trailers.iter().flatten() {
                    self.framed.put_all(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
                }
                self.framed.put(b"\r\n");
                self.has_ended = true;
            }
            None => self.has_ended = true,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Body {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.data.is_empty() && this.framed.is_empty() && !this.has_ended {
            ready!(this.poll_more(cx))?;
        }
        let count = this.data.len().min(buffer.remaining());
        buffer.put_slice(&this.data[..count]);
        this.data.advance(count);
        let count = this.framed.len().min(buffer.remaining());
        buffer.put_slice(&this.framed.filled()[..count]);
        this.framed.consume(count);
        Poll::Ready(Ok(()))
    }
}
