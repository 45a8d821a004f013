//! Which fields may come after a body (RFC 9110 §6.5.1).

use crate::imitation::imitates;
use crate::wire::head::fields::{self, Known};

/// Fields that frame, route, authenticate, or change how a message is understood; whoever reads them only
/// after the body reads them too late, and whoever merges them into the head is deceived.
const FORBIDDEN: [&[u8]; 29] = [
    b"trailer",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"content-location",
    b"content-disposition",
    b"cache-control",
    b"pragma",
    b"expires",
    b"age",
    b"date",
    b"vary",
    b"location",
    b"retry-after",
    b"warning",
    b"authorization",
    b"proxy-authenticate",
    b"www-authenticate",
    b"cookie",
    b"set-cookie",
    b"max-forwards",
    b"range",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
    b"if-range",
    b"via",
    b"allow",
];

/// Tells whether a trailer line goes on.
pub(in crate::wire) fn may_pass(line: &[u8]) -> bool {
    matches!(fields::parse_line(line, 0), Ok(Some(span)) if is_permitted(span.name(line)))
}

/// What all names of ours begin with. In a head they end here, or are believed.
const OURS: &[u8] = b"sixfold-";

/// Tells whether a field of this name may be a trailer.
pub(in crate::wire) fn is_permitted(name: &[u8]) -> bool {
    let is_ours = name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS));
    Known::of(name) == Known::Other
        && !is_ours
        && !imitates(name)
        && !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_must_say_cannot_be_said_afterwards() {
        assert!(may_pass(b"Grpc-Status: 0\r\n"));
        assert!(may_pass(b"ETag: \"a\"\r\n"));
        for line in
            ["Content-Length: 1", "Host: a", "set-cookie: a", "X-Forwarded-For: 1", "X_Forwarded_For: 1"]
        {
            assert!(!may_pass(format!("{line}\r\n").as_bytes()), "{line}");
        }
        for line in ["Sixfold-Load: 1", "sixfold-explain: a", "SIXFOLD-SUBJECT: root"] {
            assert!(!may_pass(format!("{line}\r\n").as_bytes()), "{line}");
        }
    }
}
