//! What a request is for: its target and its host (RFC 9112 §3.2).

use std::ops::Range;

use super::refusal::Refusal;
use crate::host::is_host;

/// A target as a backend gets it, in origin form or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wire) enum Target {
    /// This part of the target as it was received.
    Within(Range<usize>),
    /// What the part became, where it lacked its first slash.
    Rewritten(Box<[u8]>),
}

/// Brings a target into origin form; gives with it the place of the authority an absolute one names.
pub(in crate::wire) fn resolve(
    target: &[u8],
    method: &[u8],
) -> Result<(Target, Option<Range<usize>>), Refusal> {
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
}
