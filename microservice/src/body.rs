//! Reading a request's body: its media type, its size, its time, and that it is JSON.

use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use database::limits::{NESTING_LIMIT, too_deep};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::LengthLimitError;
use process::Problem;
use process::json::escape;
use process::problem::{Fault, kinds};
use serde_json::{Map, Value};

/// How long a body may take to arrive; the gateway in front has buffered or streams it without pause.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The media type of a JSON document.
pub(crate) const JSON: &str = "application/json";

/// The media type of a merge patch (RFC 7396 §3).
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

/// The media type of a JSON patch (RFC 6902 §6).
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";

/// Finds which of the media types a body is sent as.
pub(crate) fn media_type<'a>(fields: &HeaderMap, taken: &[&'a str]) -> Result<&'a str, Problem> {
    let sent = process::media_type(fields).unwrap_or_default();
    taken.iter().find(|taken| sent.eq_ignore_ascii_case(taken)).copied().ok_or_else(|| {
        let detail = format!("send the body as {}", taken.join(" or "));
        Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE).detail(detail)
    })
}

/// Reads a body of at most `limit` bytes as JSON of a media type.
pub(crate) async fn read_json(request: Request, limit: u64, taken: &str) -> Result<Value, Problem> {
    media_type(request.headers(), &[taken])?;
    parse(&read_bytes(request, limit).await?)
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_bytes(request: Request, limit: u64) -> Result<Bytes, Problem> {
    let body = request.into_body();
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, limit_bytes))
        .await
        .map_err(|_| Problem::new(kinds::REQUEST_TIMEOUT))?
        .map_err(|error| match error.into_inner().is::<LengthLimitError>() {
            true => too_large(limit),
            false => Problem::new(kinds::MALFORMED_REQUEST).detail("the body ended early"),
        })
}

/// Parses a body as JSON.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    process::json::parse(bytes, NESTING_LIMIT)
}

/// Finds the members with which an object is nested too deep to be a record.
pub(crate) fn find_too_deep(object: &Map<String, Value>) -> Vec<Fault> {
    let fault = |name: &str| Fault {
        pointer: format!("/{}", escape(name)),
        detail: format!("nested deeper than {NESTING_LIMIT} levels"),
    };
    too_deep(object).map(fault).collect()
}

/// Takes a JSON value as an object, or says that it is none.
pub(crate) fn as_object(value: Value) -> Result<Map<String, Value>, Problem> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(invalid(vec![Fault { pointer: String::new(), detail: "an object is expected".to_owned() }])),
    }
}

/// Says that a body does not match.
pub(crate) fn invalid(faults: Vec<Fault>) -> Problem {
    Problem::new(kinds::INVALID_BODY).errors(faults)
}

/// Says how large a body may be.
pub(crate) fn too_large(limit: u64) -> Problem {
    Problem::new(kinds::BODY_TOO_LARGE).detail(format!("at most {} are taken", process::size::format(limit)))
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    async fn read(media_type: &str, body: &'static str, limit: u64) -> Result<Value, u16> {
        let request = Request::builder().header(CONTENT_TYPE, media_type).body(body.into()).unwrap();
        read_json(request, limit, JSON).await.map_err(|problem| problem.status().as_u16())
    }

    #[tokio::test]
    async fn a_body_is_refused_by_type_then_size_then_form() {
        assert_eq!(read("application/json; charset=utf-8", "{}", 2).await, Ok(serde_json::json!({})));
        assert_eq!(read("text/plain", "{}", 2).await, Err(415));
        assert_eq!(read(JSON, "{ }", 2).await, Err(413));
        assert_eq!(read(JSON, "{", 2).await, Err(400));
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
        let chunks = chunked(8, "{\"a\":1}  ");
        let request = Request::builder().header(CONTENT_TYPE, JSON).body(chunks).unwrap();
        let problem = read_json(request, 20, JSON).await.unwrap_err();
        assert_eq!(problem.status(), 413);
    }

    /// A body whose length nobody knows beforehand.
    fn chunked(times: usize, chunk: &'static str) -> axum::body::Body {
        let chunks = (0..times).map(move |_| Ok::<_, std::convert::Infallible>(bytes::Bytes::from(chunk)));
        axum::body::Body::from_stream(futures_util::stream::iter(chunks))
    }
}
