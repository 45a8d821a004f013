//! A request's head: read strictly, kept where it was received.

use std::ops::Range;

use super::fields::{self, Known, Spans};
use super::framing::{self, Framing};
use super::refusal::Refusal;
use super::syntax;
use super::target::{self, Target};
use crate::host::is_host;
use crate::imitation::imitates;
use crate::via;
use crate::wire::Limits;
use crate::wire::body::relay::Source;
use crate::wire::buffer::Buffer;

/// The longest method; the longest registered one has 17 letters.
const MAX_METHOD: usize = 32;

/// How many fields `Connection` may name; each is looked for among all fields.
const MAX_NAMED: usize = 64;

/// Methods whose repetition has no further effect (RFC 9110 §9.2.2).
const IDEMPOTENT: [&[u8]; 6] = [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"];

/// A request's head, checked and as it was received, with what came after it.
#[derive(Debug)]
pub struct Request {
    /// The head, then as much of the body as is in hand, then what follows.
    buffer: Buffer,
    pub(in crate::wire) spans: Spans,
    line: Line,
    target: Target,
    host: Option<Range<usize>>,
    has_host_field: bool,
    head_end: usize,
    /// Where what is in hand of the body ends.
    in_hand_end: usize,
    pub(in crate::wire) framing: Framing,
    body: BodyKind,
    pub(in crate::wire) options: Options,
    is_http2: bool,
}

/// How a request's body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// There is none.
    None,
    /// All of it came with the head.
    InHand,
    /// It is still to come, at least in part.
    Streamed,
}

/// What a request asks of this connection and the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::wire) struct Options {
    /// The client wants to send another request after this one.
    pub(in crate::wire) keeps_alive: bool,
    /// It asks for a change of protocol.
    pub(in crate::wire) upgrade: bool,
    /// It takes trailers.
    pub(in crate::wire) trailers: bool,
    /// It waits for 100 before it sends the body.
    pub(in crate::wire) expects: bool,
}

/// A request line's parts, as places in the head.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    method: Range<usize>,
    target: Range<usize>,
    is_http_10: bool,
    end: usize,
}

impl Request {
    /// Gives the method.
    pub fn method(&self) -> &[u8] {
        &self.head()[self.line.method.clone()]
    }

    /// Gives the target in origin form (or `*`): path and query.
    pub fn target(&self) -> &[u8] {
        match &self.target {
            Target::Within(range) => &self.head()[range.clone()],
            Target::Rewritten(target) => target,
        }
    }

    /// Gives the target without its query.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        target.split(|byte| *byte == b'?').next().unwrap_or(target)
    }

    /// Gives the host it is for, with the port if the client named one; empty if the client named none.
    pub fn host(&self) -> &[u8] {
        self.host.clone().map_or(&[], |host| &self.head()[host])
    }

    /// Gives the first value of a field; the name in lower case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.spans.find(self.head(), name)
    }

    /// Gives the values of a field, line by line; the name in lower case.
    pub fn values<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
        let lines = self.spans.iter();
        let named = lines.filter(move |span| span.name(self.head()).eq_ignore_ascii_case(name.as_bytes()));
        named.map(|span| span.value(self.head()))
    }

    /// Gives the values of `X-Forwarded-For`, the last first.
    pub(in crate::wire) fn forwarded_for(&self) -> impl Iterator<Item = &[u8]> {
        let spans = self.spans.iter().rev().filter(|span| span.known == Known::ForwardedFor);
        spans.map(|span| span.value(self.head()))
    }

    /// Tells whether the client speaks HTTP/1.0.
    pub fn is_http_10(&self) -> bool {
        self.line.is_http_10
    }

    /// Gives the protocol the client speaks.
    pub fn protocol(&self) -> &'static str {
        match (self.is_http2, self.is_http_10()) {
            (true, _) => "HTTP/2",
            (false, true) => "HTTP/1.0",
            (false, false) => "HTTP/1.1",
        }
    }

    /// Notes that the client speaks HTTP/2, and that the head is what its message became.
    pub(in crate::wire) fn note_http2(&mut self) {
        self.is_http2 = true;
    }

    pub(in crate::wire) fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Tells whether the body comes in chunks.
    pub(in crate::wire) fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Tells whether the method may be repeated without a further effect (RFC 9110 §9.2.2).
    pub fn is_idempotent(&self) -> bool {
        IDEMPOTENT.contains(&self.method())
    }

    /// Tells how the body comes.
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// Gives the trace the client says the request belongs to.
    pub(in crate::wire) fn traceparent(&self) -> Option<&[u8]> {
        let mut found = self.spans.iter().filter(|span| span.known == Known::Traceparent);
        found.next().map(|span| span.value(self.head()))
    }

    pub(in crate::wire) fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    /// Tells whether there is a `Host` field, which passes as it is.
    pub(in crate::wire) fn has_host_field(&self) -> bool {
        self.has_host_field
    }

    /// Gives the head with its empty line.
    pub(in crate::wire) fn head(&self) -> &[u8] {
        &self.buffer.filled()[..self.head_end]
    }

    /// Gives the first line as it was received, if it can go to a backend as it is.
    pub(in crate::wire) fn plain_line(&self) -> Option<&[u8]> {
        let is_plain = self.target == Target::Within(self.line.target.clone()) && !self.line.is_http_10;
        is_plain.then(|| &self.head()[..self.line.end])
    }

    /// Gives what is in hand of the body, as it was received.
    pub(in crate::wire) fn in_hand(&self) -> &[u8] {
        &self.buffer.filled()[self.head_end..self.in_hand_end]
    }

    /// Gives the body before any of it was read.
    pub(in crate::wire) fn source(&self) -> Source {
        Source::of(self.framing)
    }

    /// Takes what came after this request.
    pub(in crate::wire) fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.buffer.filled()[self.in_hand_end..].to_vec();
        self.buffer.truncate(self.in_hand_end);
        rest
    }

    /// Gives what came after this request.
    pub(in crate::wire) fn into_rest(mut self) -> Buffer {
        self.buffer.consume(self.in_hand_end);
        self.buffer
    }
}

