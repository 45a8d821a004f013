//! Writing replies in RESP2 or RESP3, gathered for one write a batch.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

/// From this size on a value is handed to the socket as it is and not copied between its neighbours; below,
/// copying costs less than another write.
const SHARED_FROM: usize = 16 << 10;

/// The capacity a connection keeps between batches, in bytes.
const KEPT_CAPACITY: usize = 64 << 10;

/// Which version of the protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// RESP2, the default.
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// The replies of a batch, in order.
#[derive(Debug)]
pub(super) struct Replies {
    protocol: Protocol,
    full: VecDeque<Bytes>,
    tail: BytesMut,
    length: usize,
}

impl Default for Replies {
    fn default() -> Self {
        Self { protocol: Protocol::Resp2, full: VecDeque::new(), tail: BytesMut::new(), length: 0 }
    }
}

impl Replies {
    pub(super) fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Counts the bytes that wait to be written.
    pub(super) fn len(&self) -> usize {
        self.length + self.tail.len()
    }

    /// Takes what is to be written next; empty when that is all.
    pub(super) fn take(&mut self) -> Bytes {
        match self.full.pop_front() {
            Some(part) => {
                self.length -= part.len();
                part
            }
            None => self.tail.split().freeze(),
        }
    }

    /// Gives memory back that a large batch left behind; call it when all is written.
    pub(super) fn shrink(&mut self) {
        if self.tail.capacity() > KEPT_CAPACITY && self.tail.is_empty() {
            self.tail = BytesMut::new();
        }
    }

    pub(super) fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// Writes an error; line ends in it, which would end the reply, become spaces.
    pub(super) fn error(&mut self, text: &str) {
        self.line(b'-', text.replace(['\r', '\n'], " ").as_bytes());
    }

    pub(super) fn integer(&mut self, number: i64) {
        self.head(b':', number);
    }

    pub(super) fn null(&mut self) {
        self.tail.put_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Starts an array; its elements follow.
    pub(super) fn array(&mut self, length: usize) {
        self.head(b'*', length as i64);
    }

    /// Starts a map; keys and values follow in turn.
    pub(super) fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(pairs * 2),
            Protocol::Resp3 => self.head(b'%', pairs as i64),
        }
    }

    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        self.tail.reserve(bytes.len() + 16);
        self.head(b'$', bytes.len() as i64);
        self.tail.put_slice(bytes);
        self.tail.put_slice(b"\r\n");
    }

    /// Writes a stored value, shared when it is large.
    pub(super) fn value(&mut self, value: Bytes) {
        if value.len() < SHARED_FROM {
            return self.bulk(&value);
        }
        self.head(b'$', value.len() as i64);
        let head = self.tail.split().freeze();
        self.length += head.len() + value.len();
        self.full.extend([head, value]);
        self.tail.put_slice(b"\r\n");
    }

    /// Writes text for a person: verbatim in RESP3, as Redis does for `INFO`.
    pub(super) fn text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.head(b'=', text.len() as i64 + 4);
                self.tail.put_slice(b"txt:");
                self.tail.put_slice(text.as_bytes());
                self.tail.put_slice(b"\r\n");
            }
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.tail.put_u8(kind);
        self.tail.put_slice(text);
        self.tail.put_slice(b"\r\n");
    }

    fn head(&mut self, kind: u8, number: i64) {
        let mut digits = [0u8; 20];
        let mut place = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            place -= 1;
            digits[place] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.tail.put_u8(kind);
        if number < 0 {
            self.tail.put_u8(b'-');
        }
        self.tail.put_slice(&digits[place..]);
        self.tail.put_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mut replies: Replies) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let part = replies.take();
            if part.is_empty() {
                assert_eq!(replies.len(), 0);
                return out;
            }
            out.extend_from_slice(&part);
        }
    }

    #[test]
    fn each_protocol_has_its_own_null_and_map() {
        let mut replies = Replies::default();
        replies.null();
        replies.map(1);
        replies.set_protocol(Protocol::Resp3);
        replies.null();
        replies.map(1);
        assert_eq!(written(replies), b"$-1\r\n*2\r\n_\r\n%1\r\n");
    }

    #[test]
    fn numbers_and_errors_are_one_line() {
        let mut replies = Replies::default();
        for number in [0, -7, i64::MAX, i64::MIN] {
            replies.integer(number);
        }
        replies.error("ERR a\r\nb");
        let expected = b":0\r\n:-7\r\n:9223372036854775807\r\n:-9223372036854775808\r\n-ERR a  b\r\n";
        assert_eq!(written(replies), expected);
    }

    #[test]
    fn a_large_value_is_shared_and_keeps_its_place() {
        let large = Bytes::from(vec![b'x'; SHARED_FROM]);
        let mut replies = Replies::default();
        replies.bulk(b"a");
        replies.value(large.clone());
        replies.bulk(b"b");
        let shared = replies.full.iter().any(|part| part.as_ptr() == large.as_ptr());
        assert!(shared);
        let expected = [b"$1\r\na\r\n$16384\r\n".as_slice(), &large, b"\r\n$1\r\nb\r\n"].concat();
        assert_eq!(written(replies), expected);
    }
}
