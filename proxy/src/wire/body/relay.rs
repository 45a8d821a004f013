//! A body on its way from one connection to another, with bounded storage between them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::chunked::{self, Decoder, Malformed, Step};
use super::trailers;
use crate::stream::Stream;
use crate::wire::buffer::{Buffer, SIZE};
use crate::wire::head::framing::Framing;

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire) enum Source {
    /// It has ended.
    Ended,
    /// So many bytes are left.
    Length(u64),
    /// In chunks, until the last.
    Chunked(Decoder),
    /// Until the connection ends.
    UntilClose,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum Sink {
    /// As it is; its length is known or the connection ends with it.
    Plain,
    /// In chunks, with its trailers.
    Chunked,
}

impl Source {
    pub(in crate::wire) fn of(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Ended,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Decoder::new()),
        }
    }

    pub(in crate::wire) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Reads over bytes of the body without passing them on; gives how many were read.
    pub(in crate::wire) fn skim(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        let mut discarded = Buffer::default();
        let mut read = 0;
        loop {
            let count = self.transfer(&input[read..], &mut discarded, Sink::Plain)?;
            discarded.release();
            read += count;
            if count == 0 || self.has_ended() {
                return Ok(read);
            }
        }
    }

    /// Moves what it can of the input to the output, with the end of the body if it is there; gives how many
    /// bytes of the input were read. The output takes no more than fits its storage.
    pub(in crate::wire) fn transfer(
        &mut self,
        input: &[u8],
        output: &mut Buffer,
        sink: Sink,
    ) -> Result<usize, Malformed> {
        // Room for a chunk's frame and for the last chunk.
        let most = output.room().saturating_sub(2 * chunked::FRAME);
        match self {
            Self::Ended => Ok(0),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()).min(most);
                sink.put(output, &input[..count]);
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::Ended;
                    sink.put_end(output, false);
                }
                Ok(count)
            }
            Self::UntilClose => {
                let count = input.len().min(most);
                sink.put(output, &input[..count]);
                Ok(count)
            }
            Self::Chunked(decoder) => {
                let mut read = 0;
                loop {
                    let most = output.room().saturating_sub(2 * chunked::FRAME);
                    let (skipped, step) = decoder.step(&input[read..], most)?;
                    read += skipped;
                    match step {
                        Step::Data(count) => {
                            sink.put(output, &input[read..read + count]);
                            read += count;
                        }
                        Step::Trailer(count) => {
                            let line = &input[read..read + count];
                            if sink == Sink::Chunked && trailers::may_pass(line) {
                                let is_first = decoder.note_trailer();
                                sink.put_trailer(output, line, is_first);
                            }
                            read += count;
                        }
                        Step::End => {
                            let has_trailers = decoder.has_trailers();
                            *self = Self::Ended;
                            sink.put_end(output, has_trailers);
                            return Ok(read);
                        }
                        Step::More => return Ok(read),
                    }
                }
            }
        }
    }

    /// Ends a body that ends with its connection; false if it does not, so that it has broken off.
    fn end(&mut self, output: &mut Buffer, sink: Sink) -> bool {
        let may_end = matches!(self, Self::UntilClose);
        if may_end {
            *self = Self::Ended;
            sink.put_end(output, false);
        }
        may_end
    }
}

impl Sink {
    fn put(self, output: &mut Buffer, data: &[u8]) {
        match self {
            Self::Plain => output.put(data),
            // An empty chunk would be the last.
            Self::Chunked if data.is_empty() => {}
            Self::Chunked => chunked::put_chunk(output, data),
        }
    }

    fn put_trailer(self, output: &mut Buffer, line: &[u8], is_first: bool) {
        if is_first {
            output.put(b"0\r\n");
        }
        output.put(line);
    }

    fn put_end(self, output: &mut Buffer, has_trailers: bool) {
        match self {
            Self::Plain => {}
            Self::Chunked if has_trailers => output.put(b"\r\n"),
            Self::Chunked => output.put(b"0\r\n\r\n"),
        }
    }
}

/// One end of a relay.
#[derive(Debug)]
pub(in crate::wire) struct End<'a, S = Stream> {
    pub(in crate::wire) stream: &'a mut S,
    pub(in crate::wire) buffer: &'a mut Buffer,
}

/// A body's way from one connection to another.
#[derive(Debug)]
pub(in crate::wire) struct Relay {
    pub(in crate::wire) source: Source,
    pub(in crate::wire) sink: Sink,
    /// What it waits for; of meaning while it is pending.
    pub(in crate::wire) waits_for: WaitsFor,
    /// What comes next of the source is malformed.
    is_malformed: bool,
    /// Bytes read from the source's connection.
    pub(in crate::wire) read: u64,
    /// Bytes written to the sink's connection.
    pub(in crate::wire) written: u64,
}

