//! A port that trusts everybody on this machine is asked by a name of this machine.
//!
//! Without a cluster token internal ports listen on loopback only and trust whoever reaches them. A web page can have
//! its visitor's browser reach them: the page's own name is made to lead to 127.0.0.1 (DNS rebinding), which to the
//! browser is still the page it came from, so that it may read every answer. What the page cannot change is
//! `Host`: it names the page. A port that is guarded by a token needs none of this.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::ClusterToken;
use crate::problem::{Problem, kinds};

/// Axum middleware that lets only requests for this machine pass where no token is asked for:
/// `from_fn_with_state(token, process::named_here::require)`.
pub async fn require(State(token): State<ClusterToken>, request: Request, next: Next) -> Response {
    if token.is_set() || is_named_here(&request) {
        return next.run(request).await;
    }
    let detail = "without a cluster token this port is asked for by a loopback address or as localhost";
    Problem::new(kinds::MISDIRECTED_REQUEST).detail(detail).into_response()
}

/// Tells whether a request is for this machine. One that names no host is no browser's.
fn is_named_here(request: &Request) -> bool {
    let fields = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    // HTTP/2 has it in the target; where it is said more than once, each must be right.
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    fields.chain(target).all(is_loopback)
}

/// Tells whether a host, with or without a port, is this machine as seen from itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(ip, _)| ip),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        // RFC 6761 §6.3: no resolver leads them elsewhere, and nobody else can have them.
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_have_are_this_machine() {
        for host in
            ["localhost", "LOCALHOST:8001", "127.0.0.1:8001", "127.1.2.3", "[::1]:8001", "a.localhost.:80"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1:8001",
            "[::2]",
            "[",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
