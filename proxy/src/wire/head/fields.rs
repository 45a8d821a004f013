//! Field lines where they were received: their places, and which of them need care.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::refusal::Refusal;
use super::syntax;
use crate::protected::is_protected;

/// Fields that are looked at on the way; all others pass unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::wire) enum Known {
    /// Passes as it is.
    Other,
    /// Named in `Connection`, or superseded: ends here.
    Dropped,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    ProxyAuthorization,
    Te,
    Upgrade,
    Http2Settings,
    Expect,
    Traceparent,
    RequestId,
    Forwarded,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    RealIp,
    Via,
}

impl Known {
    /// Recognises a name in any case.
    #[inline]
    pub(in crate::wire) fn of(name: &[u8]) -> Self {
        // By length first: hardly any other name shares both length and first letter.
        let candidates: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::Te)],
            3 => &[(b"via", Self::Via)],
            4 => &[(b"host", Self::Host)],
            6 => &[(b"expect", Self::Expect)],
            7 => &[(b"upgrade", Self::Upgrade)],
            9 => &[(b"forwarded", Self::Forwarded), (b"x-real-ip", Self::RealIp)],
            10 => &[(b"connection", Self::Connection), (b"keep-alive", Self::KeepAlive)],
            11 => &[(b"traceparent", Self::Traceparent)],
            12 => &[(b"x-request-id", Self::RequestId)],
            14 => &[(b"content-length", Self::ContentLength), (b"http2-settings", Self::Http2Settings)],
            15 => &[(b"x-forwarded-for", Self::ForwardedFor)],
            16 => &[(b"x-forwarded-host", Self::ForwardedHost), (b"proxy-connection", Self::ProxyConnection)],
            17 => &[
                (b"transfer-encoding", Self::TransferEncoding),
                (b"x-forwarded-proto", Self::ForwardedProto),
            ],
            19 => &[(b"proxy-authorization", Self::ProxyAuthorization)],
            _ => return Self::Other,
        };
        let found = candidates.iter().find(|(candidate, _)| name.eq_ignore_ascii_case(candidate));
        found.map_or(Self::Other, |(_, known)| *known)
    }
}

/// One field line's place in its head.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire) struct Span {
    pub(in crate::wire) start: u32,
    pub(in crate::wire) value_start: u32,
    pub(in crate::wire) value_end: u32,
    /// Where the line ends, with its CRLF.
    pub(in crate::wire) end: u32,
    pub(in crate::wire) name_length: u16,
    pub(in crate::wire) known: Known,
}

impl Span {
    pub(in crate::wire) fn name(self, head: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &head[start..start + usize::from(self.name_length)]
    }

    pub(in crate::wire) fn value(self, head: &[u8]) -> &[u8] {
        &head[self.value_start as usize..self.value_end as usize]
    }
}

thread_local! {
    static STOCK: RefCell<Vec<Vec<Span>>> = const { RefCell::new(Vec::new()) };
}

/// How many lists of lines a thread keeps at most.
const STOCK_LIMIT: usize = 1024;

/// The lines of one head, in a list that the thread lends.
#[derive(Debug)]
pub(in crate::wire) struct Spans(Vec<Span>);

impl Spans {
    pub(in crate::wire) fn new() -> Self {
        Self(STOCK.with_borrow_mut(Vec::pop).unwrap_or_default())
    }

    /// Gives the first value of a field; the name in lower case.
    pub(in crate::wire) fn find<'h>(&self, head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
        let named = |span: &&Span| span.name(head).eq_ignore_ascii_case(name);
        self.0.iter().find(named).map(|span| span.value(head))
    }

    /// Drops a field that `Connection` names, unless it is protected; `name` is a member that is no option of its own.
    pub(in crate::wire) fn drop_named(&mut self, head: &[u8], name: &[u8]) {
        if is_protected(name) {
            return;
        }
        for span in &mut self.0 {
            if span.name(head).eq_ignore_ascii_case(name) {
                span.known = Known::Dropped;
            }
        }
    }
}

impl Deref for Spans {
    type Target = Vec<Span>;

    fn deref(&self) -> &Vec<Span> {
        &self.0
    }
}

