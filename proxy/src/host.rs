//! What a request may name as its host, in either lane (RFC 9112 §3.2, RFC 9110 §7.2).

use http::uri::Authority;

/// Tells whether a text is a host with or without a port; an empty one is what a client sends whose target has
/// none.
pub(crate) fn is_host(text: &[u8]) -> bool {
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
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in
            ["", "a", "a.example:80", "a:", "127.0.0.1:1", "[::1]", "[::1]:80", "a_b.example", "a~b:8"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b/@", "a b", "a/b", "user@a", "a@", "@", "a:b", "a:80:80", ":80", "[::1", "[::1]x", "a,b",
            "a,b/", "a?b", "a#b", "\u{e4}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
