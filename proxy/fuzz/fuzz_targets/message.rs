//! Whatever message an HTTP/2 client sends is refused, or reaches the backend as one request of HTTP/1 that cannot be
//! read in two ways.
//!
//! Fields that h2 itself refuses, such as those of one connection, are sent here too: nothing may rest on h2 alone.

#![no_main]

mod check;

use check::check;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use libfuzzer_sys::fuzz_target;
use proxy::wire::rehearsal::{Rehearsed, rehearse_http2};

fuzz_target!(|input: &[u8]| {
    // Whether data follows; then method, authority and path, fields, an empty line and the data, a line each.
    let Some((first, rest)) = input.split_first() else { return };
    let (head, data) = match rest.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&rest[..end], &rest[end + 2..]),
        None => (rest, &[][..]),
    };
    let Some(parts) = read(head) else { return };
    match rehearse_http2(&parts, (first % 2 == 1).then_some(data)) {
        Rehearsed::Refused(status) => assert!((400..=508).contains(&status)),
        Rehearsed::Forwarded { bytes, body, is_whole: true } => {
            check(&bytes, &body);
            assert!(data.starts_with(&body));
        }
        // h2 refuses data of another length than the head tells.
        Rehearsed::Forwarded { .. } => {}
    }
});

/// Makes a head as h2 does, of parts that the http crate takes.
fn read(head: &[u8]) -> Option<http::request::Parts> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let method = Method::from_bytes(lines.next()?).ok()?;
    let mut uri = Uri::builder();
    let (authority, path) = (lines.next()?, lines.next()?);
    if !authority.is_empty() {
        uri = uri.scheme("http").authority(authority);
    }
    let uri = uri.path_and_query(path).build().ok()?;
    let mut request = Request::builder().version(Version::HTTP_2).method(method).uri(uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon]).ok()?;
        request = request.header(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0)
}
