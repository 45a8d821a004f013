//! Reading requests: arrays of bulk strings, or inline commands, in place and piece by piece.
//!
//! The parser never copies what a client sent. It notes where the arguments lie in the read buffer, and
//! where it stopped when the buffer ends before the request does, so that a large request arriving in
//! many pieces is looked at once.

use std::ops::Range;

use super::inline;
use crate::store::parse_integer;

/// The longest inline command, and the longest line that announces a length (Redis' `PROTO_INLINE_MAX_SIZE`).
const LINE_LIMIT: usize = 64 << 10;

/// The most arguments of one request (Redis' own limit).
const ARGUMENTS_LIMIT: i64 = 1024 * 1024;

/// The arguments a connection keeps room for between requests.
const KEPT_ARGUMENTS: usize = 1024;

/// What a caller may send before it has authenticated, as in Redis: enough for `AUTH` and `HELLO`.
const STRANGER_ARGUMENTS: i64 = 10;
const STRANGER_BULK: u64 = 16 << 10;

/// Bytes of a whole request per byte of the largest bulk string: several large values in one `MSET`.
const REQUEST_PER_BULK: u64 = 4;

/// How much one request may bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of one bulk string.
    pub(super) bulk: u64,
    /// Whether the caller has authenticated, or need not.
    pub(super) trusted: bool,
}

/// Why a connection cannot go on; the text is Redis' own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    ArrayLength,
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangerArrayLength,
    #[error("Protocol error: too big mbulk count string")]
    ArrayLine,
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    #[error("Protocol error: unauthenticated bulk length")]
    StrangerBulkLength,
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0).escape_default())]
    ExpectedBulk(u8),
    #[error("Protocol error: too big inline request")]
    Inline,
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    #[error("Protocol error: too big request")]
    Request,
}

/// The arguments of one request, the command's name first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a> {
    source: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Arguments<'a> {
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Gives an argument; an empty one where there is none.
    pub(super) fn get(&self, place: usize) -> &'a [u8] {
        self.ranges.get(place).and_then(|range| self.source.get(range.clone())).unwrap_or_default()
    }

    /// Gives the arguments from a place on.
    pub(super) fn from(self, place: usize) -> impl ExactSizeIterator<Item = &'a [u8]> {
        (place..self.len().max(place)).map(move |place| self.get(place))
    }
}

/// The state of reading one connection's requests.
#[derive(Debug, Default)]
pub(super) struct Parser {
    ranges: Vec<Range<usize>>,
    /// Where reading goes on, from the start of the request.
    position: usize,
    /// How many arguments are still to come; none before the array's length was read.
    missing: Option<usize>,
    /// The length of the bulk string being read.
    bulk: Option<usize>,
    /// The unquoted arguments of an inline command.
    unquoted: Vec<u8>,
    is_inline: bool,
}

