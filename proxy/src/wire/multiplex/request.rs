//! A request as HTTP/2 wants it (RFC 9113 §8.2.2, §8.3.1).

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::{Authority, Parts, PathAndQuery, Scheme, Uri};
use http::{HeaderName, HeaderValue, Method, Request, Version, header};
use process::TraceContext;

use crate::Client;
use crate::connect::Target;
use crate::wire::Rules;
use crate::wire::head::account::Account;
use crate::wire::head::fields::Known;
use crate::wire::head::request_head;

/// Room for the values that are ours.
const OURS: usize = 256;

/// The number of fields that are ours.
const FIELDS: usize = 7;

/// Makes a request's message for a backend; `None` if its target cannot be written in one.
///
/// A change of protocol is not offered: the backend answers as if it had not been asked for.
pub(in crate::wire) fn message(
    request: &request_head::Request,
    client: &Client,
    rules: &Rules,
    trace: &TraceContext,
    target: &Target,
) -> Option<Request<()>> {
    let mut message = Request::new(());
    *message.version_mut() = Version::HTTP_2;
    *message.method_mut() = Method::from_bytes(request.method()).ok()?;
    *message.uri_mut() = uri(request, target)?;
    let head = request.head();
    let fields = message.headers_mut();
    fields.reserve(request.spans.len() + FIELDS);
    let mut account = Account::of(client, rules);
    // One copy that all values share.
    let mut bytes = BytesMut::with_capacity(head.len() + OURS);
    bytes.put_slice(head);
    let head = bytes.split().freeze();
    for span in request.spans.iter() {
        if span.known != Known::Other && (span.known == Known::Host || !account.passes(span.known, false)) {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(span.name(&head))
            && let Ok(value) = value(head.slice(span.value_start as usize..span.value_end as usize))
        {
            fields.append(name, value);
        }
    }
    if request.options.trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    account.tell(request, client, rules, trace, |name, pieces| {
        for piece in pieces {
            bytes.put_slice(piece);
        }
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            && let Ok(mut value) = value(bytes.split().freeze())
        {
            // No other request will have this one: in the compression's table (RFC 7541 §2.3.2) it would take
            // the place of one that may come again.
            value.set_sensitive(name == process::trace::TRACEPARENT);
            fields.append(name, value);
        }
    });
    Some(message)
}

fn value(bytes: Bytes) -> Result<HeaderValue, header::InvalidHeaderValue> {
    HeaderValue::from_maybe_shared(bytes)
}

/// Gives the target with its scheme and authority.
fn uri(request: &request_head::Request, target: &Target) -> Option<Uri> {
    let named = Authority::try_from(request.host()).ok();
    let mut parts = Parts::default();
    parts.scheme = Some(if target.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(match named {
        Some(host) => host,
        None => Authority::try_from(target.address.to_string()).ok()?,
    });
    parts.path_and_query = Some(PathAndQuery::try_from(request.target()).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_protocol::Addresses;
    use crate::wire::Limits;
    use crate::wire::buffer::Buffer;

    const TRACE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// Gives what a head of HTTP/1 becomes.
    fn written(head: &str) -> Option<Request<()>> {
        let mut buffer = Buffer::default();
        buffer.put(head.as_bytes());
        let request = request_head::parse(&mut buffer, &Limits::default()).unwrap().unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let client = Client::new(Addresses { source: address, destination: address }, false);
        let trace = TraceContext::parse(TRACE).unwrap();
        message(&request, &client, &Rules::default(), &trace, &Target::plain("127.0.0.1:9".parse().unwrap()))
    }

    #[test]
    fn the_host_becomes_the_authority_and_what_ends_here_is_left_out() {
        let message = written(concat!(
            "GET /a?b HTTP/1.1\r\nHost: a.example:80\r\nConnection: te, upgrade, x-hop\r\nTE: gzip, trailers\r\n",
            "Upgrade: websocket\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Kept: 1\r\nX-Kept: 2\r\n",
            "X-Forwarded-For: 9.9.9.9\r\n\r\n",
        ));
        let (head, ()) = message.unwrap().into_parts();
        assert_eq!(head.uri, "http://a.example:80/a?b");
        let mut fields: Vec<String> =
            head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        fields.sort();
        let expected = [
            "te: trailers",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "via: 1.1 sixfold",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: a.example:80",
            "x-forwarded-proto: http",
            "x-kept: 1",
            "x-kept: 2",
        ];
        assert_eq!(fields, expected);
        assert!(head.headers["traceparent"].is_sensitive());
    }

    #[test]
    fn a_request_without_a_host_names_the_backend() {
        assert_eq!(written("GET / HTTP/1.0\r\n\r\n").unwrap().uri(), "http://127.0.0.1:9/");
    }

    #[test]
    fn a_target_is_written_as_it_is_or_not_at_all() {
        let mut refused = Vec::new();
        for byte in (0x21..0x7f).filter(|byte| *byte != b'#') {
            let target = format!("/a{0}?{0}", char::from(byte));
            match written(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")) {
                Some(message) => assert_eq!(message.uri().path_and_query().unwrap().as_str(), target),
                None => refused.push(byte),
            }
        }
        assert_eq!(String::from_utf8(refused).unwrap(), "\"<>`", "no URI has them (RFC 3986 §2)");
        let asterisk = written("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(asterisk.uri().path(), "*");
    }
}
