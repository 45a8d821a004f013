//! Where a body ends (RFC 9112 §6.3), decided only where there is one answer.

use super::fields::{Known, Span};
use super::refusal::Refusal;
use super::syntax;

/// The digits a length may have; nineteen fill 63 bits.
const MAX_DIGITS: usize = 19;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Reads what the fields of a message say, whether request or response; `None` says nothing.
///
/// Both lengths and codings together are refused, as are two of either: RFC 9112 §6.3 would let some of it
/// pass, and every request smuggled so far was in there.
pub(in crate::wire) fn of_fields(
    head: &[u8],
    spans: &[Span],
    is_http_10: bool,
) -> Result<Option<Framing>, Refusal> {
    let mut length = None;
    let mut codings = Codings::default();
    for span in spans {
        match span.known {
            Known::ContentLength if length.is_some() => return Err(Refusal::Framing),
            Known::ContentLength => length = Some(parse_length(span.value(head))?),
            Known::TransferEncoding => codings.add(span.value(head))?,
            _ => {}
        }
    }
    if codings.count == 0 {
        return Ok(length.map(Framing::Length));
    }
    if length.is_some() || is_http_10 {
        return Err(Refusal::Framing);
    }
    codings.judge().map(Some)
}

/// Reads a `Content-Length`: digits and nothing else.
fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    let is_number = !value.is_empty() && value.len() <= MAX_DIGITS && value.iter().all(u8::is_ascii_digit);
    if !is_number {
        return Err(Refusal::Framing);
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The transfer codings of a message, over all its lines.
#[derive(Debug, Default)]
struct Codings {
    count: usize,
    chunked: usize,
    is_chunked_last: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for coding in value.split(|byte| *byte == b',') {
            let coding = syntax::trim(coding);
            if !syntax::is_token(coding) {
                return Err(Refusal::Framing);
            }
            self.count += 1;
            self.is_chunked_last = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.is_chunked_last);
        }
        Ok(())
    }

    fn judge(&self) -> Result<Framing, Refusal> {
        match (self.count, self.chunked) {
            (1, 1) => Ok(Framing::Chunked),
            (_, 0) => Err(Refusal::TransferCoding),
            (_, 1) if self.is_chunked_last => Err(Refusal::TransferCoding),
            _ => Err(Refusal::Framing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::{self, Spans};
    use super::*;

    fn judge(lines: &str) -> Result<Option<Framing>, Refusal> {
        let head = format!("{lines}\r\n\r\n");
        let mut spans = Spans::new();
        fields::parse(head.as_bytes(), 0, 100, &mut spans)?;
        of_fields(head.as_bytes(), &spans, false)
    }

    #[test]
    fn one_answer_or_none() {
        assert_eq!(judge("A: b"), Ok(None));
        assert_eq!(judge("Content-Length: 5"), Ok(Some(Framing::Length(5))));
        assert_eq!(judge("Content-Length: 9223372036854775807"), Ok(Some(Framing::Length(i64::MAX as u64))));
        assert_eq!(judge("transfer-encoding:\tChunked "), Ok(Some(Framing::Chunked)));
        for length in ["", "+5", "-5", "5 5", "5,5", "5, 5", "0x5", "5a", "00000000000000000005", "5;"] {
            assert_eq!(judge(&format!("Content-Length: {length}")), Err(Refusal::Framing), "{length}");
        }
        for lines in [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\ncontent-length: 6",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: gzip\r\nContent-Length: 5",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
            "Transfer-Encoding:",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: chun ked",
        ] {
            assert_eq!(judge(lines), Err(Refusal::Framing), "{lines}");
        }
        for coding in ["gzip", "gzip, chunked", "identity", "xchunked", "chunked-x"] {
            let judged = judge(&format!("Transfer-Encoding: {coding}"));
            assert_eq!(judged, Err(Refusal::TransferCoding), "{coding}");
        }
    }
}