/// Reads a request's head, and decides what is to be done with it; `None` if more bytes are needed.
///
/// Takes the buffer when the head is whole. Refuses as soon as a fault is there, not only at the end.
pub(in crate::wire) fn parse(buffer: &mut Buffer, limits: &Limits) -> Result<Option<Request>, Refusal> {
    match buffer.filled() {
        // One empty line before a request is forgiven (RFC 9112 §2.2): old clients end a form with one.
        [b'\r', b'\n', rest @ ..] if !rest.is_empty() => buffer.consume(2),
        [b'\r'] | [b'\r', b'\n'] => return Ok(None),
        _ => {}
    }
    let bytes = buffer.filled();
    // Nothing but its target makes a request line so long (RFC 9112 §3).
    let Some(line) = parse_line(bytes, limits)? else {
        return incomplete(bytes, limits).map_err(|_| Refusal::TargetSize);
    };
    if line.end > limits.head_size {
        return Err(Refusal::TargetSize);
    }
    let mut spans = Spans::new();
    let Some(head_end) = fields::parse(bytes, line.end, limits.fields, &mut spans)? else {
        return incomplete(bytes, limits);
    };
    if head_end > limits.head_size {
        return Err(Refusal::HeadSize);
    }
    let head = &bytes[..head_end];
    if head[line.method.clone()] == *b"CONNECT" {
        return Err(Refusal::Connect);
    }
    let (target, host) = judge_target(head, &line, &spans)?;
    let has_host_field = spans.iter().any(|span| span.known == Known::Host);
    let framing = framing::of_fields(head, &spans, line.is_http_10)?.unwrap_or(Framing::None);
    let options = read_options(head, &mut spans, line.is_http_10)?;
    let (body, in_hand) = judge_body(framing, &bytes[head_end..])?;
    let buffer = std::mem::take(buffer);
    let in_hand_end = head_end + in_hand;
    Ok(Some(Request {
        buffer,
        spans,
        line,
        target,
        host,
        has_host_field,
        head_end,
        in_hand_end,
        framing,
        body,
        options,
        is_http2: false,
    }))
}

fn incomplete(bytes: &[u8], limits: &Limits) -> Result<Option<Request>, Refusal> {
    if bytes.len() >= limits.head_size { Err(Refusal::HeadSize) } else { Ok(None) }
}

/// Reads the request line; `None` if more bytes are needed.
fn parse_line(bytes: &[u8], limits: &Limits) -> Result<Option<Line>, Refusal> {
    let method_end = syntax::token_end(bytes, 0);
    if method_end > MAX_METHOD {
        return Err(Refusal::RequestLine);
    }
    match bytes.get(method_end) {
        None => return Ok(None),
        Some(b' ') if method_end > 0 => {}
        Some(_) => return Err(Refusal::RequestLine),
    }
    let target_start = method_end + 1;
    let target_end = syntax::target_end(bytes, target_start);
    if target_end - target_start > limits.target_size {
        return Err(Refusal::TargetSize);
    }
    match bytes.get(target_end) {
        None => return Ok(None),
        Some(b' ') if target_end > target_start => {}
        // A target and no version: HTTP/0.9.
        Some(b'\r' | b'\n') => return Err(Refusal::RequestLine),
        Some(_) => return Err(Refusal::Target),
    }
    let version = &bytes[target_end + 1..];
    let is_http_10 = match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b'\r', b'\n', ..] => false,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b'\r', b'\n', ..] => true,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n', ..] => {
            return Err(Refusal::Version);
        }
        _ if is_begun_version(version) => return Ok(None),
        _ => return Err(Refusal::RequestLine),
    };
    let end = target_end + 1 + b"HTTP/1.1\r\n".len();
    Ok(Some(Line { method: 0..method_end, target: target_start..target_end, is_http_10, end }))
}

