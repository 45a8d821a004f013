//! Requests of HTTP/2 that would become several, or others, in HTTP/1.

use std::net::SocketAddr;

use system_tests::Alone;
use system_tests::recorder::{Recorder, Seen};

use crate::frames::{End, Frames};
use crate::judge::{Expected, GET, POST, check_forwarded, check_next_client};

use Verdict::{Either, Forwarded, Refused};

/// What may come of a case.
#[derive(Clone, Copy)]
enum Verdict {
    /// The stream or the connection is ended, or the answer is 4xx, 501 or 505; no whole request reached the
    /// backend.
    Refused,
    /// Exactly this reached the backend.
    Forwarded(Expected),
    /// One or the other.
    Either(Expected),
}

type Field<'a> = (&'a [u8], &'a [u8]);

/// A case: the fields, the body if any, the trailers if any.
struct Case {
    name: &'static str,
    fields: Vec<Field<'static>>,
    body: Option<&'static str>,
    trailers: Vec<Field<'static>>,
    verdict: Verdict,
}

/// What goes out before it is refused, and may be noticed only during the next case.
const LATE: Expected = Expected { method: "POST", target: "/late", host: "a", body: "" };

const METHOD: Field<'static> = (b":method", b"GET");
const SCHEME: Field<'static> = (b":scheme", b"http");
const AUTHORITY: Field<'static> = (b":authority", b"a");
const PATH: Field<'static> = (b":path", b"/x");

fn case(name: &'static str, fields: &[Field<'static>], verdict: Verdict) -> Case {
    Case { name, fields: fields.to_vec(), body: None, trailers: Vec::new(), verdict }
}

/// Makes a case of one field behind the pseudo-headers.
fn with(name: &'static str, field: &'static [u8], value: &'static [u8], verdict: Verdict) -> Case {
    case(name, &[METHOD, SCHEME, AUTHORITY, PATH, (field, value)], verdict)
}

/// Makes a case of another value of a pseudo-header.
fn pseudo(name: &'static str, field: &'static [u8], value: &'static [u8], verdict: Verdict) -> Case {
    let mut fields = vec![METHOD, SCHEME, AUTHORITY, PATH];
    fields.retain(|(found, _)| *found != field);
    fields.push((field, value));
    case(name, &fields, verdict)
}

/// Makes a case of a `POST` with fields about its length, and its body.
fn post(name: &'static str, more: &[Field<'static>], body: &'static str, verdict: Verdict) -> Case {
    let mut fields = vec![(&b":method"[..], &b"POST"[..]), SCHEME, AUTHORITY, PATH];
    fields.extend_from_slice(more);
    Case { name, fields, body: Some(body), trailers: Vec::new(), verdict }
}

fn table() -> Vec<Case> {
    let mut cases = pseudo_headers();
    cases.extend(fields());
    cases.extend(lengths());
    cases
}

