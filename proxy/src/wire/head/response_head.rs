//! A response's head: read strictly, since a backend may be deceived too.

use super::fields::{self, Known, Spans};
use super::framing::{self, Framing};
use super::refusal::Refusal;
use super::request_head::Request;
use super::syntax;
use crate::wire::Limits;
use crate::wire::body::relay::Source;
use crate::wire::buffer::Buffer;

/// A response's head, as places in the buffer that received it.
#[derive(Debug)]
pub(in crate::wire) struct ResponseHead {
    pub(in crate::wire) spans: Spans,
    pub(in crate::wire) status: u16,
    pub(in crate::wire) is_http_10: bool,
    /// Where the status line ends.
    pub(in crate::wire) line_end: usize,
    /// Where the head ends, with its empty line.
    pub(in crate::wire) end: usize,
    /// The body as it is to be read.
    pub(in crate::wire) body: Source,
    /// The backend keeps the connection after this response.
    pub(in crate::wire) keeps_alive: bool,
    /// The backend has changed the protocol, as it was asked to.
    pub(in crate::wire) upgrade: bool,
}

/// Why a response cannot be passed on; whoever runs the backend reads it in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::wire) enum Malformed {
    #[error("it does not begin with a status line of HTTP/1")]
    StatusLine,
    #[error("one of its fields is malformed")]
    Field,
    #[error("its head is larger than is allowed")]
    HeadSize,
    #[error("it has more fields than are allowed")]
    FieldCount,
    /// RFC 9112 §6.3.
    #[error("the length of its body is ambiguous")]
    Framing,
    #[error("its body is in a transfer coding other than chunked")]
    TransferCoding,
    /// RFC 9112 §6.3: whoever goes by the fields would wait for the body.
    #[error("it tells the length of a body that its status does not have")]
    Bodiless,
    #[error("it changes to a protocol that was not asked for")]
    Upgrade,
    #[error("more interim responses came before it than are allowed")]
    Interim,
}

impl From<Refusal> for Malformed {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::HeadSize => Self::HeadSize,
            Refusal::FieldCount => Self::FieldCount,
            Refusal::Framing => Self::Framing,
            Refusal::TransferCoding => Self::TransferCoding,
            _ => Self::Field,
        }
    }
}

