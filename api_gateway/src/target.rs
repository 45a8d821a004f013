//! What of a request's target decides where it goes, and what of it the service sees.

use http::uri::PathAndQuery;
use http::{Request, Uri, header};
use process::Problem;
use process::problem::kinds;

use crate::path::normalise;
use crate::refusal::Refusal;

/// Gives the host a request asks for.
pub(crate) fn find_host<B>(request: &Request<B>) -> Option<&str> {
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| request.headers().get(header::HOST)?.to_str().ok())?;
    host.rsplit('@').next()
}

/// Takes off a host what it may have without being another: its port, and the dot at its end (RFC 3986 §3.2.2).
pub(crate) fn trim_host(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Writes the path in the form in which routes are found, so that the service reads what the guards read.
pub(crate) fn normalise_path(target: &mut Uri) -> Result<(), Refusal> {
    let path = normalise(target.path()).ok_or_else(refuse)?;
    if path == target.path() {
        return Ok(());
    }
    let normal = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(normal).map_err(|_| refuse())?);
    *target = Uri::from_parts(parts).map_err(|_| refuse())?;
    Ok(())
}

/// Cuts a prefix off the path.
pub(crate) fn strip_prefix(target: &mut Uri, prefix: &str) -> Result<(), Refusal> {
    let whole = target.path_and_query().map_or("/", PathAndQuery::as_str);
    if let Some(rest) = whole.strip_prefix(prefix) {
        *target = rest.parse().map_err(|_| refuse())?;
    }
    Ok(())
}

fn refuse() -> Refusal {
    Problem::new(kinds::MALFORMED_REQUEST).detail("the path is malformed").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_and_one_dot_are_no_part_of_a_name() {
        for (host, name) in [
            ("b.example", "b.example"),
            ("b.example.", "b.example"),
            ("b.example:80", "b.example"),
            ("b.example.:80", "b.example"),
            ("b.example:", "b.example"),
            ("b.example..", "b.example."),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(trim_host(host), name);
        }
    }

    #[test]
    fn of_a_target_the_path_alone_is_changed() {
        for (target, normal) in [
            ("/%61%2f?%61", "/a%2F?%61"),
            ("/%61?", "/a?"),
            ("http://a:8/%61", "http://a:8/a"),
            ("/a/%20?x", "/a/%20?x"),
            ("*", "*"),
        ] {
            let mut uri: Uri = target.parse().unwrap();
            normalise_path(&mut uri).unwrap();
            assert_eq!(uri.to_string(), normal);
        }
        assert!(normalise_path(&mut Uri::from_static("/a%")).is_err());
    }
}