fn pseudo_headers() -> Vec<Case> {
    let host = Expected { host: "b", ..GET };
    vec![
        case("a plain request", &[METHOD, SCHEME, AUTHORITY, PATH], Forwarded(GET)),
        pseudo("path with CRLF", b":path", b"/x HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled", Refused),
        pseudo("path with a version", b":path", b"/x HTTP/1.1", Refused),
        pseudo("path with a LF", b":path", b"/x\nX: y", Refused),
        pseudo("path with a NUL", b":path", b"/x\0", Refused),
        pseudo("path with a tab", b":path", b"/x\ty", Refused),
        pseudo("path with a non-ASCII letter", b":path", b"/\xc3\xa9", Refused),
        pseudo("path with a fragment", b":path", b"/x#f", Either(GET)),
        pseudo("path empty", b":path", b"", Refused),
        pseudo("path without a slash", b":path", b"x", Refused),
        pseudo("path in absolute form", b":path", b"http://b/x", Refused),
        pseudo("path of an asterisk", b":path", b"*", Refused),
        pseudo("method with a space", b":method", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET", Refused),
        pseudo("method with a CR", b":method", b"GET\r", Refused),
        pseudo("method with a NUL", b":method", b"G\0T", Refused),
        pseudo("method empty", b":method", b"", Refused),
        pseudo("method CONNECT with a path", b":method", b"CONNECT", Refused),
        case("CONNECT", &[(b":method", b"CONNECT"), (b":authority", b"a:443")], Refused),
        case(
            "extended CONNECT",
            &[(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH],
            Refused,
        ),
        pseudo("authority with CRLF", b":authority", b"a\r\nX: y", Refused),
        pseudo("authority with a space", b":authority", b"a b", Refused),
        pseudo("authority with a user", b":authority", b"u@a", Either(GET)),
        pseudo("authority with a path", b":authority", b"a/b", Refused),
        pseudo("authority with a comma", b":authority", b"a,b", Refused),
        pseudo("authority empty", b":authority", b"", Either(Expected { host: "", ..GET })),
        pseudo("scheme with CRLF", b":scheme", b"http://b/smuggled HTTP/1.1\r\nX: y", Refused),
        pseudo("scheme with a space", b":scheme", b"http x", Refused),
        case("no authority and a host", &[METHOD, SCHEME, PATH, (b"host", b"b")], Forwarded(host)),
        case("no authority and no host", &[METHOD, SCHEME, PATH], Refused),
        case(
            "no authority and two hosts",
            &[METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"b")],
            Refused,
        ),
        case("authority and another host", &[METHOD, SCHEME, AUTHORITY, PATH, (b"host", b"b")], Either(GET)),
        case("no method", &[SCHEME, AUTHORITY, PATH], Refused),
        case("no path", &[METHOD, SCHEME, AUTHORITY], Refused),
        case("no scheme", &[METHOD, AUTHORITY, PATH], Refused),
        case("method twice", &[METHOD, (b":method", b"POST"), SCHEME, AUTHORITY, PATH], Refused),
        case("path twice", &[METHOD, SCHEME, AUTHORITY, PATH, (b":path", b"/smuggled")], Refused),
        case("authority twice", &[METHOD, SCHEME, AUTHORITY, (b":authority", b"b"), PATH], Refused),
        case("scheme twice", &[METHOD, SCHEME, (b":scheme", b"https"), AUTHORITY, PATH], Refused),
        case("a pseudo-header behind a field", &[METHOD, SCHEME, AUTHORITY, (b"x", b"y"), PATH], Refused),
        with("a pseudo-header nobody knows", b":x", b"y", Refused),
        with("a pseudo-header of answers", b":status", b"200", Refused),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        with("value with CRLF", b"x", b"y\r\nTransfer-Encoding: chunked", Refused),
        with(
            "value with a whole request",
            b"x",
            b"y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            Refused,
        ),
        with("value with a LF", b"x", b"y\nz", Refused),
        with("value with a CR", b"x", b"y\rz", Refused),
        with("value with a NUL", b"x", b"y\0", Refused),
        with("value with a control character", b"x", b"y\x01", Refused),
        with("value with spaces around", b"x", b" y ", Either(GET)),
        with("name with CRLF", b"x\r\ny", b"z", Refused),
        with("name with a colon", b"x: y\r\nz", b"z", Refused),
        with("name with a colon only", b"transfer-encoding: chunked", b"z", Refused),
        with("name in upper case", b"X", b"y", Refused),
        with("name with a space", b"x y", b"z", Refused),
        with("name with a NUL", b"x\0", b"y", Refused),
        with("name with a non-ASCII letter", b"x\xc3\xa9", b"y", Refused),
        with("name empty", b"", b"y", Refused),
        with("connection", b"connection", b"close", Refused),
        with("connection that names a length", b"connection", b"content-length", Refused),
        with("keep-alive", b"keep-alive", b"timeout=5", Refused),
        with("proxy-connection", b"proxy-connection", b"close", Refused),
        with("upgrade", b"upgrade", b"websocket", Refused),
        with("transfer-encoding", b"transfer-encoding", b"chunked", Refused),
        with("te: gzip", b"te", b"gzip", Either(GET)),
        with("te: trailers", b"te", b"trailers", Forwarded(GET)),
        with("http2-settings", b"http2-settings", b"AAMAAABkAAQAAP__", Either(GET)),
    ]
}

fn lengths() -> Vec<Case> {
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let trailed = |name, field: &'static [u8], value: &'static [u8], verdict| Case {
        trailers: vec![(field, value)],
        ..post(name, &[], "hello", verdict)
    };
    vec![
        post("a body", &[], "hello", Forwarded(POST)),
        post("content-length that is right", &[(b"content-length", b"5")], "hello", Forwarded(POST)),
        post("content-length too long", &[(b"content-length", b"10")], "hello", Refused),
        post("content-length too short", &[(b"content-length", b"3")], "hello", Refused),
        Case {
            fields: vec![
                (b":method", b"POST"),
                SCHEME,
                AUTHORITY,
                (b":path", b"/late"),
                (b"content-length", b"0"),
            ],
            ..post("content-length 0 and a request as the body", &[], SMUGGLED, Either(LATE))
        },
        Case { body: None, ..post("content-length and no body", &[(b"content-length", b"5")], "", Refused) },
        post(
            "content-length twice",
            &[(b"content-length", b"5"), (b"content-length", b"3")],
            "hello",
            Refused,
        ),
        post("content-length list", &[(b"content-length", b"5, 3")], "hello", Refused),
        post("content-length with plus", &[(b"content-length", b"+5")], "hello", Refused),
        post("content-length with a letter", &[(b"content-length", b"5x")], "hello", Refused),
        post("content-length with CRLF", &[(b"content-length", b"5\r\n")], "hello", Refused),
        post(
            "transfer-encoding and a body of chunks",
            &[(b"transfer-encoding", b"chunked")],
            "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            Refused,
        ),
        post(
            "transfer-encoding beside content-length",
            &[(b"transfer-encoding", b"chunked"), (b"content-length", b"5")],
            "hello",
            Refused,
        ),
        trailed("a trailer", b"x", b"y", Forwarded(POST)),
        trailed("a pseudo-header as a trailer", b":path", b"/smuggled", Either(POST)),
        trailed("a trailer with CRLF", b"x", b"y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
        trailed("a trailer in upper case", b"X", b"y", Refused),
        trailed("content-length as a trailer", b"content-length", b"99", Either(POST)),
        trailed("transfer-encoding as a trailer", b"transfer-encoding", b"chunked", Either(POST)),
        trailed("host as a trailer", b"host", b"b", Either(POST)),
    ]
}

fn judge(case: &Case, to: SocketAddr, backend: &Recorder) -> Result<(), String> {
    backend.take();
    let mut client = Frames::connect(to);
    client.send_fields(1, &case.fields, case.body.is_none());
    if let Some(body) = case.body {
        client.send_data(1, body.as_bytes(), case.trailers.is_empty());
    }
    if !case.trailers.is_empty() {
        client.send_fields(1, &case.trailers, true);
    }
    let end = client.end_of(1);
    check_next_client(to)?;
    let mut seen = backend.take();
    seen.retain(|seen| !matches!(seen, Seen::Request(request) if request.target == "/next"));
    if !matches!(case.verdict, Either(expected) if expected.target == LATE.target) {
        seen.retain(|seen| !matches!(seen, Seen::Request(request) if request.target == LATE.target));
    }
    if end == End::Answered(200) || case.body.is_none() {
        // A backend can notice late that the request of an earlier case broke off; this case has none such.
        seen.retain(|seen| !matches!(seen, Seen::BrokenOff(bytes) if bytes.starts_with("POST /x")));
    }
    if let Some(ambiguous) = seen.iter().find(|seen| matches!(seen, Seen::Ambiguous { .. })) {
        return Err(format!("{end:?}, and the backend saw {ambiguous:?}"));
    }
    let is_refused = match &end {
        End::Answered(status) => (400..500).contains(status) || [501, 505].contains(status),
        End::Reset(_) | End::GoneAway(_) => true,
        End::Silence => false,
    };
    if is_refused {
        seen.retain(|seen| !matches!(seen, Seen::BrokenOff(_)));
    }
    match case.verdict {
        Refused | Either(_) if is_refused => match &seen[..] {
            [] => Ok(()),
            // What follows a body that has its length already is refused too late to call it back.
            [Seen::Request(_)] if let Either(expected) = case.verdict => check_forwarded(&seen, &[expected]),
            seen => Err(format!("refused ({end:?}), and yet the backend saw {seen:?}")),
        },
        Forwarded(expected) | Either(expected) if end == End::Answered(200) => {
            check_forwarded(&seen, &[expected])
        }
        _ => Err(format!("{end:?}; the backend saw {seen:?}")),
    }
}

fn judge_all(to: SocketAddr, backend: &Recorder) {
    let table = table();
    let judge = |case: &Case| judge(case, to, backend).err().map(|why| format!("{}: {why}", case.name));
    let faults: Vec<String> = table.iter().filter_map(judge).collect();
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), table.len(), faults.join("\n"));
}

#[test]
fn no_malformed_request_of_http2_gets_through_the_balancer() {
    let backend = Recorder::start();
    let balancer = Alone::balancer(&[backend.address()], "threads = 1\n");
    judge_all(balancer.address, &backend);
}

#[test]
fn no_malformed_request_of_http2_gets_through_a_gateway() {
    let backend = Recorder::start();
    let gateway = Alone::gateway(backend.address(), "");
    judge_all(gateway.address, &backend);
}