impl ResponseHead {
    /// Tells whether it is an interim response (RFC 9110 §15.2), after which another one comes.
    pub(in crate::wire) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Reads a response's head; `None` if more bytes are needed.
pub(in crate::wire) fn parse(
    buffer: &Buffer,
    request: &Request,
    limits: &Limits,
) -> Result<Option<ResponseHead>, Malformed> {
    let bytes = buffer.filled();
    let Some((status, is_http_10, line_end)) = parse_line(bytes)? else { return incomplete(bytes, limits) };
    let mut spans = Spans::new();
    let Some(end) = fields::parse(bytes, line_end, limits.fields, &mut spans)? else {
        return incomplete(bytes, limits);
    };
    if end > limits.head_size {
        return Err(Malformed::HeadSize);
    }
    let head = &bytes[..end];
    let stated = read_framing(head, &mut spans, is_http_10)?;
    let (keeps_alive, asks_upgrade) = read_options(head, &mut spans, is_http_10);
    let has_body = !(request.is_head() || status < 200 || matches!(status, 204 | 304));
    let body = match stated {
        _ if !has_body => Source::Ended,
        Some(framing) => Source::of(framing),
        None => Source::UntilClose,
    };
    let upgrade = status == 101;
    if upgrade && !(request.options.upgrade && asks_upgrade && is_asked_for(head, &spans, request)) {
        return Err(Malformed::Upgrade);
    }
    let tells_a_body = stated.is_some_and(|framing| framing != Framing::Length(0));
    if status < 200 && tells_a_body {
        return Err(Malformed::Bodiless);
    }
    // Backends do send a 204 with a length or in chunks. It has no body whatever they say (RFC 9112 §6.3), and
    // whether they send one is not waited for.
    let may_send_more = status == 204 && tells_a_body;
    let keeps_alive = keeps_alive && !may_send_more && !matches!(body, Source::UntilClose);
    Ok(Some(ResponseHead { spans, status, is_http_10, line_end, end, body, keeps_alive, upgrade }))
}

/// Reads what the fields say of the body's end; a length that was said before, in the same digits, is dropped
/// (RFC 9112 §6.3), since here, unlike in a request, nobody gains by it.
fn read_framing(head: &[u8], spans: &mut Spans, is_http_10: bool) -> Result<Option<Framing>, Refusal> {
    framing::of_fields(head, spans, is_http_10).or_else(|refusal| {
        let mut lengths = spans.iter().filter(|span| span.known == Known::ContentLength);
        let Some(first) = lengths.next().map(|span| span.value(head)) else { return Err(refusal) };
        let repeats = spans.iter_mut().filter(|span| span.known == Known::ContentLength).skip(1);
        repeats.filter(|span| span.value(head) == first).for_each(|span| span.known = Known::Dropped);
        framing::of_fields(head, spans, is_http_10)
    })
}

fn incomplete(bytes: &[u8], limits: &Limits) -> Result<Option<ResponseHead>, Malformed> {
    if bytes.len() >= limits.head_size { Err(Malformed::HeadSize) } else { Ok(None) }
}

/// Reads the status line: the status, whether it is HTTP/1.0, and where it ends.
fn parse_line(bytes: &[u8]) -> Result<Option<(u16, bool, usize)>, Malformed> {
    const START: &[u8; 7] = b"HTTP/1.";
    let begun = bytes.len().min(START.len());
    if bytes[..begun] != START[..begun] {
        return Err(Malformed::StatusLine);
    }
    let Some(line) = bytes.get(START.len()..) else { return Ok(None) };
    let [minor, space, hundreds, tens, ones, ..] = line else { return Ok(None) };
    let digits = [hundreds, tens, ones];
    if !matches!(minor, b'0' | b'1') || *space != b' ' || !digits.iter().all(|d| d.is_ascii_digit()) {
        return Err(Malformed::StatusLine);
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'));
    if status < 100 {
        return Err(Malformed::StatusLine);
    }
    let reason = START.len() + 5;
    if bytes.get(reason).is_some_and(|byte| *byte != b' ' && *byte != b'\r') {
        return Err(Malformed::StatusLine);
    }
    let end = syntax::value_end(bytes, reason);
    match &bytes[end..] {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some((status, *minor == b'0', end + 2))),
        _ => Err(Malformed::StatusLine),
    }
}

/// Reads whether the connection is kept and whether it changes protocol; drops the fields that end with it.
fn read_options(head: &[u8], spans: &mut Spans, is_http_10: bool) -> (bool, bool) {
    let (mut keeps, mut closes, mut upgrades) = (!is_http_10, false, false);
    for at in 0..spans.len() {
        if spans[at].known != Known::Connection {
            continue;
        }
        for option in syntax::list(spans[at].value(head)) {
            if option.eq_ignore_ascii_case(b"close") {
                closes = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                keeps = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                upgrades = true;
            } else {
                spans.drop_named(head, option);
            }
        }
    }
    (keeps && !closes, upgrades)
}

/// Tells whether the backend changed to a protocol the client asked for.
fn is_asked_for(head: &[u8], spans: &Spans, request: &Request) -> bool {
    let asked: Vec<&[u8]> = request
        .spans
        .iter()
        .filter(|span| span.known == Known::Upgrade)
        .flat_map(|span| syntax::list(span.value(request.head())))
        .collect();
    let mut given = spans
        .iter()
        .filter(|span| span.known == Known::Upgrade)
        .flat_map(|span| syntax::list(span.value(head)))
        .peekable();
    given.peek().is_some() && given.all(|one| asked.iter().any(|asked| asked.eq_ignore_ascii_case(one)))
}
