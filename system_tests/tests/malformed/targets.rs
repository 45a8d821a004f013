//! What is asked for, and of which host.

use crate::judge::Verdict::{self, Either, Forwarded, Refused};
use crate::judge::{Case, Expected, GET, SMUGGLED, raw};

/// Makes a case of a request's first lines, up to and with its `Host` fields.
fn head(name: &'static str, lines: impl AsRef<[u8]>, verdict: Verdict) -> Case {
    let mut bytes = lines.as_ref().to_vec();
    bytes.extend_from_slice(b"\r\n\r\n");
    if matches!(verdict, Refused) {
        bytes.extend_from_slice(SMUGGLED.as_bytes());
    }
    raw(name, bytes, verdict)
}

/// Makes a case of one `Host` field.
fn host(name: &'static str, value: &[u8], verdict: Verdict) -> Case {
    head(name, [b"GET /x HTTP/1.1\r\nHost: ", value].concat(), verdict)
}

pub(crate) fn cases() -> Vec<Case> {
    let at_b = Expected { host: "b", ..GET };
    let mut cases = vec![
        head("no Host", "GET /x HTTP/1.1\r\nX: y", Refused),
        head("two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b", Refused),
        head("two equal Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: a", Refused),
        head("two Hosts, one in upper case", "GET /x HTTP/1.1\r\nHost: a\r\nHOST: b", Refused),
        head("Host before a colon with space", "GET /x HTTP/1.1\r\nHost : a", Refused),
        host("Host with a comma", b"a,b", Refused),
        host("Host with a user", b"u@a", Refused),
        host("Host with a path", b"a/b", Refused),
        host("Host with a query", b"a?b", Refused),
        host("Host with a fragment", b"a#b", Refused),
        host("Host with a space", b"a b", Refused),
        host("Host with a tab", b"a\tb", Refused),
        host("Host with a NUL", b"a\0b", Refused),
        host("Host with a backslash", b"a\\b", Refused),
        host("Host with a scheme", b"http://a", Refused),
        host("Host with a port that is none", b"a:b", Refused),
        host("Host with two ports", b"a:1:2", Refused),
        host("Host with an open bracket", b"[::1", Refused),
        host("Host with a non-ASCII letter", "\u{e9}".as_bytes(), Refused),
        host("Host with a port", b"a:80", Forwarded(&[Expected { host: "a:80", ..GET }])),
        host(
            "Host with an address of version 6",
            b"[::1]:80",
            Forwarded(&[Expected { host: "[::1]:80", ..GET }]),
        ),
        head("absolute form", "GET http://a/x HTTP/1.1\r\nHost: a", Either(GET)),
        head("absolute form of another host", "GET http://b/x HTTP/1.1\r\nHost: a", Either(at_b)),
        head("absolute form in upper case", "GET HTTP://b/x HTTP/1.1\r\nHost: a", Either(at_b)),
        head("absolute form with a user", "GET http://u:p@b/x HTTP/1.1\r\nHost: a", Either(at_b)),
        head("absolute form without a host", "GET http:///x HTTP/1.1\r\nHost: a", Refused),
        head("absolute form and no Host", "GET http://b/x HTTP/1.1\r\nX: y", Refused),
        head("absolute form and two Hosts", "GET http://b/x HTTP/1.1\r\nHost: b\r\nHost: a", Refused),
        head(
            "absolute form without a path",
            "GET http://b HTTP/1.1\r\nHost: b",
            Either(Expected { target: "/", ..at_b }),
        ),
        head("a target without a slash", "GET x HTTP/1.1\r\nHost: a", Refused),
        head("a target that is a host and port", "GET a:80 HTTP/1.1\r\nHost: a", Refused),
        head("a target with a fragment", "GET /x#f HTTP/1.1\r\nHost: a", Either(GET)),
        head("a target with a space", "GET /x y HTTP/1.1\r\nHost: a", Refused),
        head("a target with a NUL", "GET /\0 HTTP/1.1\r\nHost: a", Refused),
        head("a target with a control character", "GET /\u{1} HTTP/1.1\r\nHost: a", Refused),
        head("a target with DEL", "GET /\u{7f} HTTP/1.1\r\nHost: a", Refused),
        head("a target with a bare CR", "GET /\rX HTTP/1.1\r\nHost: a", Refused),
        head("a non-ASCII target", "GET /\u{e9} HTTP/1.1\r\nHost: a", Refused),
        head("asterisk form with GET", "GET * HTTP/1.1\r\nHost: a", Refused),
        head("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443", Refused),
        head("CONNECT with a path", "CONNECT /x HTTP/1.1\r\nHost: a", Refused),
        head("CONNECT in absolute form", "CONNECT http://a/ HTTP/1.1\r\nHost: a", Refused),
        head("HTTP/1.0 with a Host", "GET /x HTTP/1.0\r\nHost: a", Either(GET)),
        head("HTTP/1.0 with two Hosts", "GET /x HTTP/1.0\r\nHost: a\r\nHost: b", Refused),
    ];
    cases.push(head(
        "a target of percent signs",
        "GET /x%0D%0AHost:%20b HTTP/1.1\r\nHost: a",
        Either(Expected { target: "/x%0D%0AHost:%20b", ..GET }),
    ));
    cases
}
