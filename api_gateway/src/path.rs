//! Paths that two readers could understand in two ways.

use std::borrow::Cow;

/// Ways of reading a path that differ from server to server; [`read`] goes them all or some.
const CUT: u8 = 1;
const SPLIT: u8 = 2;
const DECODE: u8 = 4;
const MERGE: u8 = 8;
const ALL: u8 = CUT | SPLIT | DECODE | MERGE;

/// Brings a path into the one form in which routes are found (RFC 3986 §6.2.2): unreserved characters plain, all
/// others escaped in capitals as far as they are. `None` if a `%` begins no escape: what it means is anyone's guess.
pub(crate) fn normalise(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (byte, 3) = decode(&rest.as_bytes()[at..]) else { return None };
        normal.push_str(&rest[..at]);
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            normal.extend(rest[at..at + 3].chars().map(|digit| digit.to_ascii_uppercase()));
        }
        rest = &rest[at + 3..];
    }
    normal.push_str(rest);
    Some(Cow::Owned(normal))
}

/// Gives what else a normal path is to some servers: those that cut parameters off segments, take `%2F` or `\` for a
/// slash, decode reserved characters, or leave empty segments out, in all combinations.
pub(crate) fn readings(path: &str) -> impl Iterator<Item = String> {
    let present = |way, is_present| if is_present { way } else { 0 };
    let ends_in_slash = path.len() > 1 && path.ends_with('/');
    let ways = present(CUT, path.contains(';'))
        | present(SPLIT, path.contains('\\') || path.contains("%2F") || path.contains("%5C"))
        | present(DECODE, path.contains('%'))
        | present(MERGE, ends_in_slash || path.contains("//"));
    // Either may leave a segment empty that was not.
    let ways = ways | present(MERGE, ways & (CUT | SPLIT) != 0);
    (1..=ALL).filter(move |some| some & !ways == 0).map(move |some| read(path, some))
}

fn read(path: &str, ways: u8) -> String {
    let goes = |way| ways & way != 0;
    let (mut seen, mut is_cut, mut at) = (String::with_capacity(path.len()), false, 0);
    while at < path.len() {
        let rest = &path.as_bytes()[at..];
        let (byte, length) = decode(rest);
        is_cut = rest[0] != b'/' && (is_cut || (goes(CUT) && rest[0] == b';'));
        let is_slash = matches!(byte, b'/' | b'\\');
        if rest[0] == b'/' || (is_slash && goes(SPLIT) && !is_cut) {
            if !(goes(MERGE) && seen.ends_with('/')) {
                seen.push('/');
            }
        } else if !is_cut && (length == 1 || (goes(DECODE) && !is_slash && byte.is_ascii())) {
            seen.push(char::from(byte));
        } else if !is_cut {
            seen.push_str(&path[at..at + length]);
        }
        at += length;
    }
    if goes(MERGE) && seen.len() > 1 && seen.ends_with('/') {
        seen.pop();
    }
    seen
}

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
    fn unreserved_characters_are_plain_and_other_escapes_in_capitals() {
        for (path, normal) in [
            ("/a/b", "/a/b"),
            ("/%61/%7e%2D%5f", "/a/~-_"),
            ("/%2f%C3%a9%20b%25", "/%2F%C3%A9%20b%25"),
            ("/%2561", "/%2561"),
        ] {
            assert_eq!(normalise(path).as_deref(), Some(normal), "{path}");
        }
        assert!(matches!(normalise("/a//b"), Some(Cow::Borrowed(_))));
        for path in ["/a%", "/a%6", "/%%361", "/%zz", "/%+1", "/%\u{e9}"] {
            assert_eq!(normalise(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_has_as_many_readings_as_it_has_oddities() {
        let of = |path| readings(path).collect::<Vec<_>>();
        assert_eq!(of("/a/b.c:d"), [""; 0]);
        assert_eq!(of("/a//b/"), ["/a/b"]);
        assert_eq!(of("/a%3Ab%C3%A9"), ["/a:b%C3%A9"]);
        let odd = of("/a;x%2F//b%2Fc%40/");
        assert_eq!(odd.len(), 15);
        for reading in
            ["/a//b%2Fc%40/", "/a/b/c@", "/a;x/b/c%40", "/a;x///b/c%40/", "/a;x%2F//b%2Fc@/", "/a/b%2Fc@"]
        {
            assert!(odd.iter().any(|one| one == reading), "{reading}: {odd:?}");
        }
        assert!(of("/a\\b").contains(&"/a/b".to_owned()));
        assert!(of("/;x/a").contains(&"/a".to_owned()));
        assert_eq!(of("/\u{e9}").len(), 0);
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
