//! Whatever head a backend of HTTP/2 answers with is refused, or reaches a client of HTTP/1 as one head whose end and whose
//! body's end cannot be read in two ways.

#![no_main]

use http::{HeaderName, HeaderValue, Response, Version};
use libfuzzer_sys::fuzz_target;
use proxy::wire::rehearsal::rehearse_reply;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    // What was asked and whether the stream ended; then the status and the fields, a line each.
    let Some((first, rest)) = input.split_first() else { return };
    // h2 tells interim responses apart.
    let Some(message) = read(rest).filter(|message| message.status().as_u16() >= 200) else { return };
    let (is_head, has_ended) = (first & 1 == 1, first & 2 == 2);
    let Some(bytes) = rehearse_reply(if is_head { HEAD } else { GET }, &message, has_ended) else { return };
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(&bytes).expect("another parser reads it");
    assert_eq!(parsed, httparse::Status::Complete(bytes.len()), "it has one end");
    assert_eq!(response.code, Some(message.status().as_u16()));
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(bytes[at - 1], b'\r', "a bare LF"),
            b'\r' => assert_eq!(bytes[at + 1], b'\n', "a bare CR"),
            0 => panic!("a NUL"),
            _ => {}
        }
    }
    let count = |name: &str| response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths + codings <= 1, "two ways to find the end");
    let status = message.status().as_u16();
    let may_have_body = !is_head && !matches!(status, 204 | 304);
    // Without either a client would wait for the connection's end.
    assert!(!may_have_body || has_ended || lengths + codings == 1);
    assert!(codings == 0 || (may_have_body && !has_ended));
    assert_eq!(count("connection") + count("keep-alive") + count("upgrade") + count("proxy-connection"), 0);
});

/// Makes a head of parts that the http crate takes.
fn read(bytes: &[u8]) -> Option<Response<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut response = Response::builder().version(Version::HTTP_2).status(lines.next()?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon]).ok()?;
        response = response.header(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    response.body(()).ok()
}