impl Parser {
    /// Reads one request from the start of `input`; gives the bytes it took, or nothing while it is incomplete.
    ///
    /// Call it with the same bytes, and more, until the request is complete; then take its arguments with
    /// [`Parser::arguments`] and pass on what follows. A request without arguments is complete and to be ignored.
    pub(super) fn parse(&mut self, input: &[u8], bounds: Bounds) -> Result<Option<usize>, ProtocolError> {
        if self.position == 0 {
            self.start();
            match input.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.parse_inline(input),
            }
        }
        if self.missing.is_none() {
            let Some(length) = self.parse_length(input, ProtocolError::ArrayLine)? else { return Ok(None) };
            let length =
                length.filter(|length| *length <= ARGUMENTS_LIMIT).ok_or(ProtocolError::ArrayLength)?;
            if !bounds.trusted && length > STRANGER_ARGUMENTS {
                return Err(ProtocolError::StrangerArrayLength);
            }
            self.missing = Some(usize::try_from(length).unwrap_or(0));
        }
        while let Some(missing) = self.missing.filter(|missing| *missing > 0) {
            if !self.parse_bulk(input, bounds)? {
                return Ok(None);
            }
            self.missing = Some(missing - 1);
        }
        Ok(Some(std::mem::take(&mut self.position)))
    }

    /// Gives the arguments of the request just completed; `input` as it was then.
    pub(super) fn arguments<'a>(&'a self, input: &'a [u8]) -> Arguments<'a> {
        Arguments { source: if self.is_inline { &self.unquoted } else { input }, ranges: &self.ranges }
    }

    fn start(&mut self) {
        self.ranges.clear();
        self.ranges.shrink_to(KEPT_ARGUMENTS);
        self.missing = None;
        self.bulk = None;
        self.is_inline = false;
    }

    fn parse_bulk(&mut self, input: &[u8], bounds: Bounds) -> Result<bool, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => {
                match input.get(self.position) {
                    None => return Ok(false),
                    Some(b'$') => {}
                    Some(other) => return Err(ProtocolError::ExpectedBulk(*other)),
                }
                let Some(length) = self.parse_length(input, ProtocolError::BulkLine)? else {
                    return Ok(false);
                };
                let length = length.and_then(|length| u64::try_from(length).ok());
                let length =
                    length.filter(|length| *length <= bounds.bulk).ok_or(ProtocolError::BulkLength)?;
                if !bounds.trusted && length > STRANGER_BULK {
                    return Err(ProtocolError::StrangerBulkLength);
                }
                if self.position as u64 + length > bounds.bulk.saturating_mul(REQUEST_PER_BULK).max(1 << 20) {
                    return Err(ProtocolError::Request);
                }
                *self.bulk.insert(usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?)
            }
        };
        // Redis does not look at the two bytes that end a bulk string either.
        if input.len() < self.position + length + 2 {
            return Ok(false);
        }
        self.ranges.push(self.position..self.position + length);
        self.position += length + 2;
        self.bulk = None;
        Ok(true)
    }

    /// Reads a line such as `*3` or `$5`; the inner `None` is a length that is no number.
    #[allow(clippy::option_option, reason = "incomplete and unreadable are different things")]
    fn parse_length(
        &mut self,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let rest = &input[self.position..];
        let Some(end) = rest.iter().take(LINE_LIMIT).position(|byte| *byte == b'\r') else {
            return if rest.len() >= LINE_LIMIT { Err(too_long) } else { Ok(None) };
        };
        if rest.len() < end + 2 {
            return Ok(None);
        }
        let length = parse_integer(&rest[1..end]);
        self.position += end + 2;
        Ok(Some(length))
    }

    fn parse_inline(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = input.iter().take(LINE_LIMIT).position(|byte| *byte == b'\n') else {
            return if input.len() >= LINE_LIMIT { Err(ProtocolError::Inline) } else { Ok(None) };
        };
        self.is_inline = true;
        self.unquoted.clear();
        inline::split(&input[..end], &mut self.unquoted, &mut self.ranges).ok_or(ProtocolError::Quotes)?;
        Ok(Some(end + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { bulk: 1 << 20, trusted: true };

    fn encode(arguments: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            out.extend_from_slice(argument);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn refusal(input: &[u8], bounds: Bounds) -> String {
        Parser::default().parse(input, bounds).unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn pipelined_requests_read_the_same_however_they_are_cut(
            requests in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5), 1..6),
            piece in 1usize..30,
        ) {
            let stream: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
            let (mut parser, mut read, mut start) = (Parser::default(), Vec::new(), 0);
            for end in (0..=stream.len()).step_by(piece).chain([stream.len()]) {
                while let Some(taken) = parser.parse(&stream[start..end], BOUNDS).unwrap() {
                    let input = &stream[start..end];
                    read.push(parser.arguments(input).from(0).map(<[u8]>::to_vec).collect::<Vec<_>>());
                    start += taken;
                }
            }
            prop_assert_eq!(read, requests);
            prop_assert_eq!(start, stream.len());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(input in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"*$\r\n0123456789-\"' ".to_vec())], 0..200)) {
            let (mut parser, mut start) = (Parser::default(), 0);
            while let Ok(Some(taken)) = parser.parse(&input[start..], BOUNDS) {
                prop_assert!(taken > 0);
                start += taken;
            }
        }
    }

    #[test]
    fn what_is_malformed_is_refused_in_redis_words() {
        let stranger = Bounds { trusted: false, ..BOUNDS };
        let cases: [(&[u8], Bounds, &str); 9] = [
            (b"*x\r\n", BOUNDS, "Protocol error: invalid multibulk length"),
            (b"*1048577\r\n", BOUNDS, "Protocol error: invalid multibulk length"),
            (b"*11\r\n", stranger, "Protocol error: unauthenticated multibulk length"),
            (b"*1\r\n$-1\r\n", BOUNDS, "Protocol error: invalid bulk length"),
            (b"*1\r\n$1048577\r\n", BOUNDS, "Protocol error: invalid bulk length"),
            (b"*1\r\n$16385\r\n", stranger, "Protocol error: unauthenticated bulk length"),
            (b"*1\r\nPING\r\n", BOUNDS, "Protocol error: expected '$', got 'P'"),
            (&[b'x'; LINE_LIMIT], BOUNDS, "Protocol error: too big inline request"),
            (b"set a \"b\r\n", BOUNDS, "Protocol error: unbalanced quotes in request"),
        ];
        for (input, bounds, expected) in cases {
            assert_eq!(refusal(input, bounds), expected);
        }
        assert_eq!(
            refusal(&[b"*".as_slice(), &[b'1'; LINE_LIMIT]].concat(), BOUNDS),
            "Protocol error: too big mbulk count string"
        );
    }

    #[test]
    fn an_empty_request_is_complete_and_says_nothing() {
        for input in [b"*0\r\n".as_slice(), b"*-1\r\n", b"\r\n"] {
            let mut parser = Parser::default();
            assert_eq!(parser.parse(input, BOUNDS), Ok(Some(input.len())));
            assert_eq!(parser.arguments(input).len(), 0);
        }
    }
}
