//! HTTP/2 to HTTP/1: whatever a client puts into frames, a backend that records its bytes sees no request, or
//! one that can be read in one way only.

use proxy::Target;
use proxy::server::Limits;
use tokio::io::AsyncWriteExt;

use crate::raw_http2::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS};
use crate::support::{Echo, Lane};

type Fields = Vec<(&'static [u8], &'static [u8])>;

/// What a case must end in.
#[derive(Clone, Copy)]
enum Expected {
    /// A 4xx, a reset or the end of the connection; the backend sees nothing.
    Refused,
    /// As above; of a request that began well the backend may have seen an unfinished one.
    BrokenOff,
    /// Exactly one request, with this text in it.
    Forwarded(&'static str),
}

use Expected::{BrokenOff, Forwarded, Refused};

struct Case {
    what: &'static str,
    fields: Fields,
    body: Vec<&'static [u8]>,
    expected: Expected,
}

fn get(path: &'static [u8], more: &[(&'static [u8], &'static [u8])]) -> Fields {
    let mut fields: Fields =
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)];
    fields.extend_from_slice(more);
    fields
}

fn post(more: &[(&'static [u8], &'static [u8])]) -> Fields {
    let mut fields = get(b"/", more);
    fields[0].1 = b"POST";
    fields
}

fn case(what: &'static str, fields: Fields, expected: Expected) -> Case {
    Case { what, fields, body: Vec::new(), expected }
}

fn upload(what: &'static str, fields: Fields, body: &[&'static [u8]], expected: Expected) -> Case {
    Case { what, fields, body: body.to_vec(), expected }
}

