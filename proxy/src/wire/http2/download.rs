//! A backend's response on its way to a stream, as fast as the client grants room for it.

use std::cell::RefCell;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::HeaderMap;

use super::response;
use super::stream::ClientStream;
use crate::wire::AddedFields;
use crate::wire::buffer::SIZE;
use crate::wire::chunked::Step;
use crate::wire::exchange::Exchange;
use crate::wire::relay::{Side, Source};
use crate::wire::respond::Ending;
use crate::wire::response_head::ResponseHead;
use crate::wire::upstream::Link;

/// A response's body on its way.
#[derive(Debug)]
pub(in crate::wire) struct Download {
    source: Source,
    /// Read, and not given to h2 yet.
    data: Bytes,
    trailers: HeaderMap,
    pub(in crate::wire) waits_for: Side,
    /// Bytes that moved.
    pub(in crate::wire) moved: u64,
    is_done: bool,
    is_broken: bool,
}

impl Download {
    /// Sends a response's head; its body is still to come.
    pub(in crate::wire) fn begin(
        exchange: &Exchange<'_>,
        stream: &RefCell<ClientStream>,
        link: &mut Link,
        head: &ResponseHead,
        added: &AddedFields,
        removed: &[&[u8]],
    ) -> Self {
        let message = response::message(link.input.filled(), head, added, removed, &exchange.trace());
        link.input.consume(head.end);
        let is_all = head.body.has_ended();
        let is_sent = stream.borrow_mut().send_head(message, is_all);
        Self {
            source: head.body,
            data: Bytes::new(),
            trailers: HeaderMap::new(),
            waits_for: Side::Sink,
            moved: 0,
            is_done: is_all,
            is_broken: !is_sent,
        }
    }

    /// Moves what can be moved; ready when h2 has all of it, with an ending if that is not whole.
    pub(in crate::wire) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut ClientStream,
        link: &mut Link,
    ) -> Poll<Option<Ending>> {
        if self.is_broken {
            return Poll::Ready(Some(Ending::ClientLeft));
        }
        while !self.is_done {
            if self.data.is_empty() && !self.source.has_ended() {
                match ready!(self.poll_read(cx, link)) {
                    Ok(()) => continue,
                    Err(()) => {
                        stream.reset(Reason::INTERNAL_ERROR);
                        return Poll::Ready(Some(Ending::BackendBroke));
                    }
                }
            }
            self.waits_for = Side::Sink;
            if ready!(self.poll_write(cx, stream)).is_none() {
                return Poll::Ready(Some(Ending::ClientLeft));
            }
        }
        Poll::Ready(None)
    }

    /// Gives h2 what there is room for; `None` if the client does not want it any more.
    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut ClientStream) -> Poll<Option<()>> {
        let Some(send) = &mut stream.send else { return Poll::Ready(None) };
        if self.data.is_empty() {
            let ended = if self.trailers.is_empty() {
                send.send_data(Bytes::new(), true)
            } else {
                send.send_trailers(std::mem::take(&mut self.trailers))
            };
            self.is_done = true;
            return Poll::Ready(ended.ok());
        }
        send.reserve_capacity(self.data.len());
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        let part = self.data.split_to(send.capacity().min(self.data.len()));
        let count = part.len() as u64;
        let is_last = self.data.is_empty() && self.source.has_ended() && self.trailers.is_empty();
        self.is_done = is_last;
        self.moved += count;
        stream.sent += count;
        Poll::Ready(send.send_data(part, is_last).ok())
    }

    /// Reads more of the body; an error if the backend broke it off.
    fn poll_read(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Result<(), ()>> {
        self.waits_for = Side::Source;
        loop {
            if !link.input.is_empty() {
                let count = self.take(link.input.filled())?;
                link.input.consume(count);
                if count > 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            if !link.input.make_room(SIZE) {
                // Only an unfinished trailer line stays in a buffer.
                return Poll::Ready(Err(()));
            }
            match ready!(link.input.poll_fill(&mut link.stream, cx)) {
                Ok(0) if matches!(self.source, Source::UntilClose) => {
                    self.source = Source::Ended;
                    return Poll::Ready(Ok(()));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(())),
                Ok(count) => self.moved += count as u64,
            }
        }
    }

    /// Takes data out of what came; gives how much of it was read.
    fn take(&mut self, input: &[u8]) -> Result<usize, ()> {
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
                    let (skipped, step) = decoder.step(&input[read..], SIZE).map_err(drop)?;
                    read += skipped;
                    match step {
                        Step::Data(count) => {
                            data.extend_from_slice(&input[read..read + count]);
                            read += count;
                        }
                        Step::Trailer(count) => {
                            response::add_trailer(&mut self.trailers, &input[read..read + count]);
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
}
