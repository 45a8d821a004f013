//! The cursor of a listing: where the next page starts, as a text clients pass back and do not read.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The first byte of every cursor, so that a later form can be told apart.
const FORM: u8 = 1;

/// Writes the cursor of the page that starts after a record.
pub(crate) fn encode(after: &str) -> String {
    let mut bytes = Vec::with_capacity(1 + after.len());
    bytes.push(FORM);
    bytes.extend_from_slice(after.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor; `None` for anything [`encode`] did not write.
pub(crate) fn decode(cursor: &str) -> Option<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (form, after) = bytes.split_first()?;
    (*form == FORM).then(|| String::from_utf8(after.to_vec()).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_written_and_fits_a_query(after in ".*") {
            let cursor = encode(&after);
            prop_assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(decode(&cursor), Some(after));
        }

        #[test]
        fn what_is_no_cursor_is_refused_or_at_least_no_panic(text in ".*") {
            if let Some(after) = decode(&text) {
                prop_assert_eq!(encode(&after), text);
            }
        }
    }

    #[test]
    fn another_form_of_cursor_is_refused() {
        assert_eq!(decode(&BASE64_URL_SAFE_NO_PAD.encode([2, b'a'])), None);
        assert_eq!(decode(""), None);
    }
}