impl DerefMut for Spans {
    fn deref_mut(&mut self) -> &mut Vec<Span> {
        &mut self.0
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.0);
        list.clear();
        // A thread that is ending has no stock any more.
        let _ = STOCK.try_with(|stock| {
            let mut stock = stock.borrow_mut();
            if stock.len() < STOCK_LIMIT {
                stock.push(list);
            }
        });
    }
}

/// Reads field lines up to the empty one; gives where that ends, or `None` if more bytes are needed.
///
/// `head` is looked at from `from` on. Strict: lines end in CRLF, a name is a token directly before its colon,
/// nothing is folded, a value holds no control but the tab.
pub(in crate::wire) fn parse(
    head: &[u8],
    from: usize,
    limit: usize,
    spans: &mut Vec<Span>,
) -> Result<Option<usize>, Refusal> {
    spans.clear();
    let mut at = from;
    loop {
        match head.get(at..).unwrap_or_default() {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => return Ok(Some(at + 2)),
            _ => {}
        }
        let Some(span) = parse_line(head, at)? else { return Ok(None) };
        if spans.len() == limit {
            return Err(Refusal::FieldCount);
        }
        at = span.end as usize;
        spans.push(span);
    }
}

/// Reads one field line; `None` if more bytes are needed.
#[inline]
pub(in crate::wire) fn parse_line(head: &[u8], start: usize) -> Result<Option<Span>, Refusal> {
    let colon = syntax::token_end(head, start);
    let Ok(name_length) = u16::try_from(colon - start) else { return Err(Refusal::Field) };
    match head.get(colon) {
        None => return Ok(None),
        Some(b':') if name_length > 0 => {}
        Some(_) => return Err(Refusal::Field),
    }
    let mut value_start = colon + 1;
    while head.get(value_start).is_some_and(|byte| syntax::is_space(*byte)) {
        value_start += 1;
    }
    let stop = syntax::value_end(head, value_start);
    match head.get(stop..).unwrap_or_default() {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => {}
        _ => return Err(Refusal::Field),
    }
    let mut value_end = stop;
    while value_end > value_start && syntax::is_space(head[value_end - 1]) {
        value_end -= 1;
    }
    let place = |at: usize| u32::try_from(at).map_err(|_| Refusal::HeadSize);
    Ok(Some(Span {
        start: place(start)?,
        value_start: place(value_start)?,
        value_end: place(value_end)?,
        end: place(stop + 2)?,
        name_length,
        known: Known::of(&head[start..colon]),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(head: &[u8]) -> Result<Option<Vec<(String, String)>>, Refusal> {
        let mut spans = Spans::new();
        let end = parse(head, 0, 100, &mut spans)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(end.map(|_| spans.iter().map(|s| (text(s.name(head)), text(s.value(head)))).collect()))
    }

    #[test]
    fn lines_are_found_with_their_values_trimmed() {
        let lines = parse_all(b"A: b\r\nC:\r\nD:  \te f\t \r\n\r\nrest").unwrap().unwrap();
        let expected = [("A", "b"), ("C", ""), ("D", "e f")];
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_head_that_is_not_whole_waits_at_every_byte() {
        let whole = b"Host: a\r\nX: \xe4\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse_all(&whole[..end]), Ok(None), "{end}");
        }
        assert!(parse_all(whole).unwrap().is_some());
    }

    #[test]
    fn what_two_parsers_could_read_in_two_ways_is_refused() {
        let lines: [&[u8]; 12] = [
            b"A : b\r\n",
            b" A: b\r\n",
            b"A: b\r\n c\r\n",
            b"A: b\n",
            b"A: b\rC: d\r\n",
            b"A: b\0\r\n",
            b"A: b\x7f\r\n",
            b"A: b\x0bc\r\n",
            b": b\r\n",
            b"A\r\n",
            b"A(: b\r\n",
            b"\xe4: b\r\n",
        ];
        for line in lines {
            let head = [line, b"\r\n"].concat();
            assert_eq!(parse_all(&head), Err(Refusal::Field), "{}", line.escape_ascii());
        }
    }
}
