//! The chunked transfer coding (RFC 9112 §7.1), read strictly and a piece at a time.

use std::io::Write;

use crate::wire::buffer::Buffer;
use crate::wire::head::{fields, syntax};

/// The digits a chunk's size may have: as many as fill 64 bits.
const MAX_DIGITS: u8 = 16;

/// The bytes of chunk extensions, and of trailers, that one body may have; hyper allows 16 KiB too. Nothing
/// useful is ever there, and without a bound it is work without end for nothing.
const MAX_OVERHEAD: usize = 16 << 10;

/// The most a chunk's own head and end take in a buffer: 16 digits and two line ends.
pub(in crate::wire) const FRAME: usize = 20;

/// Says that a body is not properly chunked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not properly chunked")]
pub(in crate::wire) struct Malformed;

/// Where a decoder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size, or among them.
    Size,
    /// After whitespace that must be followed by an extension.
    BeforeExtension,
    /// After the semicolon.
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    AfterValue,
    /// Between the CR and the LF after a size.
    SizeEnd,
    Data,
    /// After a chunk's data, before its CR.
    DataEnd,
    DataEndLf,
    Trailers,
    Done,
}

/// What a decoder came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum Step {
    /// So many bytes of the body follow.
    Data(usize),
    /// A trailer field, whose line has so many bytes, follows.
    Trailer(usize),
    /// The body is at its end.
    End,
    /// More bytes are needed.
    More,
}

/// Reads a chunked body in whatever pieces it comes.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire) struct Decoder {
    state: State,
    size: u64,
    digits: u8,
    has_trailers: bool,
    overhead: usize,
}

impl Decoder {
    pub(in crate::wire) fn new() -> Self {
        Self { state: State::Size, size: 0, digits: 0, has_trailers: false, overhead: 0 }
    }

    /// Notes a trailer that was passed on; tells whether it is the first.
    pub(in crate::wire) fn note_trailer(&mut self) -> bool {
        !std::mem::replace(&mut self.has_trailers, true)
    }

    /// Tells whether a trailer was passed on.
    pub(in crate::wire) fn has_trailers(&self) -> bool {
        self.has_trailers
    }

    /// Takes the next step; gives how many bytes of framing come first, and what follows them.
    ///
    /// What follows counts as read, so of data no more than `most` bytes are announced.
    pub(in crate::wire) fn step(&mut self, input: &[u8], most: usize) -> Result<(usize, Step), Malformed> {
        let mut at = 0;
        loop {
            match self.state {
                State::Data => {
                    let there = input.len() - at;
                    let count = usize::try_from(self.size).unwrap_or(usize::MAX).min(there).min(most);
                    if count == 0 {
                        return Ok((at, Step::More));
                    }
                    self.size -= count as u64;
                    if self.size == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok((at, Step::Data(count)));
                }
                State::Trailers => return self.trailer(input, at),
                State::Done => return Ok((at, Step::End)),
                _ => {}
            }
            let Some(byte) = input.get(at) else { return Ok((at, Step::More)) };
            self.frame(*byte)?;
            at += 1;
        }
    }

    /// Reads one byte of framing.
    fn frame(&mut self, byte: u8) -> Result<(), Malformed> {
        if !matches!(self.state, State::Size | State::SizeEnd | State::DataEnd | State::DataEndLf) {
            self.overhead += 1;
            if self.overhead > MAX_OVERHEAD {
                return Err(Malformed);
            }
        }
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.digits == MAX_DIGITS {
                    return Err(Malformed);
                }
                self.digits += 1;
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                self.size = self.size << 4 | u64::from(digit);
                State::Size
            }
            (State::Size, _) if self.digits == 0 => return Err(Malformed),
            (State::Size | State::Name | State::AfterName | State::Value | State::AfterValue, b'\r') => {
                State::SizeEnd
            }
            (
                State::Size
                | State::BeforeExtension
                | State::Name
                | State::AfterName
                | State::Value
                | State::AfterValue,
                b';',
            ) => State::BeforeName,
            (State::Size | State::BeforeExtension, b' ' | b'\t') => State::BeforeExtension,
            (State::BeforeName, b' ' | b'\t') => State::BeforeName,
            (State::BeforeName | State::Name, _) if syntax::is_token_byte(byte) => State::Name,
            (State::Name | State::AfterName, b' ' | b'\t') => State::AfterName,
            (State::Name | State::AfterName, b'=') => State::BeforeValue,
            (State::BeforeValue, b' ' | b'\t') => State::BeforeValue,
            (State::BeforeValue, b'"') => State::Quoted,
            (State::BeforeValue | State::Value, _) if syntax::is_token_byte(byte) => State::Value,
            (State::Quoted, b'"') => State::AfterValue,
            (State::Quoted, b'\\') => State::QuotedPair,
            (State::Quoted | State::QuotedPair, b'\t' | b' '..=b'~' | 0x80..) => State::Quoted,
            (State::Value | State::AfterValue, b' ' | b'\t') => State::AfterValue,
            (State::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.size == 0 { State::Trailers } else { State::Data }
            }
            (State::DataEnd, b'\r') => State::DataEndLf,
            (State::DataEndLf, b'\n') => State::Size,
            _ => return Err(Malformed),
        };
        Ok(())
    }

    fn trailer(&mut self, input: &[u8], at: usize) -> Result<(usize, Step), Malformed> {
        match &input[at..] {
            [b'\r', b'\n', ..] => {
                self.state = State::Done;
                return Ok((at + 2, Step::End));
            }
            [] | [b'\r'] => return Ok((at, Step::More)),
            _ => {}
        }
        let Some(line) = fields::parse_line(input, at).map_err(|_| Malformed)? else {
            // Nothing is kept of an unfinished line, so this bounds it too.
            let too_long = input.len() - at > MAX_OVERHEAD;
            return if too_long { Err(Malformed) } else { Ok((at, Step::More)) };
        };
        let length = line.end as usize - at;
        self.overhead += length;
        if self.overhead > MAX_OVERHEAD { Err(Malformed) } else { Ok((at, Step::Trailer(length))) }
    }
}

