//! Requests that two parsers could read in two ways, or that are none: what becomes of each.

use super::rehearsal::{Rehearsed, rehearse};

/// A request's bytes, and the status it is refused with.
const REFUSED: &[(&str, u16)] = &[
    // Lengths and codings.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5e0\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nabcde", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00000000000000000005\r\n\r\nabcde", 400),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\nX: y\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    // Chunks.
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n", 400),
    // Round in circles.
    (
        "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 sixfold, 1.1 sixfold, 2 sixfold, 1.1 fred\r\n\
         Via: 1.1 sixfold, 1.1 sixfold, 1.1 sixfold, 1.1 sixfold\r\nvia: 1.0 sixfold\r\n\r\n",
        508,
    ),
    // Lines and fields.
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tfolded\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n\u{e4}: b\r\n\r\n", 400),
    // Hosts.
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // Request lines.
    ("GET /\r\n", 400),
    ("GET / \r\n\r\n", 400),
    ("GET\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("G{T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    ("\x16\x03\x01\x02", 400),
];

#[test]
fn what_is_ambiguous_is_refused_whole_and_byte_by_byte() {
    assert!(REFUSED.len() >= 60);
    for (request, status) in REFUSED {
        let bytes = request.as_bytes();
        assert_eq!(rehearse(&[bytes]), [Rehearsed::Refused(*status)], "{}", bytes.escape_ascii());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let refused = match &rehearse(&single)[..] {
            [Rehearsed::Refused(also)] => also == status,
            // The head went on before the fault in the body was there; the rest never follows.
            [Rehearsed::Forwarded { is_whole: false, .. }] => bytes.starts_with(b"POST"),
            _ => false,
        };
        assert!(refused, "byte by byte: {}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let field = |size: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size));
    let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    let target = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(size));
    let method = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(33));
    for (request, status) in
        [(field(4100), 431), (many(100), 431), (target(1024), 414), (target(5000), 414), (method, 400)]
    {
        assert_eq!(rehearse(&[request.as_bytes()]), [Rehearsed::Refused(status)]);
        let pieces: Vec<&[u8]> = request.as_bytes().chunks(7).collect();
        assert_eq!(rehearse(&pieces), [Rehearsed::Refused(status)]);
    }
    for request in [field(1000), many(99), target(1023)] {
        assert!(matches!(&rehearse(&[request.as_bytes()])[..], [Rehearsed::Forwarded { .. }]));
    }
}

/// Requests a backend gets, with the beginning and the end of what it gets.
const FORWARDED: &[(&str, &str, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ", ""),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n", ""),
    ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: 127.0.0.1:3\r\n", ""),
    ("GET http://a/b?c HTTP/1.1\r\nHost: A\r\n\r\n", "GET /b?c HTTP/1.1\r\nHost: A\r\n", ""),
    ("GET http://a HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", ""),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\n", ""),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 sixfold, 1.1 sixfold\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 sixfold, 1.1 sixfold\r\nX-Forwarded-For",
        "",
    ),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n", ""),
    ("PROPFIND /a|b HTTP/1.1\r\nHost: a\r\n\r\n", "PROPFIND /a|b HTTP/1.1\r\n", ""),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n",
        "\r\n\r\nabc",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ChunkeD \r\n\r\n01;a\r\nb\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
        "\r\n\r\n1\r\nb\r\n0\r\n\r\n",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host, content-length\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n",
        "\r\n\r\nx",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For",
        "",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
        "",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: te\r\nTE: trailers\r\n",
        "",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: x\r\nForwarded: for=1\r\ntraceparent: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For",
        "",
    ),
];

#[test]
fn what_is_clear_is_forwarded_as_one_request() {
    for (request, start, end) in FORWARDED {
        for pieces in [vec![request.as_bytes()], request.as_bytes().chunks(1).collect()] {
            let rehearsed = rehearse(&pieces);
            let [Rehearsed::Forwarded { bytes, is_whole: true, .. }] = &rehearsed[..] else {
                panic!("{}: {rehearsed:?}", request.escape_debug());
            };
            let text = String::from_utf8_lossy(bytes);
            assert!(text.starts_with(start), "{}: {}", request.escape_debug(), text.escape_debug());
            assert!(text.ends_with(end), "{}: {}", request.escape_debug(), text.escape_debug());
        }
    }
}

#[test]
fn what_follows_a_request_is_the_next() {
    let all = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nPOST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nyzGET /4 HTTP/1.1\r\nHost: a\r\n\r\n";
    for size in [1, 2, 3, 7, 50, 1000] {
        let pieces: Vec<&[u8]> = all.as_bytes().chunks(size).collect();
        let targets: Vec<String> = rehearse(&pieces)
            .iter()
            .map(|one| match one {
                Rehearsed::Forwarded { bytes, body, is_whole: true } => {
                    let line = String::from_utf8_lossy(bytes);
                    let target = line.split(' ').nth(1).unwrap().to_owned();
                    target + &String::from_utf8_lossy(body)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(targets, ["/1", "/2x", "/3yz", "/4"], "in pieces of {size}");
    }
}
