//! Patterns of `SCAN … MATCH`: `*`, `?`, `[abc]`, `[^a]`, `[a-c]` and `\` before a character.

/// Tells whether a key matches a pattern.
///
/// Only the last `*` is ever gone back to, so the time is at most the product of both lengths.
pub(super) fn matches(pattern: &[u8], key: &[u8]) -> bool {
    let (mut p, mut k) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while k < key.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, k));
        } else if let Some(length) = match_one(&pattern[p..], key[k]) {
            p += length;
            k += 1;
        } else if let Some((after, from)) = star {
            (p, k) = (after, from + 1);
            star = Some((after, k));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Gives the length of the pattern's first element if it matches a byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ..] => match_class(pattern, byte),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

fn match_class(pattern: &[u8], byte: u8) -> Option<usize> {
    let is_negated = pattern.get(1) == Some(&b'^');
    let mut place = if is_negated { 2 } else { 1 };
    let mut found = false;
    loop {
        place += match &pattern[place.min(pattern.len())..] {
            // Not closed: what there is counts, as in Redis.
            [] => break,
            [b']', ..] => {
                place += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                2
            }
            [first, b'-', last, ..] if *last != b']' => {
                found |= (*first.min(last)..=*first.max(last)).contains(&byte);
                3
            }
            [literal, ..] => {
                found |= *literal == byte;
                1
            }
        };
    }
    (found != is_negated).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases = [
            ("*", "", true),
            ("product:*", "product:1", true),
            ("product:*", "order:1", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("[", "a", false),
            ("a", "ab", false),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), key.as_bytes()), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches("*a".repeat(200).as_bytes(), "a".repeat(199).as_bytes()));
        assert!(!matches(format!("{}b", "*a".repeat(50)).as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
