//! What holds of the request path for any bytes in any pieces.

use proptest::prelude::*;

use super::rehearsal::{Rehearsed, rehearse};

/// Pieces of requests, good and bad, that random requests are put together from.
const PARTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.1\r\n",
    "GET http://a/ HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close, x-a\r\n",
    "Connection: upgrade\r\nUpgrade: b\r\n",
    "X-A: b\r\n",
    "X-Forwarded-For: 9.9.9.9\r\n",
    "TE: trailers\r\n",
    "\r\n",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\nT: 1\r\n\r\n",
    " ",
    "\n",
    "\r",
    ":",
    "\0",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => prop::sample::select(PARTS).prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ];
    // Most begin well, or hardly any would come far.
    let start = prop_oneof![
        Just(b"".to_vec()),
        Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n".to_vec()),
    ];
    (start, prop::collection::vec(part, 0..12)).prop_map(|(start, parts)| [start, parts.concat()].concat())
}

/// A whole request that a backend would get reads back as itself: one request, with one end.
fn check_once_more(bytes: &[u8], body: &[u8]) {
    let again = rehearse(&[bytes]);
    let [Rehearsed::Forwarded { bytes: second, body: same, is_whole: true }] = &again[..] else {
        panic!("{} became {again:?}", bytes.escape_ascii());
    };
    assert_eq!(same, body);
    let values = |name: &str, of: &[u8]| {
        let text = String::from_utf8_lossy(of).to_ascii_lowercase();
        text.split("\r\n\r\n").next().unwrap_or_default().matches(&format!("\r\n{name}:")).count()
    };
    for of in [bytes, second] {
        assert_eq!(values("host", of), 1);
        assert!(values("content-length", of) + values("transfer-encoding", of) <= 1);
        assert_eq!(values("x-forwarded-for", of), 1, "{}", of.escape_ascii());
    }
}

proptest! {
    #[test]
    fn what_is_forwarded_is_one_request_with_one_end(
        bytes in bytes(),
        size in 1usize..40,
    ) {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        for one in rehearse(&pieces) {
            match one {
                Rehearsed::Refused(status) => prop_assert!((400..=505).contains(&status)),
                Rehearsed::Forwarded { bytes, body, is_whole: true } => check_once_more(&bytes, &body),
                Rehearsed::Forwarded { .. } => {}
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..40) {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        rehearse(&pieces);
    }
}