fn cases() -> Vec<Case> {
    let smuggled: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let without =
        |name: &[u8]| -> Fields { get(b"/", &[]).into_iter().filter(|(known, _)| *known != name).collect() };
    let with = |name: &'static [u8], value: &'static [u8]| -> Fields {
        get(b"/", &[])
            .into_iter()
            .map(|(known, old)| (known, if known == name { value } else { old }))
            .collect()
    };
    let mut late = get(b"/", &[(b"x-a", b"1")]);
    late.swap(0, 4);
    vec![
        case("a plain request", get(b"/ok", &[]), Forwarded("GET /ok HTTP/1.1\r\n")),
        // Values that would end a line.
        case("CRLF in a value", get(b"/", &[(b"x-a", b"1\r\nx-b: 2")]), Refused),
        case("LF in a value", get(b"/", &[(b"x-a", b"1\nx-b: 2")]), Refused),
        case("CR in a value", get(b"/", &[(b"x-a", b"1\rx-b: 2")]), Refused),
        case("NUL in a value", get(b"/", &[(b"x-a", b"1\0")]), Refused),
        case(
            "a request in a value",
            get(b"/", &[(b"x-a", b"1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a")]),
            Refused,
        ),
        // Names that are none.
        case("CRLF in a name", get(b"/", &[(b"x-a\r\nx-b", b"1")]), Refused),
        case("a colon in a name", get(b"/", &[(b"x-a: 1\r\nx-b", b"1")]), Refused),
        case("a space in a name", get(b"/", &[(b"x a", b"1")]), Refused),
        case("an uppercase name", get(b"/", &[(b"X-A", b"1")]), Refused),
        case("an empty name", get(b"/", &[(b"", b"1")]), Refused),
        case("transfer-encoding with a space", get(b"/", &[(b"transfer-encoding ", b"chunked")]), Refused),
        // Pseudo-fields.
        case("an unknown pseudo-field", get(b"/", &[(b":x", b"1")]), Refused),
        case("a response's pseudo-field", get(b"/", &[(b":status", b"200")]), Refused),
        case("a pseudo-field after a field", late, Refused),
        case("two paths", get(b"/", &[(b":path", b"/two")]), Refused),
        case("two methods", get(b"/", &[(b":method", b"POST")]), Refused),
        case("two authorities", get(b"/", &[(b":authority", b"b")]), Refused),
        case("no method", without(b":method"), Refused),
        case("no path", without(b":path"), Refused),
        case("no scheme", without(b":scheme"), Refused),
        case("no authority and no host", without(b":authority"), Refused),
        case("an empty path", with(b":path", b""), Refused),
        // Methods and targets that would make another request line.
        case("a request line in the method", with(b":method", b"GET /smuggled HTTP/1.1\r\nx: y"), Refused),
        case("a space in the method", with(b":method", b"GET /x"), Refused),
        case("an empty method", with(b":method", b""), Refused),
        case("a space in the path", with(b":path", b"/a b"), Refused),
        case(
            "a request line in the path",
            with(b":path", b"/ HTTP/1.1\r\nHost: b\r\n\r\nGET /smuggled"),
            Refused,
        ),
        case("CRLF in the path", with(b":path", b"/a\r\nx-b: 2"), Refused),
        case("NUL in the path", with(b":path", b"/a\0b"), Refused),
        case("a tab in the path", with(b":path", b"/a\tb"), Refused),
        case("a relative path", with(b":path", b"a"), Refused),
        case("an absolute form as the path", with(b":path", b"http://b/admin"), Refused),
        case("CRLF in the authority", with(b":authority", b"a\r\nx-b: 2"), Refused),
        case("a space in the authority", with(b":authority", b"a b"), Refused),
        case("a path in the authority", with(b":authority", b"a/smuggled"), Refused),
        case("a user in the authority", with(b":authority", b"user@a"), Refused),
        case("CRLF in the scheme", with(b":scheme", b"http\r\nx-b: 2"), Refused),
        case("a target in the scheme", with(b":scheme", b"http://b/x?"), Refused),
        case("another scheme, which ends here", with(b":scheme", b"ftp"), Forwarded("GET / HTTP/1.1\r\n")),
        case("CONNECT", vec![(b":method", b"CONNECT"), (b":authority", b"a:443")], Refused),
        case(
            "an extended CONNECT",
            vec![
                (b":method", b"CONNECT"),
                (b":protocol", b"websocket"),
                (b":scheme", b"http"),
                (b":authority", b"a"),
                (b":path", b"/"),
            ],
            Refused,
        ),
        // Hosts.
        case("a host that says the same", get(b"/", &[(b"host", b"a")]), Forwarded("host: a\r\n")),
        case("a host that says otherwise", get(b"/", &[(b"host", b"b")]), Refused),
        case("two hosts", get(b"/", &[(b"host", b"a"), (b"host", b"b")]), Refused),
        case(
            "only a host",
            [without(b":authority"), vec![(b"host", b"b")]].concat(),
            Forwarded("host: b\r\n"),
        ),
        case(
            "two hosts and no authority",
            [without(b":authority"), vec![(b"host", b"a"), (b"host", b"b")]].concat(),
            Refused,
        ),
        case("a host that is none", [without(b":authority"), vec![(b"host", b"a b/")]].concat(), Refused),
        // Fields of a connection.
        case("connection", get(b"/", &[(b"connection", b"x-forwarded-for")]), Refused),
        case("keep-alive", get(b"/", &[(b"keep-alive", b"1")]), Refused),
        case("proxy-connection", get(b"/", &[(b"proxy-connection", b"close")]), Refused),
        case("upgrade", get(b"/", &[(b"upgrade", b"h2c")]), Refused),
        case("te other than trailers", get(b"/", &[(b"te", b"gzip")]), Refused),
        case("te trailers", get(b"/", &[(b"te", b"trailers")]), Forwarded("te: trailers\r\n")),
        case("transfer-encoding", get(b"/", &[(b"transfer-encoding", b"chunked")]), Refused),
        upload(
            "transfer-encoding with a body",
            post(&[(b"transfer-encoding", b"chunked")]),
            &[b"0\r\n\r\n", smuggled],
            Refused,
        ),
        // Lengths.
        upload(
            "a length that is right",
            post(&[(b"content-length", b"3")]),
            &[b"abc"],
            Forwarded("\r\n\r\nabc"),
        ),
        upload(
            "a length that is too small",
            post(&[(b"content-length", b"3")]),
            &[b"abc", smuggled],
            BrokenOff,
        ),
        upload("a length of nothing", post(&[(b"content-length", b"0")]), &[smuggled], BrokenOff),
        upload("a length that is too large", post(&[(b"content-length", b"9")]), &[b"abc"], BrokenOff),
        upload(
            "two lengths",
            post(&[(b"content-length", b"3"), (b"content-length", b"4")]),
            &[b"abc"],
            Refused,
        ),
        upload("a signed length", post(&[(b"content-length", b"+3")]), &[b"abc"], Refused),
        upload("a length that is none", post(&[(b"content-length", b"x")]), &[b"abc"], Refused),
        upload("a list of lengths", post(&[(b"content-length", b"3, 3")]), &[b"abc"], Refused),
        upload("a huge length", post(&[(b"content-length", b"18446744073709551616")]), &[b"abc"], Refused),
        case("a length and no body", post(&[(b"content-length", b"3")]), Refused),
        upload(
            "chunks in a body",
            post(&[]),
            &[b"0\r\n\r\n", smuggled],
            Forwarded("transfer-encoding: chunked\r\n"),
        ),
        // Cookies may be split.
        case(
            "cookies",
            get(b"/", &[(b"cookie", b"a=1"), (b"cookie", b"b=2")]),
            Forwarded("cookie: a=1; b=2\r\n"),
        ),
        case("an expectation", get(b"/", &[(b"expect", b"100-continue")]), Forwarded("GET / HTTP/1.1\r\n")),
    ]
}

