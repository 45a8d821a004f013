//! Heads as they go on: what may pass as it stands, without what ends here, and with what is ours.
//!
//! Whatever passes was checked byte by byte when it was read, so lines that stand side by side are copied
//! in one go.

use process::TraceContext;

use super::account::Account;
use super::fields::{Known, Span};
use super::request_head::Request;
use super::response_head::ResponseHead;
use crate::Client;
use crate::wire::body::relay::Sink;
use crate::wire::buffer::Buffer;
use crate::wire::{AddedFields, Rules};

/// Writes a request's head for a backend; `host` is for a request that names none.
pub(in crate::wire) fn put_request(
    output: &mut Buffer,
    request: &Request,
    client: &Client,
    rules: &Rules,
    trace: &TraceContext,
    host: &str,
) {
    let options = request.options;
    match request.plain_line() {
        Some(line) => output.put(line),
        None => output.put_all(&[request.method(), b" ", request.target(), b" HTTP/1.1\r\n"]),
    }
    let mut account = Account::of(client, rules);
    put_lines(output, request.head(), &request.spans, |known| account.passes(known, options.upgrade));
    if !request.has_host_field() {
        let host = if request.host().is_empty() { host.as_bytes() } else { request.host() };
        output.put_all(&[b"Host: ", host, b"\r\n"]);
    }
    if request.is_chunked() {
        output.put(b"Transfer-Encoding: chunked\r\n");
    }
    match (options.upgrade, options.trailers) {
        (true, true) => output.put(b"Connection: upgrade, te\r\nTE: trailers\r\n"),
        (true, false) => output.put(b"Connection: upgrade\r\n"),
        (false, true) => output.put(b"Connection: te\r\nTE: trailers\r\n"),
        (false, false) => {}
    }
    account.tell(request, client, rules, trace, |name, value| {
        output.put_all(&[name.as_bytes(), b": "]);
        output.put_all(value);
        output.put(b"\r\n");
    });
    output.put(b"\r\n");
}

/// Copies the lines that pass.
fn put_lines(output: &mut Buffer, head: &[u8], spans: &[Span], mut passes: impl FnMut(Known) -> bool) {
    let Some(first) = spans.first() else { return };
    let mut from = first.start as usize;
    for span in spans {
        if span.known != Known::Other && !passes(span.known) {
            output.put(&head[from..span.start as usize]);
            from = span.end as usize;
        }
    }
    let end = spans.last().map_or(from, |last| last.end as usize);
    output.put(&head[from..end]);
}

/// What a response's head needs besides the backend's.
#[derive(Debug)]
pub(in crate::wire) struct ResponseChanges<'a> {
    /// Lines to add.
    pub(in crate::wire) added: &'a AddedFields,
    /// Fields to leave out, in lower case.
    pub(in crate::wire) removed: &'a [&'a [u8]],
    /// How the body is written.
    pub(in crate::wire) sink: Sink,
    /// Whether the client's connection stays open.
    pub(in crate::wire) keeps_alive: bool,
    pub(in crate::wire) trace: &'a TraceContext,
}

/// Writes a final response's head for a client.
pub(in crate::wire) fn put_response(
    output: &mut Buffer,
    head: &[u8],
    response: &mut ResponseHead,
    request: &Request,
    changes: &ResponseChanges<'_>,
) {
    put_status_line(output, head, response);
    for span in response.spans.iter_mut().filter(|span| span.known == Known::Other) {
        let name = span.name(head);
        if changes.removed.iter().any(|removed| name.eq_ignore_ascii_case(removed)) {
            span.known = Known::Dropped;
        }
    }
    let is_upgrade = response.upgrade;
    let (mut has_request_id, mut has_length) = (false, false);
    // A response without a body to a HEAD or a 304 tells the length of the one there would be.
    let keeps_length = response.status >= 200 && response.status != 204;
    put_lines(output, head, &response.spans, |known| match known {
        Known::Dropped
        | Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::TransferEncoding
        | Known::Http2Settings => false,
        Known::Upgrade => is_upgrade,
        Known::ContentLength => {
            has_length = true;
            keeps_length
        }
        Known::RequestId => {
            has_request_id = true;
            true
        }
        _ => true,
    });
    if !response.body.has_ended() {
        if changes.sink == Sink::Chunked {
            output.put(b"Transfer-Encoding: chunked\r\n");
        }
    } else if !has_length && keeps_length && response.status != 304 && !request.is_head() {
        // In HTTP/2 a stream can end with its head; in HTTP/1 that has to be said (RFC 9112 §6.3).
        output.put(b"Content-Length: 0\r\n");
    }
    if !has_request_id {
        put_request_id(output, changes.trace);
    }
    output.put(changes.added.lines());
    output.put(if is_upgrade {
        b"Connection: upgrade\r\n\r\n"
    } else {
        head_end(changes.keeps_alive, request.is_http_10())
    });
}

/// Gives the end of a response's head, with what becomes of the client's connection.
pub(in crate::wire) fn head_end(keeps_alive: bool, is_http_10: bool) -> &'static [u8] {
    match (keeps_alive, is_http_10) {
        (false, _) => b"Connection: close\r\n\r\n",
        (true, true) => b"Connection: keep-alive\r\n\r\n",
        (true, false) => b"\r\n",
    }
}

/// Writes an interim response's head for a client.
pub(in crate::wire) fn put_interim(output: &mut Buffer, head: &[u8], response: &ResponseHead) {
    put_status_line(output, head, response);
    put_lines(output, head, &response.spans, |known| {
        matches!(known, Known::RequestId | Known::Traceparent | Known::Te | Known::Via)
    });
    output.put(b"\r\n");
}

fn put_status_line(output: &mut Buffer, head: &[u8], response: &ResponseHead) {
    if response.is_http_10 {
        output.put_all(&[b"HTTP/1.1", &head[b"HTTP/1.0".len()..response.line_end]]);
    } else {
        output.put(&head[..response.line_end]);
    }
}

/// Writes the line that names the trace to the client.
pub(in crate::wire) fn put_request_id(output: &mut Buffer, trace: &TraceContext) {
    let text = trace.write();
    // Between the version and the span (W3C Trace Context §3.2.2).
    output.put_all(&[b"X-Request-Id: ", &text[3..35], b"\r\n"]);
}
