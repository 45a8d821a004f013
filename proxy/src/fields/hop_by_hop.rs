//! Fields that belong to one connection and end with it (RFC 9110 §7.6.1).

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue, OccupiedEntry};

use super::present::Present;
use crate::protected::is_protected;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What `Connection` and its companions said before they were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Removed {
    /// The message asks for, or answers with, a change of protocol.
    pub(super) upgrade: bool,
    /// The sender takes trailers.
    pub(super) trailers: bool,
}

/// Removes the fields that end here, but keeps `Upgrade` where a change of protocol is asked for.
pub(super) fn remove(fields: &mut HeaderMap, present: Present) -> Removed {
    let mut removed = Removed::default();
    if !present.any(Present::HOP_BY_HOP) {
        return removed;
    }
    if present.any(Present::CONNECTION) {
        removed.upgrade = remove_named(fields);
    }
    if present.any(Present::TE)
        && let Some(te) = fields.remove(header::TE)
    {
        removed.trailers =
            te.to_str().is_ok_and(|te| list(te).any(|one| one.eq_ignore_ascii_case("trailers")));
    }
    if present.any(Present::KEEP_ALIVE) {
        fields.remove(KEEP_ALIVE);
    }
    if present.any(Present::PROXY_CONNECTION) {
        fields.remove(PROXY_CONNECTION);
    }
    if present.any(Present::PROXY_AUTHORIZATION) {
        // For the first proxy that asks (RFC 9110 §11.7.2): a password no backend has any use for.
        fields.remove(header::PROXY_AUTHORIZATION);
    }
    if present.any(Present::UPGRADE) && !removed.upgrade {
        fields.remove(header::UPGRADE);
    }
    removed
}

/// Removes `Connection` and the fields it names; tells whether `upgrade` was among them.
fn remove_named(fields: &mut HeaderMap) -> bool {
    if let Entry::Occupied(connection) = fields.entry(header::CONNECTION)
        && is_plain(&connection)
    {
        connection.remove();
        return false;
    }
    let mut upgrade = false;
    let mut named: Vec<HeaderName> = Vec::new();
    for value in fields.get_all(header::CONNECTION) {
        for option in value.to_str().map(list).into_iter().flatten() {
            if option.eq_ignore_ascii_case("upgrade") {
                upgrade = true;
            } else if !option.eq_ignore_ascii_case("keep-alive")
                && !option.eq_ignore_ascii_case("close")
                && !option.eq_ignore_ascii_case("te")
                && !is_protected(option.as_bytes())
                && let Ok(name) = HeaderName::try_from(option)
            {
                named.push(name);
            }
        }
    }
    fields.remove(header::CONNECTION);
    for name in named {
        fields.remove(name);
    }
    upgrade && fields.contains_key(header::UPGRADE) && !asks_for_http2(fields)
}

/// Tells whether `Upgrade` names HTTP/2: to a backend that agreed, requests could be sent past all that this
/// proxy checks (RFC 9113 §3.1 took this way to HTTP/2 out).
fn asks_for_http2(fields: &HeaderMap) -> bool {
    let is_h2c = |one: &str| one.eq_ignore_ascii_case("h2c");
    fields
        .get_all(header::UPGRADE)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| list(value).any(is_h2c)))
}

/// Tells whether `Connection` says only what it says in nearly every message.
fn is_plain(connection: &OccupiedEntry<'_, HeaderValue>) -> bool {
    let mut values = connection.iter();
    let first = values.next().map(HeaderValue::as_bytes).unwrap_or_default();
    let is_alone = values.next().is_none();
    is_alone && (first.eq_ignore_ascii_case(b"keep-alive") || first.eq_ignore_ascii_case(b"close"))
}

/// The members of a comma-separated list.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|one| !one.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, value.parse().unwrap());
        }
        fields
    }

    fn remove_all(fields: &mut HeaderMap) -> Removed {
        let present = Present::of(fields);
        remove(fields, present)
    }

    #[test]
    fn fields_named_in_connection_end_here() {
        let mut message = fields(&[
            ("connection", "close, X-Secret"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("x-kept", "3"),
        ]);
        assert_eq!(remove_all(&mut message), Removed { upgrade: false, trailers: true });
        assert_eq!(message, fields(&[("x-kept", "3")]));
    }

    #[test]
    fn an_upgrade_to_http2_ends_here() {
        for protocol in ["h2c", "websocket, H2C"] {
            let mut message = fields(&[
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", protocol),
                ("http2-settings", "AAMAAABkAAQAAP__"),
            ]);
            assert_eq!(remove_all(&mut message), Removed::default());
            assert_eq!(message, fields(&[]));
        }
    }

    #[test]
    fn an_upgrade_keeps_its_protocol() {
        let mut message = fields(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert!(remove_all(&mut message).upgrade);
        assert_eq!(message, fields(&[("upgrade", "websocket")]));
    }

    #[test]
    fn connection_cannot_take_away_what_others_rely_on() {
        let mut message =
            fields(&[("connection", "host, content-length"), ("host", "a"), ("content-length", "1")]);
        remove_all(&mut message);
        assert_eq!(message, fields(&[("host", "a"), ("content-length", "1")]));
    }

    #[test]
    fn connection_cannot_take_away_what_a_proxy_told_of_its_client() {
        let told = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "h"),
            ("forwarded", "for=192.0.2.7"),
            ("x-real-ip", "192.0.2.7"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("sixfold-subject", "s"),
        ];
        for (name, _) in told {
            let mut message = fields(&told);
            message.append("connection", format!("close, {}", name.to_uppercase()).parse().unwrap());
            remove_all(&mut message);
            assert_eq!(message, fields(&told), "{name}");
        }
    }
}