/// Sends a case; tells whether it was answered below 400.
async fn send(case: &Case, address: std::net::SocketAddr) -> bool {
    let mut stream = raw_http2::connect(address).await;
    let ends = if case.body.is_empty() { END_STREAM } else { 0 };
    let mut bytes = raw_http2::frame(HEADERS, END_HEADERS | ends, 1, &raw_http2::fields(&case.fields));
    for (index, data) in case.body.iter().enumerate() {
        let ends = if index + 1 == case.body.len() { END_STREAM } else { 0 };
        bytes.extend(raw_http2::frame(DATA, ends, 1, data));
    }
    stream.write_all(&bytes).await.unwrap();
    let mut was_answered = false;
    while let Some(frame) = raw_http2::read(&mut stream).await {
        match frame.kind {
            // Status 200 is number 8 of the static table (RFC 7541 appendix A).
            HEADERS => was_answered = frame.payload.first() == Some(&0x88),
            RST_STREAM => return false,
            GOAWAY => return false,
            DATA if was_answered => return true,
            SETTINGS => {}
            _ => {}
        }
        if frame.kind == HEADERS && !was_answered {
            return false;
        }
    }
    was_answered
}

#[tokio::test]
async fn no_frame_becomes_a_request_with_two_readings() {
    for lane in Lane::BOTH {
        send_all(lane).await;
    }
}

async fn send_all(lane: Lane) {
    let mut faults = Vec::new();
    for case in cases() {
        let backend = Echo::start().await;
        let running = lane.start(Limits::default(), Target::plain(backend.address));
        let was_answered = send(&case, running.address).await;
        let seen = backend.text().concat();
        let heads = seen.matches(" HTTP/1.1\r\n").count();
        let is_right = match case.expected {
            Refused => !was_answered && seen.is_empty(),
            BrokenOff => !was_answered && heads <= 1 && !seen.contains("/smuggled"),
            // The lanes write names in another case.
            Forwarded(text) => was_answered && seen.to_lowercase().contains(&text.to_lowercase()),
        };
        if !is_right {
            faults.push(format!("{}: answered {was_answered}, the backend saw {seen:?}", case.what));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
