//! Field names that a backend may take for others: those with underscores.
//!
//! CGI (RFC 3875 §4.1.18) and all that followed it, WSGI, Rack and PHP among them, give an application its fields as
//! `HTTP_X_FORWARDED_FOR`, whether they came as `X-Forwarded-For` or `X_Forwarded_For`. So a client could say past
//! this proxy what only the proxy may say. nginx drops every name with an underscore, HAProxy none; here those end that
//! imitate a name which this proxy reads or writes, whoever sends them, and others pass.

/// Names that frame, route, or tell who asked, in lower case.
const IMITATED: [&[u8]; 5] =
    [b"content-length", b"transfer-encoding", b"proxy-authorization", b"x-real-ip", b"x-request-id"];

/// What names of a proxy's account of a client begin with, and those of ours.
pub(crate) const PREFIXES: [&[u8]; 2] = [b"x-forwarded-", b"sixfold-"];

/// Tells whether a name has an underscore where one of these has a hyphen.
pub(crate) fn imitates(name: &[u8]) -> bool {
    name.contains(&b'_')
        && (IMITATED.iter().any(|known| known.len() == name.len() && begins_like(name, known))
            || PREFIXES.iter().any(|prefix| begins_like(name, prefix)))
}

/// Tells whether a name begins so, its underscores read as hyphens.
fn begins_like(name: &[u8], beginning: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() >= beginning.len() && name.iter().zip(beginning).all(|(byte, known)| fold(*byte) == *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underscore_for_a_hyphen_is_seen_through_in_any_case() {
        for name in
            ["X_Forwarded_For", "x-forwarded_for", "X_FORWARDED-PROTO", "Sixfold_Subject", "Content_Length"]
        {
            assert!(imitates(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn real_names_and_an_application_s_own_with_underscores_are_let_be() {
        for name in ["X-Forwarded-For", "Content-Length", "user_id", "x_forward", "my_sixfold_thing", "_"] {
            assert!(!imitates(name.as_bytes()), "{name}");
        }
    }
}
