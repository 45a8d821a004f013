//! Where a request's body ends: `Content-Length` and `Transfer-Encoding`.

use crate::judge::Verdict::{Either, Forwarded, Refused};
use crate::judge::{Case, EMPTY, Expected, GET, POST, SMUGGLED, post, raw};

/// An empty chunked body and a request that hides behind it.
const CHUNKED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// The body `hello` in one chunk.
const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";

/// `hello`, and a request that hides behind it.
const HELLO_AND: &str = "helloGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = both();
    cases.extend(codings());
    cases.extend(lengths());
    cases.extend(connection_options());
    cases
}

/// A server may take the coding's word if it closes the connection after the answer (RFC 9112 §6.1).
fn both() -> Vec<Case> {
    vec![
        post("CL.TE", b"Content-Length: 6\r\nTransfer-Encoding: chunked", CHUNKED, Either(EMPTY)),
        post("TE.CL", b"Transfer-Encoding: chunked\r\nContent-Length: 4", CHUNKED, Either(EMPTY)),
        post(
            "CL.TE where both agree",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            CHUNKED,
            Either(EMPTY),
        ),
        post("CL: 0 and TE", b"Content-Length: 0\r\nTransfer-Encoding: chunked", CHUNKED, Either(EMPTY)),
        post("CL and TE: identity", b"Content-Length: 5\r\nTransfer-Encoding: identity", HELLO_AND, Refused),
        post("CL and an unknown TE", b"Content-Length: 5\r\nTransfer-Encoding: x", HELLO_AND, Refused),
        post(
            "CL and TE upper case",
            b"CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED",
            CHUNKED,
            Either(EMPTY),
        ),
        post(
            "CL and TE named by Connection",
            b"Connection: transfer-encoding\r\nContent-Length: 6\r\nTransfer-Encoding: chunked",
            CHUNKED,
            Either(EMPTY),
        ),
        raw(
            "TE in HTTP/1.0",
            format!("POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"),
            Refused,
        ),
        raw(
            "CL and TE in HTTP/1.0",
            format!(
                "POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"
            ),
            Refused,
        ),
    ]
}

