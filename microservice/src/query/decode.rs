//! Percent-encoding in a query, as forms send it: `+` is a space.

/// Decodes a name or a value; `None` where an escape or the text is malformed.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_malformed_ones_refused() {
        assert_eq!(decode("a%20b+c%C3%A4"), Some("a b cä".into()));
        for text in ["%", "%2", "%zz", "%ff", "a%"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
