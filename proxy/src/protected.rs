//! Field names that `Connection` must not be able to take from a message (RFC 9110 §7.6.1), although it names them.
//!
//! A client could otherwise have removed the framing of its message, what a trusted proxy told of it, or what others
//! rely on.

use crate::imitation::PREFIXES;

/// Such names, in lower case; those that begin like a proxy's account of a client, or like ours, are beside them.
const PROTECTED: [&[u8]; 11] = [
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"authorization",
    b"cookie",
    b"cache-control",
    b"via",
    b"forwarded",
    b"x-real-ip",
    b"traceparent",
];

/// Tells whether a field stays although `Connection` names it; the name in any case.
pub(crate) fn is_protected(name: &[u8]) -> bool {
    let begins_with = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
    };
    PROTECTED.iter().any(|known| name.eq_ignore_ascii_case(known))
        || PREFIXES.iter().any(|prefix| begins_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_a_message_or_tells_who_asked_is_protected_in_any_case() {
        for name in [
            "Host",
            "Transfer-Encoding",
            "VIA",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-Forwarded-Host",
            "Forwarded",
            "X-Real-IP",
            "traceparent",
            "Sixfold-Subject",
        ] {
            assert!(is_protected(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn all_else_may_end_with_its_connection() {
        for name in ["X-Secret", "Keep-Alive", "X-Forwarde", "Sixfold", "Forwarded-By", ""] {
            assert!(!is_protected(name.as_bytes()), "{name}");
        }
    }
}
