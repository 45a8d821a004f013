//! What a request is for: its target and its host (RFC 9112 §3.2).

use std::ops::Range;

use http::uri::Authority;

use super::refusal::Refusal;

/// A target as a backend gets it, in origin form or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// This part of the target as it was received.
    Within(Range<usize>),
    /// What the part became, where it lacked its first slash.
    Rewritten(Box<[u8]>),
}

/// Brings a target into origin form; gives with it the place of the authority an absolute one names.
pub(super) fn resolve(target: &[u8], method: &[u8]) -> Result<(Target, Option<Range<usize>>), Refusal> {
    match target {
        [b'/', ..] => return Ok((Target::Within(0..target.len()), None)),
        b"*" if method == b"OPTIONS" => return Ok((Target::Within(0..1), None)),
        _ => {}
    }
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    let is_of = |scheme: &&[u8]| target.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    let Some(start) = schemes.into_iter().find(is_of).map(<[u8]>::len) else { return Err(Refusal::Target) };
    let rest = &target[start..];
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    if length == 0 || !is_host(&rest[..length]) {
        return Err(Refusal::Target);
    }
    let end = start + length;
    let resolved = match rest.get(length) {
        Some(b'/') => Target::Within(end..target.len()),
        // RFC 9112 §3.2.4: the client could not send the asterisk otherwise.
        None if method == b"OPTIONS" => Target::Rewritten(b"*".as_slice().into()),
        _ => Target::Rewritten([b"/", &target[end..]].concat().into()),
    };
    Ok((resolved, Some(start..end)))
}

/// Tells whether a text is a host with or without a port; an empty one is what a client sends whose target has
/// none.
pub(super) fn is_host(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    // Nearly every host is a plain name; parsing would allocate for every request.
    let rest = text.iter().position(|byte| !is_plain(byte)).map_or(&[][..], |end| &text[end..]);
    if is_port(rest) {
        return rest.len() < text.len() || text.is_empty();
    }
    let Ok(authority) = Authority::try_from(text) else { return false };
    // A name may have a comma (RFC 3986 §3.2.2), but none does, and two fields that somebody joined look like that.
    let is_one_host = !text.contains(&b'@') && !text.contains(&b',');
    is_one_host && text.strip_prefix(authority.host().as_bytes()).is_some_and(is_port)
}

/// Tells whether this is what may follow a host.
fn is_port(rest: &[u8]) -> bool {
    match rest.split_first() {
        None => true,
        Some((first, digits)) => *first == b':' && digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_comes_into_origin_form() {
        let resolved = |target: &str, method: &str| {
            let (resolved, authority) = resolve(target.as_bytes(), method.as_bytes())?;
            let path = match resolved {
                Target::Within(range) => target[range].to_owned(),
                Target::Rewritten(path) => String::from_utf8_lossy(&path).into_owned(),
            };
            Ok((path, authority.map(|range| target[range].to_owned())))
        };
        let with = |path: &str, authority: &str| Ok((path.to_owned(), Some(authority.to_owned())));
        assert_eq!(resolved("/a?b", "GET"), Ok(("/a?b".to_owned(), None)));
        assert_eq!(resolved("*", "OPTIONS"), Ok(("*".to_owned(), None)));
        assert_eq!(resolved("HTTP://a:80/b?c", "GET"), with("/b?c", "a:80"));
        assert_eq!(resolved("https://a", "GET"), with("/", "a"));
        assert_eq!(resolved("http://a?b", "GET"), with("/?b", "a"));
        assert_eq!(resolved("http://a", "OPTIONS"), with("*", "a"));
        for target in ["*", "a", "a:80", "ftp://a/", "http:/a", "http://", "http:///a", "http://u@a/", "?a"] {
            assert_eq!(resolved(target, "GET"), Err(Refusal::Target), "{target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in ["", "a", "a.example:80", "a:", "127.0.0.1:1", "[::1]", "[::1]:80", "a_b.example"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in
            ["a b", "a/b", "user@a", "@", "a:b", "a:80:80", ":80", "[::1", "a,b", "a,b/", "a?b", "a#b"]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
