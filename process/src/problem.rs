//! Errors over HTTP: RFC 9457 `application/problem+json` with a stable `type`.
//!
//! Every `type` the house answers with is a constant of [`kinds`], so that one page can list them all.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// The prefix of every problem's `type`.
const TYPE_PREFIX: &str = "urn:sixfold:problem:";

/// The media type of a problem document.
const MEDIA_TYPE: &str = "application/problem+json";

/// A kind of problem: the stable end of its `type`, its status and its title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What follows `TYPE_PREFIX`.
    pub name: &'static str,
    /// The status it is answered with.
    pub status: u16,
    /// A short summary that does not change from one occurrence to the next.
    pub title: &'static str,
}

/// Every kind of problem the house answers with.
pub mod kinds {
    use super::Kind;

    macro_rules! kinds {
        ($($constant:ident = $name:literal, $status:literal, $title:literal;)*) => {
            $(#[doc = $title] pub const $constant: Kind = Kind { name: $name, status: $status, title: $title };)*
            /// All kinds, for the page that lists them.
            pub const ALL: &[Kind] = &[$($constant),*];
        };
    }

    kinds! {
        MALFORMED_REQUEST = "malformed-request", 400, "The request cannot be understood";
        UNAUTHENTICATED = "unauthenticated", 401, "Authentication is required";
        INVALID_TOKEN = "invalid-token", 401, "The token is not valid";
        INVALID_CREDENTIALS = "invalid-credentials", 401, "The user name or password is wrong";
        FORBIDDEN = "forbidden", 403, "The caller may not do this";
        NOT_FOUND = "not-found", 404, "There is nothing here";
        METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The method is not allowed here";
        REQUEST_TIMEOUT = "request-timeout", 408, "The request took too long to arrive";
        CONFLICT = "conflict", 409, "The request conflicts with the present state";
        ALREADY_EXISTS = "already-exists", 409, "It exists already";
        NOT_UNIQUE = "not-unique", 409, "Another record has the same in a unique field";
        STALE_CURSOR = "stale-cursor", 409, "The cursor is not of this question, or not any more";
        KEY_IN_USE = "key-in-use", 409, "A request with this idempotency key is under way";
        LEASE_LOST = "lease-lost", 409, "The lease belongs to somebody else now";
        CHANGES_GONE = "changes-gone", 410, "Changes are not kept that long: list again";
        PRECONDITION_FAILED = "precondition-failed", 412, "The record has changed since it was read";
        BODY_TOO_LARGE = "body-too-large", 413, "The body is too large";
        TARGET_TOO_LONG = "target-too-long", 414, "The request's target is too long";
        UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "The media type is not supported";
        UNSUPPORTED_CODING = "unsupported-coding", 415, "The content coding is not supported";
        MISDIRECTED_REQUEST = "misdirected-request", 421, "The request is for another host";
        INVALID_BODY = "invalid-body", 422, "The body does not match the schema";
        KEY_REUSED = "key-reused", 422, "The idempotency key was used for another request";
        NOT_INDEXED = "not-indexed", 422, "The question would have to look at every record";
        PRECONDITION_REQUIRED = "precondition-required", 428, "The request must say which version it changes";
        RATE_LIMITED = "rate-limited", 429, "Too many requests";
        HEADERS_TOO_LARGE = "headers-too-large", 431, "The header fields are too large";
        INTERNAL = "internal", 500, "Something went wrong inside";
        NOT_IMPLEMENTED = "not-implemented", 501, "The method is not supported";
        BAD_GATEWAY = "bad-gateway", 502, "The backend did not answer properly";
        UNAVAILABLE = "unavailable", 503, "The service is not available";
        NO_BACKEND = "no-backend", 503, "No backend is available";
        OVERLOADED = "overloaded", 503, "Too much work is waiting";
        CIRCUIT_OPEN = "circuit-open", 503, "The service is failing and is given a rest";
        DRAINING = "draining", 503, "The process is stopping";
        TIMEOUT = "timeout", 504, "The backend took too long";
        VERSION_NOT_SUPPORTED = "version-not-supported", 505, "The version of HTTP is not supported";
        LOOP_DETECTED = "loop-detected", 508, "The request goes round in circles";
    }
}

/// One fault of an invalid body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where: a JSON Pointer (RFC 6901) into the body; empty for the whole.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// A problem document and what its answer carries beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    // Boxed text keeps it below the 128 bytes above which a `Result` is costly to move.
    detail: Option<Box<str>>,
    errors: Vec<Fault>,
    retry_after: Option<Duration>,
    challenge: Option<Box<str>>,
}

/// The document as it is written: RFC 9457 §3.1 and two extension members.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl Problem {
    /// Makes a problem of a kind.
    pub fn new(kind: Kind) -> Self {
        Self { kind, detail: None, errors: Vec::new(), retry_after: None, challenge: None }
    }

    /// Says what is wrong this time; it must tell nothing internal.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into_boxed_str());
        self
    }

    /// Lists the faults of an invalid body.
    pub fn errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to try again (`Retry-After`, whole seconds, rounded up to at least one).
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Sets the `WWW-Authenticate` challenge (RFC 9110 §11.6.1); a 401 without one gets plain `Bearer`.
    pub fn challenge(mut self, challenge: impl Into<String>) -> Self {
        self.challenge = Some(challenge.into().into_boxed_str());
        self
    }

    /// Gives the faults of the body.
    pub fn faults(&self) -> &[Fault] {
        &self.errors
    }

    /// Gives the kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Gives the status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Writes the answer: the document, naming the present trace, with its header fields.
    pub fn to_response(&self) -> http::Response<Bytes> {
        let document = Document {
            r#type: format!("{TYPE_PREFIX}{}", self.kind.name),
            title: self.kind.title,
            status: self.kind.status,
            detail: self.detail.as_deref(),
            errors: &self.errors,
            trace_id: crate::trace::current().map(|trace| trace.trace_id()),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = http::Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                fields.insert(header::RETRY_AFTER, value);
            }
        }
        if self.kind == kinds::UNSUPPORTED_CODING {
            fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.kind.status == 401 {
            let challenge = self.challenge.as_deref().unwrap_or("Bearer");
            if let Ok(value) = HeaderValue::try_from(challenge) {
                fields.insert(header::WWW_AUTHENTICATE, value);
            }
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.to_response().map(Body::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_says() {
        let problem = Problem::new(kinds::INVALID_BODY).errors(vec![Fault {
            pointer: "/price".into(),
            detail: "-1 is less than the minimum of 0".into(),
        }]);
        let response = problem.to_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], MEDIA_TYPE);
        let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(document["type"], "urn:sixfold:problem:invalid-body");
        assert_eq!(document["errors"][0]["pointer"], "/price");
        assert!(document.get("trace_id").is_none());
    }

    #[test]
    fn a_short_wait_is_rounded_up_and_a_401_carries_a_challenge() {
        let limited = Problem::new(kinds::RATE_LIMITED).retry_after(Duration::from_millis(20)).to_response();
        assert_eq!(limited.headers()["retry-after"], "1");
        let refused = Problem::new(kinds::UNAUTHENTICATED).to_response();
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    }

    #[test]
    fn the_page_of_problems_lists_every_kind() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/problems.md")).unwrap();
        for kind in kinds::ALL {
            let row = format!("| `{TYPE_PREFIX}{}` | {} | {} |", kind.name, kind.status, kind.title);
            assert!(page.contains(&row), "docs/problems.md lacks {row}");
        }
    }

    #[test]
    fn no_two_kinds_share_a_name() {
        let mut names: Vec<_> = kinds::ALL.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), kinds::ALL.len());
    }
}
