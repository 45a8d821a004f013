//! A backend's head as an HTTP/2 message.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use process::TraceContext;
use process::trace::REQUEST_ID;

use crate::wire::head::added::AddedFields;
use crate::wire::head::fields::{Known, Span};
use crate::wire::head::response_head::ResponseHead;

/// Makes a final response's message; `removed` are fields to leave out, in lower case.
pub(in crate::wire) fn message(
    head: &[u8],
    response: &ResponseHead,
    added: &AddedFields,
    removed: &[&[u8]],
    trace: &TraceContext,
) -> Response<()> {
    // A response without a body to a HEAD or a 304 tells the length of the one there would be.
    let keeps_length = response.status != 204;
    let mut has_request_id = false;
    let mut message = of_lines(head, response, added.count() + 1, |known, name| match known {
        Known::ContentLength => keeps_length,
        Known::RequestId => {
            has_request_id = true;
            true
        }
        Known::Other => !removed.iter().any(|removed| name.eq_ignore_ascii_case(removed)),
        known => passes(known),
    });
    add(message.headers_mut(), added, (!has_request_id).then_some(trace));
    message
}

/// Makes an interim response's message.
pub(super) fn interim(head: &[u8], response: &ResponseHead) -> Response<()> {
    of_lines(head, response, 0, |known, _| {
        matches!(known, Known::Other | Known::RequestId | Known::Traceparent | Known::Via)
    })
}

/// Adds what is ours: a handler's fields, and the name of the trace where it is still to be told.
pub(super) fn add(fields: &mut HeaderMap, added: &AddedFields, trace: Option<&TraceContext>) {
    if let Some(trace) = trace {
        let text = trace.write();
        // Between the version and the span (W3C Trace Context §3.2.2).
        put_unique(fields, REQUEST_ID, HeaderValue::from_bytes(&text[3..35]));
    }
    for (name, value) in added.iter() {
        if let Ok(name) = HeaderName::from_bytes(name) {
            put_unique(fields, name, HeaderValue::from_bytes(value));
        }
    }
}

/// Puts in a value that no other response will have: in the compression's table (RFC 7541 §2.3.2) it would take
/// the place of one that may come again.
fn put_unique(
    fields: &mut HeaderMap,
    name: HeaderName,
    value: Result<HeaderValue, http::header::InvalidHeaderValue>,
) {
    if let Ok(mut value) = value {
        value.set_sensitive(true);
        fields.append(name, value);
    }
}

/// Tells whether a field that needs care means something beyond the backend's connection.
fn passes(known: Known) -> bool {
    !matches!(
        known,
        Known::Dropped
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Http2Settings
            | Known::Upgrade
            // Of requests only, and forbidden in HTTP/2 but for one value (RFC 9113 §8.2.2).
            | Known::Te
    )
}

fn of_lines(
    head: &[u8],
    response: &ResponseHead,
    more: usize,
    mut passes: impl FnMut(Known, &[u8]) -> bool,
) -> Response<()> {
    let mut message = Response::new(());
    // A parsed head has three digits, of which the first is no zero.
    *message.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let fields = message.headers_mut();
    fields.reserve(response.spans.len() + more);
    // One copy that all values share.
    let head = Bytes::copy_from_slice(&head[..response.end]);
    for span in response.spans.iter() {
        let name = span.name(&head);
        if passes(span.known, name)
            && let Ok(name) = HeaderName::from_bytes(name)
            && let Ok(value) = HeaderValue::from_maybe_shared(head.slice(place(span)))
        {
            fields.append(name, value);
        }
    }
    message
}

fn place(span: &Span) -> std::ops::Range<usize> {
    span.value_start as usize..span.value_end as usize
}