/// The one of a relay's two connections that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum WaitsFor {
    /// The one it reads.
    Source,
    /// The one it writes.
    Sink,
}

/// Why a relay ended early.
#[derive(Debug)]
pub(in crate::wire) enum Broken {
    /// The connection it reads broke off.
    Source(io::Error),
    /// What it reads is malformed.
    Malformed,
    /// The connection it writes broke off.
    Sink(io::Error),
}

impl Relay {
    pub(in crate::wire) fn new(source: Source, sink: Sink) -> Self {
        Self { source, sink, waits_for: WaitsFor::Sink, is_malformed: false, read: 0, written: 0 }
    }

    /// Moves what can be moved; ready when all of the body is written.
    pub(in crate::wire) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: End<'_, S>,
        to: End<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            self.waits_for = WaitsFor::Sink;
            if !to.buffer.is_empty()
                && let Some(most) = self.direct_length(from.buffer.len()).filter(|most| *most > 0)
            {
                let slices = [IoSlice::new(to.buffer.filled()), IoSlice::new(&from.buffer.filled()[..most])];
                let polled = Pin::new(&mut *to.stream).poll_write_vectored(cx, &slices);
                let written = ready!(polled).map_err(Broken::Sink)?;
                if written == 0 {
                    return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into())));
                }
                self.written += written as u64;
                let before = written.min(to.buffer.len());
                to.buffer.consume(before);
                self.note_direct(written - before);
                from.buffer.consume(written - before);
                continue;
            }
            ready!(to.buffer.poll_drain(to.stream, cx, &mut self.written)).map_err(Broken::Sink)?;
            if self.source.has_ended() {
                return poll_flush(to.stream, cx).map_err(Broken::Sink);
            }
            if self.is_malformed {
                ready!(poll_flush(to.stream, cx)).map_err(Broken::Sink)?;
                return Poll::Ready(Err(Broken::Malformed));
            }
            if !from.buffer.is_empty() {
                let moved = match self.direct_length(from.buffer.len()) {
                    Some(most) => {
                        let bytes = &from.buffer.filled()[..most];
                        let written =
                            ready!(Pin::new(&mut *to.stream).poll_write(cx, bytes)).map_err(Broken::Sink)?;
                        if written == 0 {
                            return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into())));
                        }
                        self.written += written as u64;
                        self.note_direct(written);
                        written
                    }
                    None => match self.source.transfer(from.buffer.filled(), to.buffer, self.sink) {
                        Ok(moved) => moved,
                        // What is good of a message that has begun goes on first.
                        Err(Malformed) if self.written > 0 => {
                            self.is_malformed = true;
                            continue;
                        }
                        Err(Malformed) => return Poll::Ready(Err(Broken::Malformed)),
                    },
                };
                from.buffer.consume(moved);
                if moved > 0 || !to.buffer.is_empty() {
                    continue;
                }
            }
            // Under TLS written bytes may lie in the session still.
            if to.stream.is_tls()
                && let Poll::Ready(Err(error)) = Pin::new(&mut *to.stream).poll_flush(cx)
            {
                return Poll::Ready(Err(Broken::Sink(error)));
            }
            self.waits_for = WaitsFor::Source;
            if !from.buffer.make_room(SIZE) {
                // Only an unfinished trailer line stays in a buffer.
                return Poll::Ready(Err(Broken::Malformed));
            }
            match ready!(from.buffer.poll_fill(from.stream, cx)).map_err(Broken::Source)? {
                0 if self.source.end(to.buffer, self.sink) => {}
                0 => return Poll::Ready(Err(Broken::Source(io::ErrorKind::UnexpectedEof.into()))),
                count => self.read += count as u64,
            }
        }
    }

    /// Gives how much of what is there can be written from where it lies.
    fn direct_length(&self, there: usize) -> Option<usize> {
        match self.source {
            _ if self.sink == Sink::Chunked => None,
            Source::Length(left) => Some(usize::try_from(left).unwrap_or(usize::MAX).min(there)),
            Source::UntilClose => Some(there),
            Source::Chunked(_) | Source::Ended => None,
        }
    }

    fn note_direct(&mut self, written: usize) {
        if let Source::Length(left) = &mut self.source {
            *left -= written as u64;
            if *left == 0 {
                self.source = Source::Ended;
            }
        }
    }
}

/// Flushes what a TLS session holds; nothing is held of plain bytes.
pub(in crate::wire) fn poll_flush(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if stream.is_tls() { Pin::new(stream).poll_flush(cx) } else { Poll::Ready(Ok(())) }
}
