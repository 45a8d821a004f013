//! Whatever request of HTTP/1 goes to a backend of HTTP/2 arrives there as what another parser (httparse) reads in it, with
//! nothing that HTTP/2 forbids (RFC 9113 §8.2.2, §8.3.1).

#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::wire::rehearsal::rehearse_call;

/// Fields of one connection, which no message of HTTP/2 has; and `Host`, whose place `:authority` takes.
const FORBIDDEN: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings", "host"];

fuzz_target!(|input: &[u8]| {
    let Some(message) = rehearse_call(input) else { return };
    let start = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).expect("a request");
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(&input[start..]).expect("another parser reads it");
    assert!(parsed.is_complete());
    assert_eq!(message.method().as_str(), request.method.expect("a method"));
    let target = request.path.expect("a target");
    let path = message.uri().path_and_query().expect("a path").as_str();
    // In absolute form, whose path may be empty, or in origin form.
    let is_absolute = target.contains("://");
    let without_slash = path.strip_prefix('/').unwrap_or(path);
    let is_same = target == path || is_absolute && (target.ends_with(path) || target.ends_with(without_slash));
    assert!(is_same, "{target} {path}");
    let hosts: Vec<&[u8]> = values(&request, "host");
    assert!(hosts.len() <= 1);
    let authority = message.uri().authority().expect("an authority").as_str();
    assert!(is_absolute || hosts.is_empty() || hosts[0].is_empty() || hosts[0] == authority.as_bytes());
    let told = message.headers();
    for name in FORBIDDEN {
        assert!(!told.contains_key(name), "{name}");
    }
    assert!(told.get_all("te").iter().all(|value| value == "trailers"));
    let lengths: Vec<_> = told.get_all("content-length").iter().collect();
    assert!(lengths.len() <= 1);
    assert_eq!(lengths.first().map(|value| value.as_bytes()), values(&request, "content-length").first().copied());
    let asked: Vec<_> = told.get_all("x-forwarded-for").iter().collect();
    assert_eq!(asked, ["127.0.0.1"]);
    assert_eq!(told.get_all("traceparent").iter().count(), 1);
    // What ends nowhere is told as it came.
    for (name, value) in told.iter().filter(|(name, _)| name.as_str().starts_with("x-a")) {
        assert!(values(&request, name.as_str()).contains(&value.as_bytes()), "{name}");
    }
});

fn values<'h>(request: &httparse::Request<'_, 'h>, name: &str) -> Vec<&'h [u8]> {
    let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| field.value).collect()
}
