//! A body on its way into a stream of HTTP/2, as fast as the other end grants room for it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::chunked::{Malformed, Step};
use super::relay::{Broken, End, Source, WaitsFor};
use super::trailers;
use crate::wire::buffer::SIZE;
use crate::wire::head::fields;
use crate::wire::http2::Frames;

/// Where a body comes from.
#[derive(Debug)]
pub(in crate::wire) enum Origin<'a> {
    /// A connection of HTTP/1.
    Bytes(End<'a>),
    /// Another stream of HTTP/2, whose frames are passed on as they are.
    Frames(&'a mut Frames),
}

/// A body's way into a stream; what is a [`Relay`](super::relay::Relay) where bytes are written.
#[derive(Debug)]
pub(in crate::wire) struct Inflow {
    source: Source,
    /// Read, and not given to h2 yet.
    data: Bytes,
    trailers: HeaderMap,
    is_done: bool,
    /// What it waits for; of meaning while it is pending.
    pub(in crate::wire) waits_for: WaitsFor,
    /// Bytes read from a connection, or of frames.
    pub(in crate::wire) read: u64,
    /// Bytes of the body given to h2.
    pub(in crate::wire) written: u64,
}

impl Inflow {
    /// Begins with a body of HTTP/1; one that has ended was ended with the head.
    pub(in crate::wire) fn new(source: Source) -> Self {
        Self {
            is_done: source.has_ended(),
            source,
            data: Bytes::new(),
            trailers: HeaderMap::new(),
            waits_for: WaitsFor::Sink,
            read: 0,
            written: 0,
        }
    }

    /// Begins with a body in frames, which ends with its stream.
    pub(in crate::wire) fn of_frames() -> Self {
        Self::new(Source::UntilClose)
    }

    /// Moves what can be moved; ready when h2 has all of the body.
    pub(in crate::wire) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Origin<'_>,
        send: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Broken>> {
        while !self.is_done {
            if self.data.is_empty() && !self.source.has_ended() {
                self.waits_for = WaitsFor::Source;
                match from {
                    Origin::Bytes(end) => ready!(self.poll_bytes(cx, end))?,
                    Origin::Frames(stream) => ready!(self.poll_frames(cx, stream))?,
                }
            } else {
                self.waits_for = WaitsFor::Sink;
                ready!(self.poll_write(cx, send))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives h2 what was read before; ready when nothing of it is left.
    pub(in crate::wire) fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        send: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Broken>> {
        self.waits_for = WaitsFor::Sink;
        while !self.data.is_empty() {
            ready!(self.poll_write(cx, send))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what it can of bytes that are at hand, unless some were taken before; gives how many were read.
    pub(in crate::wire) fn take(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        if !self.data.is_empty() {
            return Ok(0);
        }
        match &mut self.source {
            Source::Ended => Ok(0),
            Source::UntilClose => {
                self.data = Bytes::copy_from_slice(input);
                Ok(input.len())
            }
            Source::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                self.data = Bytes::copy_from_slice(&input[..count]);
                *left -= count as u64;
                if *left == 0 {
                    self.source = Source::Ended;
                }
                Ok(count)
            }
            Source::Chunked(decoder) => {
                let mut data = BytesMut::new();
                let mut read = 0;
                loop {
                    let (skipped, step) = decoder.step(&input[read..], SIZE)?;
                    read += skipped;
                    match step {
                        Step::Data(count) => {
                            data.extend_from_slice(&input[read..read + count]);
                            read += count;
                        }
                        Step::Trailer(count) => {
                            add_trailer(&mut self.trailers, &input[read..read + count]);
                            read += count;
                        }
                        Step::End => {
                            self.source = Source::Ended;
                            break;
                        }
                        Step::More => break,
                    }
                }
                self.data = data.freeze();
                Ok(read)
            }
        }
    }

    /// Reads more of a body in bytes.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, from: &mut End<'_>) -> Poll<Result<(), Broken>> {
        if !from.buffer.is_empty() {
            let count = self.take(from.buffer.filled()).map_err(|Malformed| Broken::Malformed)?;
            from.buffer.consume(count);
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if !from.buffer.make_room(SIZE) {
            // Only an unfinished trailer line stays in a buffer.
            return Poll::Ready(Err(Broken::Malformed));
        }
        match ready!(from.buffer.poll_fill(from.stream, cx)).map_err(Broken::Source)? {
            0 if matches!(self.source, Source::UntilClose) => self.source = Source::Ended,
            0 => return Poll::Ready(Err(Broken::Source(io::ErrorKind::UnexpectedEof.into()))),
            count => self.read += count as u64,
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the next frame.
    fn poll_frames(&mut self, cx: &mut Context<'_>, from: &mut Frames) -> Poll<Result<(), Broken>> {
        let broken = |error: h2::Error| Broken::Source(io::Error::other(error));
        match ready!(from.poll_data(cx)) {
            Some(data) => {
                let data = data.map_err(broken)?;
                self.read += data.len() as u64;
                self.data = data;
                if from.is_end_stream() {
                    self.source = Source::Ended;
                }
            }
            None => {
                let trailers = ready!(from.poll_trailers(cx)).map_err(broken)?;
                self.trailers = trailers.unwrap_or_default();
                retain_trailers(&mut self.trailers);
                self.source = Source::Ended;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives h2 what there is room for.
    fn poll_write(&mut self, cx: &mut Context<'_>, send: &mut SendStream<Bytes>) -> Poll<Result<(), Broken>> {
        let broken = |error: h2::Error| Broken::Sink(io::Error::other(error));
        if self.data.is_empty() {
            self.is_done = true;
            let ended = if self.trailers.is_empty() {
                send.send_data(Bytes::new(), true)
            } else {
                send.send_trailers(std::mem::take(&mut self.trailers))
            };
            return Poll::Ready(ended.map_err(broken));
        }
        send.reserve_capacity(self.data.len());
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(granted) => drop(granted.map_err(broken)?),
                None => return Poll::Ready(Err(Broken::Sink(io::ErrorKind::BrokenPipe.into()))),
            }
        }
        let part = self.data.split_to(send.capacity().min(self.data.len()));
        self.written += part.len() as u64;
        self.is_done = self.data.is_empty() && self.source.has_ended() && self.trailers.is_empty();
        Poll::Ready(send.send_data(part, self.is_done).map_err(broken))
    }
}

/// Puts a trailer line in, if it may pass.
fn add_trailer(fields: &mut HeaderMap, line: &[u8]) {
    if trailers::may_pass(line)
        && let Ok(Some(span)) = fields::parse_line(line, 0)
        && let Ok(name) = HeaderName::from_bytes(span.name(line))
        && let Ok(value) = HeaderValue::from_bytes(span.value(line))
    {
        fields.append(name, value);
    }
}

/// Removes the trailers that may not pass.
fn retain_trailers(fields: &mut HeaderMap) {
    let is_kept = |name: &HeaderName| trailers::is_permitted(name.as_str().as_bytes());
    if fields.keys().all(is_kept) {
        return;
    }
    let dropped: Vec<HeaderName> = fields.keys().filter(|name| !is_kept(name)).cloned().collect();
    for name in dropped {
        fields.remove(name);
    }
}
