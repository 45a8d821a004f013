//! Content codings of requests (RFC 9110 §8.4): bodies are taken as they are, in none.
//!
//! Nothing here decodes, and a body that is passed on or stored while what it is coded in is forgotten is another one.
//! So one that says it is coded is refused before it is read, at every port that reads bodies.

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use crate::problem::{Problem, kinds};

/// Axum middleware that lets only bodies without a coding pass: `from_fn(process::coding::refuse_coded)`.
///
/// What is said of a body that is not there means nothing.
pub async fn refuse_coded(request: Request, next: Next) -> Response {
    if is_coded(request.headers()) && !request.body().is_end_stream() {
        return refusal().into_response();
    }
    next.run(request).await
}

/// Tells whether a body is in a content coding other than `identity`, which is none.
pub fn is_coded(fields: &HeaderMap) -> bool {
    fields.get_all(header::CONTENT_ENCODING).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|coding| {
            let coding = coding.trim_ascii();
            !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
        })
    })
}

/// Says that a body's coding is not taken; the answer's `Accept-Encoding` says which is (RFC 9110 §15.5.16).
pub fn refusal() -> Problem {
    Problem::new(kinds::UNSUPPORTED_CODING).detail("send the body without a content coding")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use axum::{Router, middleware};
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(coding: &[u8], body: Body) -> Response {
        let router = Router::new()
            .route("/", post(async |body: String| body))
            .layer(middleware::from_fn(refuse_coded));
        let request = Request::post("/")
            .header(header::CONTENT_ENCODING, header::HeaderValue::from_bytes(coding).unwrap());
        router.oneshot(request.body(body).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_body_in_any_coding_is_refused_and_told_which_is_taken() {
        for coding in [&b"gzip"[..], b"br", b"deflate, gzip", b"identity, zstd", b"nonsense", b"\xff"] {
            let refused = ask(coding, Body::from("{}")).await;
            assert_eq!(refused.status(), 415, "{coding:?}");
            assert_eq!(refused.headers()["accept-encoding"], "identity");
            assert_eq!(refused.headers()["content-type"], "application/problem+json");
        }
    }

    #[tokio::test]
    async fn a_body_in_none_passes_and_so_does_a_request_without_one() {
        for coding in [&b"identity"[..], b"Identity", b"", b" , "] {
            assert_eq!(ask(coding, Body::from("{}")).await.status(), 200, "{coding:?}");
        }
        assert_eq!(ask(b"gzip", Body::empty()).await.status(), 200);
    }
}