/// Writes bytes as one chunk.
pub(in crate::wire) fn put_chunk(output: &mut Buffer, data: &[u8]) {
    let mut head = [0; FRAME];
    let mut rest = &mut head[..];
    // It fits: sixteen digits and a line end.
    let _ = write!(rest, "{:x}\r\n", data.len());
    let left = rest.len();
    output.put_all(&[&head[..FRAME - left], data, b"\r\n"]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Data, trailer lines and what was left over.
    type Decoded = (Vec<u8>, Vec<u8>, Vec<u8>);

    /// Decodes what comes in pieces.
    fn decode(pieces: &[&[u8]]) -> Result<Option<Decoded>, Malformed> {
        let (mut data, mut trailers, mut input) = (Vec::new(), Vec::new(), Vec::new());
        let mut decoder = Decoder::new();
        let mut is_done = false;
        for piece in pieces {
            input.extend_from_slice(piece);
            while !is_done {
                let (skip, step) = decoder.step(&input, usize::MAX)?;
                input.drain(..skip);
                match step {
                    Step::Data(count) => data.extend(input.drain(..count)),
                    Step::Trailer(count) => trailers.extend(input.drain(..count)),
                    Step::End => is_done = true,
                    Step::More => break,
                }
            }
        }
        Ok(is_done.then_some((data, trailers, input)))
    }

    #[test]
    fn a_body_is_its_chunks_joined() {
        let body = b"3\r\nabc\r\n0A;x;y=1 ; z=\"a\\\"b\"\r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\nnext";
        let (data, trailers, rest) = decode(&[body]).unwrap().unwrap();
        assert_eq!(data, b"abc0123456789");
        assert_eq!(trailers, b"T: 1\r\nU: 2\r\n");
        assert_eq!(rest, b"next");
    }

    #[test]
    fn what_is_not_properly_chunked_is_refused() {
        let bodies: [&[u8]; 26] = [
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\nx",
            b" 1\r\nx\r\n",
            b"1 \r\nx\r\n",
            b"1\nx\r\n",
            b"1\r\rx",
            b"1\r\nx\n",
            b"1\r\nxy\r\n",
            b"1\r\nx0\r\n\r\n",
            b"10000000000000000\r\n",
            b"00000000000000001\r\n",
            b"1;\r\nx\r\n",
            b"1;a=\r\nx\r\n",
            b"1;a\0\r\nx\r\n",
            b"1;a\nb\r\nx\r\n",
            b"1;a=\"\r\n\"\r\nx\r\n",
            b"1;a b\r\nx\r\n",
            b"1,\r\nx\r\n",
            b"1 2\r\nx\r\n",
            b"0\r\n T: 1\r\n\r\n",
            b"0\r\nT : 1\r\n\r\n",
            b"0\r\nT: 1\n\r\n",
            b"0\r\n\rx",
        ];
        for body in bodies {
            assert_eq!(decode(&[body]), Err(Malformed), "{}", body.escape_ascii());
        }
        let endless = [b"1;a=".to_vec(), vec![b'x'; MAX_OVERHEAD]].concat();
        assert_eq!(decode(&[&endless]), Err(Malformed));
        let trailers = [b"0\r\n".to_vec(), b"T: 1\r\n".repeat(MAX_OVERHEAD / 6 + 1)].concat();
        assert_eq!(decode(&[&trailers]), Err(Malformed));
    }

    #[test]
    fn a_chunk_is_written_with_its_size() {
        let mut output = Buffer::default();
        put_chunk(&mut output, &[b'x'; 26]);
        assert_eq!(output.filled(), [b"1a\r\n".as_slice(), &[b'x'; 26], b"\r\n"].concat());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut body = Buffer::default();
            for chunk in &chunks {
                put_chunk(&mut body, chunk);
            }
            body.put(b"0\r\nA: 1\r\n\r\nnext");
            let body = body.filled();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&body[from..cut]);
                from = cut;
            }
            pieces.push(&body[from..]);
            let (data, trailers, rest) = decode(&pieces).unwrap().unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(trailers, b"A: 1\r\n");
            prop_assert_eq!(rest, b"next");
        }

        #[test]
        fn arbitrary_bytes_in_pieces_are_judged_as_the_whole_is(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'2'), Just(b';'), any::<u8>()], 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = if bytes.is_empty() { 0 } else { cut.index(bytes.len()) };
            prop_assert_eq!(decode(&[&bytes]), decode(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
