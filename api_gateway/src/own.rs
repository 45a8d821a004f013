//! What a gateway answers by itself: its health, and what a path takes.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use process::Problem;
use process::problem::kinds;

use crate::path::has_dot_segment;
use crate::refusal::Refusal;
use crate::routes::Found;
use crate::shared::Shared;

/// What the paths of the gateway's health take.
const HEALTH_METHODS: &str = "GET, HEAD, OPTIONS";

/// Tells whether a path is one of the gateway's health.
pub(crate) fn is_health(path: &str) -> bool {
    matches!(path, "/health" | "/readyz" | "/livez")
}

/// Answers `/health`, `/readyz` and `/livez`, which are the gateway's own whatever the routes say.
pub(crate) fn answer_health<B>(
    shared: &Shared,
    request: &Request<B>,
) -> Option<Result<Response<Bytes>, Refusal>> {
    let is_live = match request.uri().path() {
        "/health" | "/readyz" => false,
        "/livez" => true,
        _ => return None,
    };
    let allow = HeaderValue::from_static(HEALTH_METHODS);
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return Some(Ok(tell_methods(Some(allow)))),
        _ => {
            let refusal = Refusal::from(Problem::new(kinds::METHOD_NOT_ALLOWED));
            return Some(Err(refusal.with_field(header::ALLOW, allow)));
        }
    }
    let report = shared.health.report();
    let (status, media_type, body) = if is_live {
        (200, "text/plain; charset=utf-8", Bytes::from_static(b"ok\n"))
    } else {
        let status = if report.serving { 200 } else { 503 };
        (status, "application/json", Bytes::from(serde_json::to_vec(&report).unwrap_or_default()))
    };
    Response::builder().status(status).header(header::CONTENT_TYPE, media_type).body(body).ok().map(Ok)
}

/// Answers `OPTIONS` (RFC 9110 §9.3.7) from the routes, so that nobody needs a token to learn what a path
/// takes; `None` when the service is to answer or there is nothing at the path.
///
/// With a token it is the service that knows best, and for a public route to a service of one's own without
/// one: browsers ask it so before they send a request from another site, never with a token.
pub(crate) fn answer_options<B>(
    shared: &Shared,
    host: Option<&str>,
    request: &Request<B>,
) -> Option<Response<Bytes>> {
    let path = request.uri().path();
    if path == "*" {
        return Some(tell_methods(None));
    }
    if has_dot_segment(path) {
        return None;
    }
    if let Found::Route(route) = shared.routes.find(host, path, &Method::OPTIONS) {
        let is_outside = !shared.services[route.service].is_internal;
        if request.headers().contains_key(header::AUTHORIZATION) || (route.is_public && is_outside) {
            return None;
        }
    }
    shared.routes.find_methods(host, path).map(|allow| tell_methods(Some(allow.clone())))
}

fn tell_methods(allow: Option<HeaderValue>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
