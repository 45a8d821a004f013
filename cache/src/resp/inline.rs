//! Inline commands: a line of words, as a person types them into telnet.

use std::ops::Range;

/// Splits a line into words with Redis' quoting rules; `None` when a quote is not closed.
///
/// In double quotes `\n`, `\r`, `\t`, `\a`, `\b`, `\xHH` and escaped characters are known; in single quotes
/// only `\'`. A closing quote ends its word.
pub(super) fn split(line: &[u8], words: &mut Vec<u8>, ranges: &mut Vec<Range<usize>>) -> Option<()> {
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        let start = words.len();
        rest = take_word(rest, words)?;
        ranges.push(start..words.len());
        rest = rest.trim_ascii_start();
    }
    Some(())
}

fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return Some(rest),
            [space, ..] if space.is_ascii_whitespace() => return Some(rest),
            [quote @ (b'"' | b'\''), inner @ ..] => {
                let after = take_quoted(inner, *quote, word)?;
                let ends = after.first().is_none_or(u8::is_ascii_whitespace);
                return ends.then_some(after);
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

fn take_quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [byte, after @ ..] if *byte == quote => return Some(after),
            [b'\\', b'\'', after @ ..] if quote == b'\'' => (b'\'', after),
            [b'\\', b'x', high, low, after @ ..] if quote == b'"' && hex(*high, *low).is_some() => {
                (hex(*high, *low)?, after)
            }
            [b'\\', escaped, after @ ..] if quote == b'"' => (unescape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        split(line.as_bytes(), &mut bytes, &mut ranges)?;
        Some(ranges.into_iter().map(|range| String::from_utf8_lossy(&bytes[range]).into_owned()).collect())
    }

    #[test]
    fn a_line_is_split_as_redis_splits_it() {
        assert_eq!(words("  set  a b\r").unwrap(), ["set", "a", "b"]);
        assert_eq!(words(r#"set "a b" 'c\'d' "\x41\n""#).unwrap(), ["set", "a b", "c'd", "A\n"]);
        assert_eq!(words(r#"set "" ''"#).unwrap(), ["set", "", ""]);
        assert_eq!(words(r#"set "a"b"#), None);
        assert_eq!(words("set 'a"), None);
    }
}