fn is_begun_version(version: &[u8]) -> bool {
    const FORM: &[u8; 10] = b"HTTP/9.9\r\n";
    let fits = |(byte, form): (&u8, &u8)| if *form == b'9' { byte.is_ascii_digit() } else { byte == form };
    version.len() < FORM.len() && version.iter().zip(FORM).all(fits)
}

/// Decides what the request is for; every host it names must be one, and the same.
fn judge_target(head: &[u8], line: &Line, spans: &Spans) -> Result<(Target, Option<Range<usize>>), Refusal> {
    let mut host = None;
    for span in spans.iter().filter(|span| span.known == Known::Host) {
        if host.is_some() {
            return Err(Refusal::Host);
        }
        host = Some(span.value_start as usize..span.value_end as usize);
    }
    match &host {
        Some(range) if !is_host(&head[range.clone()]) => return Err(Refusal::Host),
        None if !line.is_http_10 => return Err(Refusal::Host),
        _ => {}
    }
    let received = &head[line.target.clone()];
    let (resolved, authority) = target::resolve(received, &head[line.method.clone()])?;
    let from = line.target.start;
    let resolved = match resolved {
        Target::Within(range) => Target::Within(range.start + from..range.end + from),
        rewritten @ Target::Rewritten(_) => rewritten,
    };
    let authority = authority.map(|range| range.start + from..range.end + from);
    if let (Some(authority), Some(host)) = (&authority, &host)
        && !head[authority.clone()].eq_ignore_ascii_case(&head[host.clone()])
    {
        return Err(Refusal::HostMismatch);
    }
    Ok((resolved, host.or(authority)))
}

/// Reads what belongs to this connection, and drops the fields that end with it.
fn read_options(head: &[u8], spans: &mut Spans, is_http_10: bool) -> Result<Options, Refusal> {
    let mut options = Options { keeps_alive: !is_http_10, ..Options::default() };
    let (mut asks_upgrade, mut asks_close) = (false, false);
    let (mut named, mut passed) = (0, 0);
    for at in 0..spans.len() {
        let value = spans[at].value(head);
        match spans[at].known {
            Known::Connection => {}
            Known::Te => {
                options.trailers |= syntax::list(value).any(|one| one.eq_ignore_ascii_case(b"trailers"));
                continue;
            }
            Known::Expect if is_http_10 => {
                // RFC 9110 §10.1.1.
                spans[at].known = Known::Dropped;
                continue;
            }
            Known::Expect => {
                options.expects |= value.eq_ignore_ascii_case(b"100-continue");
                continue;
            }
            Known::Other if imitates(spans[at].name(head)) => {
                spans[at].known = Known::Dropped;
                continue;
            }
            // A change to HTTP/2 past the balancer would hide all later requests from it.
            Known::Upgrade if !syntax::list(value).any(|one| one.eq_ignore_ascii_case(b"h2c")) => {
                options.upgrade = true;
                continue;
            }
            Known::Via => {
                passed += via::count(value);
                if passed >= via::MOST {
                    return Err(Refusal::Loop);
                }
                continue;
            }
            _ => continue,
        }
        for option in syntax::list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                asks_close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keeps_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                asks_upgrade = true;
            } else if !option.eq_ignore_ascii_case(b"te") {
                named += 1;
                if named > MAX_NAMED {
                    return Err(Refusal::Field);
                }
                spans.drop_named(head, option);
            }
        }
    }
    options.keeps_alive &= !asks_close;
    options.upgrade &= asks_upgrade && !is_http_10;
    Ok(options)
}

/// Decides how the body comes; gives with it how much of it is in hand.
fn judge_body(framing: Framing, rest: &[u8]) -> Result<(BodyKind, usize), Refusal> {
    match framing {
        Framing::None | Framing::Length(0) => Ok((BodyKind::None, 0)),
        Framing::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let kind = if length <= rest.len() { BodyKind::InHand } else { BodyKind::Streamed };
            Ok((kind, length.min(rest.len())))
        }
        Framing::Chunked => {
            let mut source = Source::of(framing);
            let in_hand = source.skim(rest).map_err(|_| Refusal::Chunks)?;
            Ok(if source.has_ended() {
                (BodyKind::InHand, in_hand)
            } else {
                (BodyKind::Streamed, rest.len())
            })
        }
    }
}
