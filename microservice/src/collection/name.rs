//! What can name a record, and what is answered where something cannot.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use database::limits::ID_LIMIT;
use http::Method;
use process::Problem;
use process::problem::kinds;

/// Where the changes are followed; no record has this name.
pub(super) const CHANGES: &str = "changes";

/// What can name a record, in words for who sent something else.
pub(super) const NAME_RULE: &str =
    "a record's name is 1 to 255 ASCII letters, digits, `.`, `_`, `~` or `-`, and not `.`, `..` or `changes`";

/// Gives the record a path names; what cannot name one names nothing, but who would write there is told why.
pub(super) fn read_name(id: Result<Path<String>, PathRejection>, method: &Method) -> Result<String, Problem> {
    match id {
        Ok(Path(id)) if is_record_name(&id) => Ok(id),
        _ if method == Method::PUT => Err(Problem::new(kinds::INVALID_BODY).detail(NAME_RULE)),
        _ => Err(Problem::new(kinds::NOT_FOUND)),
    }
}

/// Tells whether a path segment can name a record; anything else names nothing. `.` and `..` would be taken out of the path on
/// its way (RFC 3986 §5.2.4).
pub(crate) fn is_record_name(id: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (1..=ID_LIMIT).contains(&id.len()) && id.bytes().all(is_unreserved) && !matches!(id, CHANGES | "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_in_words_is_the_one_that_holds() {
        assert!(NAME_RULE.contains(&format!("1 to {ID_LIMIT} ")));
        let most = "x".repeat(ID_LIMIT);
        for name in ["a", "A.b_c~d-9", "...", "-", "change", most.as_str()] {
            assert!(is_record_name(name), "{name}");
        }
        let long = "x".repeat(ID_LIMIT + 1);
        for name in ["", ".", "..", "changes", "\u{fc}", "a b", "a:b", "a+b", "a/b", "a%b", long.as_str()] {
            assert!(!is_record_name(name), "{name}");
        }
    }
}
