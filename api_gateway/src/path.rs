//! Paths that two readers could understand in two ways.

/// Tells whether a path has a dot segment, plain or percent-encoded.
///
/// Routes guard by prefix. A backend that resolves `/public/../private` would open what the gateway closed,
/// so such a path is refused rather than resolved here (RFC 3986 §5.2.4 leaves it to whoever is first).
pub(crate) fn has_dot_segment(path: &str) -> bool {
    let bytes = path.as_bytes();
    // Nearly every path has neither; one pass settles it.
    if !bytes.iter().any(|byte| matches!(byte, b'.' | b'%')) {
        return false;
    }
    let (mut dots, mut others, mut at) = (0, 0, 0);
    while at < bytes.len() {
        let (byte, length) = decode(&bytes[at..]);
        match byte {
            b'/' | b'\\' => {
                if others == 0 && (dots == 1 || dots == 2) {
                    return true;
                }
                (dots, others) = (0, 0);
            }
            b'.' => dots += 1,
            // Some servers cut parameters off a segment before they resolve it.
            b';' if others == 0 && (dots == 1 || dots == 2) => return true,
            _ => others += 1,
        }
        at += length;
    }
    others == 0 && (dots == 1 || dots == 2)
}

/// Decodes the first byte and tells how long it was written.
fn decode(bytes: &[u8]) -> (u8, usize) {
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    match (bytes[0], digit(1), digit(2)) {
        (b'%', Some(high), Some(low)) => ((high * 16 + low) as u8, 3),
        (byte, ..) => (byte, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_segment_is_seen_however_it_is_written() {
        for path in [
            "/a/../b",
            "/a/./b",
            "/..",
            "/.",
            "/a/..",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/..%2fb",
            "/a/..%5Cb",
            "/a/..\\b",
            "/a/..;x=1/b",
            "/a%2f..%2fb",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn dots_within_names_are_fine() {
        for path in [
            "/",
            "/a/b",
            "/a.b",
            "/.well-known/jwks.json",
            "/a/...",
            "/a/..b",
            "/a/%2e%2eb",
            "/a%",
            "/a%2",
            "/100%25",
            "/jobs/1:cancel",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}
