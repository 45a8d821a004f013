//! Bytes on their way, in storage that a thread lends out and takes back.
//!
//! A connection that waits for a request holds no storage at all; that is what keeps thousands of idle ones
//! small. What is lent is the one given back last, so that a thread works in the same few pages.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The size of a piece of storage. Larger ones save system calls on long bodies, but 32 KiB fits the first
/// cache of a core beside what else a request touches, and a 16 KiB answer with its head.
pub(super) const SIZE: usize = 32 << 10;

/// How many pieces a thread keeps at most; what a thousand busy connections hold at a time.
const STOCK_LIMIT: usize = 2048;

/// A thread's storage that nobody holds.
#[derive(Default)]
struct Stock {
    pieces: Vec<Vec<u8>>,
    /// The fewest there were since the last look: so many were not needed.
    fewest: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = RefCell::default();
}

/// Frees half of what was not needed since the last call; call it about once a second.
pub(super) fn trim_stock() {
    STOCK.with_borrow_mut(|stock| {
        let keep = stock.pieces.len() - stock.fewest.div_ceil(2).min(stock.pieces.len());
        stock.pieces.truncate(keep);
        stock.fewest = keep;
    });
}

/// Received or written bytes; without storage when it is empty and released.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// Initialised as a whole, so that it can be read into; empty without storage.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Gives what it holds.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Gives how many bytes can be put in without more storage.
    pub(super) fn room(&self) -> usize {
        self.bytes.len().max(SIZE) - self.end
    }

    /// Forgets the first bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.release();
        }
    }

    /// Forgets all but the first bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }

    /// Forgets everything and gives the storage back.
    pub(super) fn release(&mut self) {
        self.start = 0;
        self.end = 0;
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() == SIZE {
            // A thread that is ending has no stock any more.
            let _ = STOCK.try_with(|stock| {
                let mut stock = stock.borrow_mut();
                if stock.pieces.len() < STOCK_LIMIT {
                    stock.pieces.push(bytes);
                }
            });
        }
    }

    /// Adds bytes at the end; takes more storage where they do not fit.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        if end > self.bytes.len() {
            self.grow(end);
        }
        self.bytes[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }

    /// Adds pieces one after the other.
    pub(super) fn put_all(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.put(piece);
        }
    }

    /// Puts bytes before what it holds.
    pub(super) fn put_before(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut joined = Self::default();
        joined.put(bytes);
        joined.put(self.filled());
        *self = joined;
    }

    /// Makes the storage at least `size` bytes long.
    #[cold]
    fn grow(&mut self, size: usize) {
        if self.bytes.is_empty() {
            self.take_storage();
        }
        if size > self.bytes.len() {
            self.bytes.resize(size.next_power_of_two(), 0);
        }
    }

    fn take_storage(&mut self) {
        let taken = STOCK.with_borrow_mut(|stock| {
            let piece = stock.pieces.pop();
            stock.fewest = stock.fewest.min(stock.pieces.len());
            piece
        });
        self.bytes = taken.unwrap_or_else(|| vec![0; SIZE]);
    }

    /// Makes room to read into: moves what it holds to the front, and takes more storage if it is full and
    /// shorter than `limit`. False if there is no room.
    pub(super) fn make_room(&mut self, limit: usize) -> bool {
        if self.bytes.is_empty() {
            self.take_storage();
        } else if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.end < limit {
                self.grow(self.end + 1);
            } else {
                return false;
            }
        }
        true
    }

    /// Reads once; gives the number of bytes, 0 at the end of the stream. There must be room.
    #[inline]
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if !self.make_room(0) {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let mut unfilled = ReadBuf::new(&mut self.bytes[self.end..]);
        let polled = Pin::new(stream).poll_read(cx, &mut unfilled);
        let count = unfilled.filled().len();
        self.end += count;
        if self.is_empty() {
            self.release();
        }
        polled.map_ok(|()| count)
    }

    /// Writes what it holds, and gives the storage back; gives the number of bytes written in this call also
    /// where more remain.
    #[inline]
    pub(super) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, self.filled()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count as u64;
            self.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_comes_back_and_is_lent_again() {
        let mut buffer = Buffer::default();
        buffer.put(b"one");
        let place = buffer.filled().as_ptr();
        buffer.consume(3);
        assert!(buffer.bytes.is_empty(), "an empty buffer holds no storage");
        let mut other = Buffer::default();
        other.put(b"two");
        assert_eq!(other.filled().as_ptr(), place);
    }

    #[test]
    fn what_is_put_in_comes_out_in_order() {
        let mut buffer = Buffer::default();
        buffer.put_all(&[b"b", b"c"]);
        buffer.put_before(b"a");
        assert_eq!(buffer.filled(), b"abc");
        buffer.consume(1);
        buffer.put(&vec![b'd'; SIZE]);
        assert_eq!(buffer.len(), SIZE + 2);
        assert_eq!(&buffer.filled()[..3], b"bcd");
    }

    #[test]
    fn a_full_buffer_grows_only_to_its_limit() {
        let mut buffer = Buffer::default();
        buffer.put(&vec![0; SIZE]);
        assert!(!buffer.make_room(SIZE));
        assert!(buffer.make_room(2 * SIZE));
        assert_eq!(buffer.bytes.len(), 2 * SIZE);
        buffer.consume(1);
        assert!(buffer.make_room(0));
    }

    #[test]
    fn storage_that_was_not_needed_is_freed_by_and_by() {
        let held: Vec<Buffer> = (0..8)
            .map(|_| {
                let mut buffer = Buffer::default();
                buffer.put(b"x");
                buffer
            })
            .collect();
        drop(held);
        trim_stock();
        for _ in 0..8 {
            trim_stock();
        }
        STOCK.with_borrow(|stock| assert!(stock.pieces.is_empty()));
    }
}
