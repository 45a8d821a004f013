//! What a body says it is (RFC 9110 §8.3.1).

use http::{HeaderMap, header};

/// Gives the type and subtype a request or an answer names for its body, without parameters; nothing if it names none, and
/// an empty text if what it names cannot be read. Compare it without regard to case.
pub fn media_type(fields: &HeaderMap) -> Option<&str> {
    let value = fields.get(header::CONTENT_TYPE)?.to_str().unwrap_or_default();
    Some(value.split(';').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    #[test]
    fn parameters_are_no_part_of_a_media_type() {
        let mut fields = HeaderMap::new();
        assert_eq!(media_type(&fields), None);
        for (value, read) in [
            (&b"Application/JSON ; charset=utf-8"[..], "Application/JSON"),
            (b"text/plain", "text/plain"),
            (b"", ""),
            (b"text/\xff", ""),
        ] {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_bytes(value).unwrap());
            assert_eq!(media_type(&fields), Some(read));
        }
    }
}