fn codings() -> Vec<Case> {
    let hello = Forwarded(&[POST]);
    vec![
        post("TE: chunked", b"Transfer-Encoding: chunked", HELLO, hello),
        post("TE in upper case", b"TRANSFER-ENCODING: CHUNKED", HELLO, hello),
        post("TE after a tab", b"Transfer-Encoding:\tchunked", HELLO, hello),
        post("TE before a space and a tab", b"Transfer-Encoding: chunked \t", HELLO, hello),
        post("TE before a colon with space", b"Transfer-Encoding : chunked", CHUNKED, Refused),
        post("TE before a colon with tab", b"Transfer-Encoding\t: chunked", CHUNKED, Refused),
        post("TE: xchunked", b"Transfer-Encoding: xchunked", CHUNKED, Refused),
        post("TE: chunkedx", b"Transfer-Encoding: chunkedx", CHUNKED, Refused),
        post("TE: chunked, identity", b"Transfer-Encoding: chunked, identity", CHUNKED, Refused),
        post("TE: identity, chunked", b"Transfer-Encoding: identity, chunked", CHUNKED, Refused),
        post("TE: identity", b"Transfer-Encoding: identity", SMUGGLED, Refused),
        post("TE: gzip, chunked", b"Transfer-Encoding: gzip, chunked", CHUNKED, Refused),
        post("TE: gzip", b"Transfer-Encoding: gzip", SMUGGLED, Refused),
        post("TE: chunked, chunked", b"Transfer-Encoding: chunked, chunked", CHUNKED, Refused),
        post("TE with an empty member", b"Transfer-Encoding: ,chunked", HELLO, Either(POST)),
        post("TE with a parameter", b"Transfer-Encoding: chunked;q=1", CHUNKED, Refused),
        post("TE in quotes", b"Transfer-Encoding: \"chunked\"", CHUNKED, Refused),
        post("TE in single quotes", b"Transfer-Encoding: 'chunked'", CHUNKED, Refused),
        post("TE empty", b"Transfer-Encoding:", SMUGGLED, Refused),
        post("TE after a vertical tab", b"Transfer-Encoding: \x0bchunked", CHUNKED, Refused),
        post("TE after a form feed", b"Transfer-Encoding: \x0cchunked", CHUNKED, Refused),
        post("TE after a no-break space", b"Transfer-Encoding: \xa0chunked", CHUNKED, Refused),
        post("TE before a NUL", b"Transfer-Encoding: chunked\0", CHUNKED, Refused),
        post("TE folded", b"Transfer-Encoding:\r\n chunked", CHUNKED, Refused),
        post("TE folded in the middle", b"Transfer-Encoding: chun\r\n ked", CHUNKED, Refused),
        post(
            "TE twice: chunked and identity",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            CHUNKED,
            Refused,
        ),
        post(
            "TE twice: identity and chunked",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            CHUNKED,
            Refused,
        ),
        post(
            "TE twice: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            CHUNKED,
            Refused,
        ),
        post(
            "TE twice: x and chunked",
            b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            CHUNKED,
            Refused,
        ),
        post(
            "TE behind a bare LF",
            b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            HELLO_AND,
            Refused,
        ),
        post(
            "TE behind a bare CR",
            b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5",
            HELLO_AND,
            Refused,
        ),
        post(
            "TE with an underscore beside CL",
            b"Transfer_Encoding: chunked\r\nContent-Length: 5",
            "hello",
            hello,
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let hello = Forwarded(&[POST]);
    vec![
        post("CL after tabs and before spaces", b"Content-Length:\t 5  ", "hello", hello),
        post("CL with a request in the body", b"Content-Length: 35", SMUGGLED, Forwarded(&[SWALLOWED])),
        post(
            "CL and a pipelined request",
            b"Content-Length: 5",
            "helloGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            Forwarded(&[POST, GET]),
        ),
        post("CL twice, equal", b"Content-Length: 5\r\nContent-Length: 5", "hello", Either(POST)),
        post("CL twice, different", b"Content-Length: 5\r\nContent-Length: 40", HELLO_AND, Refused),
        post("CL twice, the second empty", b"Content-Length: 5\r\nContent-Length:", HELLO_AND, Refused),
        post("CL list, equal", b"Content-Length: 5, 5", "hello", Either(POST)),
        post("CL list, different", b"Content-Length: 5, 40", HELLO_AND, Refused),
        post("CL with an empty member", b"Content-Length: 5,", HELLO_AND, Refused),
        post("CL with plus", b"Content-Length: +5", HELLO_AND, Refused),
        post("CL negative", b"Content-Length: -5", HELLO_AND, Refused),
        post("CL hexadecimal", b"Content-Length: 0x5", HELLO_AND, Refused),
        post("CL with a letter", b"Content-Length: 5a", HELLO_AND, Refused),
        post("CL with a space inside", b"Content-Length: 5 5", HELLO_AND, Refused),
        post("CL with a fraction", b"Content-Length: 5.0", HELLO_AND, Refused),
        post("CL with an exponent", b"Content-Length: 5e0", HELLO_AND, Refused),
        post("CL with a separator", b"Content-Length: 1_0", HELLO_AND, Refused),
        post("CL in quotes", b"Content-Length: \"5\"", HELLO_AND, Refused),
        post("CL empty", b"Content-Length:", HELLO_AND, Refused),
        post("CL of two to the 64", b"Content-Length: 18446744073709551616", HELLO_AND, Refused),
        post("CL of two to the 64 and 5", b"Content-Length: 18446744073709551621", HELLO_AND, Refused),
        post(
            "CL of 40 digits",
            b"Content-Length: 9999999999999999999999999999999999999999",
            HELLO_AND,
            Refused,
        ),
        post("CL with leading zeros", b"Content-Length: 00000000000000000005", "hello", Either(POST)),
        post("CL in full-width digits", "Content-Length: \u{ff15}".as_bytes(), HELLO_AND, Refused),
        post("CL after a vertical tab", b"Content-Length: \x0b5", HELLO_AND, Refused),
        post("CL before a NUL", b"Content-Length: 5\0", HELLO_AND, Refused),
        post("CL before a colon with space", b"Content-Length : 5", HELLO_AND, Refused),
        post("CL folded", b"Content-Length:\r\n 5", HELLO_AND, Refused),
        post("CL folded in the middle", b"Content-Length: 5\r\n 0", HELLO_AND, Refused),
        raw(
            "GET with a body, then another",
            "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            Forwarded(&[GET_HELLO, GET]),
        ),
        raw(
            "GET with a chunked body, then another",
            format!(
                "GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{HELLO}GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
            ),
            Forwarded(&[GET_HELLO, GET]),
        ),
        raw(
            "a bad request after a good one",
            format!("GET /x HTTP/1.1\r\nHost: a\r\n\r\n{}", "\0"),
            Forwarded(&[GET]),
        ),
    ]
}

/// What is asked to be forgotten on the way is what says where the body ends, or a tunnel of another protocol.
fn connection_options() -> Vec<Case> {
    vec![
        post(
            "Connection: content-length",
            b"Connection: content-length\r\nContent-Length: 5",
            "hello",
            Either(POST),
        ),
        post(
            "Connection: transfer-encoding",
            b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
            HELLO,
            Either(POST),
        ),
        post("Connection: host", b"Connection: host\r\nContent-Length: 5", "hello", Either(POST)),
        post(
            "Connection: close, content-length, te",
            b"Connection: close, content-length, te\r\nContent-Length: 5",
            "hello",
            Either(POST),
        ),
        post(
            "TE: chunked named by Connection",
            b"Connection: te\r\nTE: chunked, trailers\r\nContent-Length: 5",
            "hello",
            Forwarded(&[POST]),
        ),
        raw(
            "h2c upgrade",
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            Either(GET),
        ),
        raw(
            "h2c upgrade without Connection",
            "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            Either(GET),
        ),
        raw(
            "h2c beside websocket",
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            Either(GET),
        ),
        raw(
            "an upgrade that is refused, then a request",
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            Forwarded(&[GET, GET]),
        ),
        post(
            "an upgrade with a body",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5",
            "hello",
            Either(POST),
        ),
        post("Expect of something else", b"Expect: 200-ok\r\nContent-Length: 5", "hello", Either(POST)),
    ]
}

const SWALLOWED: Expected = Expected { method: "POST", target: "/x", host: "a", body: SMUGGLED };

const GET_HELLO: Expected = Expected { method: "GET", target: "/x", host: "a", body: "hello" };
