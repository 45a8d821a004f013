//! Request lines, line ends, field lines, sizes.

use crate::judge::Verdict::{self, Either, Forwarded, Nothing, Refused};
use crate::judge::{Case, Expected, GET, SMUGGLED, raw};

/// Makes a case of one more field line in a `GET`, with a request that hides behind it.
fn field(name: &'static str, line: &[u8], verdict: Verdict) -> Case {
    let mut bytes = b"GET /x HTTP/1.1\r\nHost: a\r\n".to_vec();
    bytes.extend_from_slice(line);
    bytes.extend_from_slice(b"\r\n\r\n");
    if matches!(verdict, Refused) {
        bytes.extend_from_slice(SMUGGLED.as_bytes());
    }
    raw(name, bytes, verdict)
}

/// Makes a case of a request line.
fn line(name: &'static str, line: impl AsRef<[u8]>, verdict: Verdict) -> Case {
    let mut bytes = line.as_ref().to_vec();
    bytes.extend_from_slice(b"\r\nHost: a\r\n\r\n");
    if matches!(verdict, Refused) {
        bytes.extend_from_slice(SMUGGLED.as_bytes());
    }
    raw(name, bytes, verdict)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = line_ends();
    cases.extend(fields());
    cases.extend(request_lines());
    cases.extend(sizes());
    cases
}

fn line_ends() -> Vec<Case> {
    vec![
        raw("bare LF everywhere", "GET /x HTTP/1.1\nHost: a\n\n", Either(GET)),
        raw("bare LF after the request line", "GET /x HTTP/1.1\nHost: a\r\n\r\n", Either(GET)),
        raw("bare LF after a field", "GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", Either(GET)),
        raw("bare LF as the empty line", "GET /x HTTP/1.1\r\nHost: a\r\n\n", Either(GET)),
        raw("bare CR everywhere", format!("GET /x HTTP/1.1\rHost: a\r\r\r\n\r\n{SMUGGLED}"), Refused),
        raw("bare CR after the request line", format!("GET /x HTTP/1.1\rHost: a\r\n\r\n{SMUGGLED}"), Refused),
        raw("CR CR LF", format!("GET /x HTTP/1.1\r\r\nHost: a\r\r\n\r\r\n\r\n{SMUGGLED}"), Refused),
        raw("LF CR", format!("GET /x HTTP/1.1\n\rHost: a\n\r\n\r\r\n\r\n{SMUGGLED}"), Refused),
        raw("a CRLF before the request", "\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Either(GET)),
        raw("a LF before the request", "\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Either(GET)),
        raw(
            "many CRLF before the request",
            format!("{}GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(50)),
            Either(GET),
        ),
        raw("a bare CR before the request", "\rGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
        raw("a space before the request", " GET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
        raw("a NUL before the request", "\0GET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
        raw("a space before the first field", "GET /x HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", Refused),
        raw("an empty line of spaces", "GET /x HTTP/1.1\r\nHost: a\r\n \r\n\r\n", Refused),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        field("obs-fold", b"X: a\r\n b", Refused),
        field("obs-fold with a tab", b"X: a\r\n\tb", Refused),
        field("obs-fold hiding a field", b"X: a\r\n Transfer-Encoding: chunked", Refused),
        field("space before the colon", b"X : y", Refused),
        field("tab before the colon", b"X\t: y", Refused),
        field("empty field name", b": y", Refused),
        field("no colon", b"X", Refused),
        field("space in a field name", b"X Y: z", Refused),
        field("NUL in a field name", b"X\0: y", Refused),
        field("control character in a field name", b"X\x01: y", Refused),
        field("DEL in a field name", b"X\x7f: y", Refused),
        field("non-ASCII field name", "X\u{e9}: y".as_bytes(), Refused),
        field("separator in a field name", b"X(y): z", Refused),
        field("quoted field name", b"\"X\": y", Refused),
        field("NUL in a value", b"X: a\0b", Refused),
        field("control character in a value", b"X: a\x01b", Refused),
        field("vertical tab in a value", b"X: a\x0bb", Refused),
        field("escape character in a value", b"X: a\x1b[0m", Refused),
        field("DEL in a value", b"X: a\x7f", Refused),
        field("bare CR in a value", b"X: a\rY: b", Refused),
        field("non-ASCII value", "X: \u{e9}".as_bytes(), Either(GET)),
        field("tab in a value", b"X: a\tb", Forwarded(&[GET])),
        field("empty value", b"X:", Forwarded(&[GET])),
    ]
}

fn request_lines() -> Vec<Case> {
    let lower = Expected { method: "get", ..GET };
    vec![
        raw("HTTP/0.9", format!("GET /x\r\n\r\n{SMUGGLED}"), Refused),
        line("HTTP/0.9 by name", "GET /x HTTP/0.9", Refused),
        line("HTTP/1.2", "GET /x HTTP/1.2", Either(GET)),
        line("HTTP/2.0", "GET /x HTTP/2.0", Refused),
        line("HTTP/3", "GET /x HTTP/3", Refused),
        line("HTTP/1.10", "GET /x HTTP/1.10", Refused),
        line("HTTP/01.1", "GET /x HTTP/01.1", Refused),
        line("HTTP/1.", "GET /x HTTP/1.", Refused),
        line("HTTP/1", "GET /x HTTP/1", Refused),
        line("http/1.1 in lower case", "GET /x http/1.1", Refused),
        line("another protocol", "GET /x ICAP/1.1", Refused),
        line("no version but a space", "GET /x ", Refused),
        line("a space after the version", "GET /x HTTP/1.1 ", Refused),
        line("words after the version", "GET /x HTTP/1.1 x", Refused),
        line("two spaces after the method", "GET  /x HTTP/1.1", Refused),
        line("two spaces after the target", "GET /x  HTTP/1.1", Refused),
        line("a tab after the method", "GET\t/x HTTP/1.1", Refused),
        line("a tab after the target", "GET /x\tHTTP/1.1", Refused),
        line("a vertical tab after the method", "GET\u{b}/x HTTP/1.1", Refused),
        line("no target", "GET HTTP/1.1", Refused),
        line("no method", " /x HTTP/1.1", Refused),
        line("a separator in the method", "GE(T /x HTTP/1.1", Refused),
        line("a control character in the method", "G\u{1}T /x HTTP/1.1", Refused),
        line("a non-ASCII method", "G\u{c9}T /x HTTP/1.1", Refused),
        line("a method in lower case", "get /x HTTP/1.1", Either(lower)),
        raw(
            "the preface of HTTP/2 and no HTTP/2",
            format!("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n{SMUGGLED}"),
            Nothing,
        ),
        raw("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Refused),
    ]
}

fn sizes() -> Vec<Case> {
    let head = |field: String| format!("GET /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{SMUGGLED}");
    let many: String = (0..10_000).map(|number| format!("X{number}: y\r\n")).collect();
    vec![
        line("a target of 1 MiB", format!("GET /{} HTTP/1.1", "x".repeat(1 << 20)), Refused),
        line("a method of 1 MiB", format!("{} /x HTTP/1.1", "G".repeat(1 << 20)), Refused),
        raw("a field of 1 MiB", head(format!("X: {}", "y".repeat(1 << 20))), Refused),
        raw("a field name of 1 MiB", head(format!("{}: y", "X".repeat(1 << 20))), Refused),
        raw("10,000 fields", head(many.trim_end().to_owned()), Refused),
    ]
}
