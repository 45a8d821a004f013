//! Reading requests so that whatever is wrong with one is answered as a problem.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::IntoResponse;
use bytes::Bytes;
use database::limits::{NAME_LIMIT, NESTING_LIMIT, is_name};
use http::StatusCode;
use http::request::Parts;
use process::Problem;
use process::problem::kinds;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de::Error};
use uuid::Uuid;

use super::refusal::{invalid, invalid_at};
use crate::kind::read_payload;

/// The largest body: a job is a note of what to do, not the data to do it with.
pub(super) const BODY_LIMIT: usize = 1 << 20;

/// The longest a client may wait for a job or its end: what the database grants at once.
///
/// It must stay well below the 30 s a gateway and the load balancer wait for a response's head by default: a
/// wait that runs into those is answered 504 and counts as a failure of this service.
const LONGEST_WAIT: Duration = Duration::from_millis(database::job::WAIT_LIMIT_MS);

/// The path's one parameter, decoded.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(segment)| Self(segment)).map_err(|_| Problem::new(kinds::NOT_FOUND))
    }
}

/// The query string's parameters.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(parameters)| Self(parameters)).map_err(|rejection| {
            let which = parameter_named(&rejection.body_text());
            Problem::new(kinds::MALFORMED_REQUEST)
                .detail(format!("{which} is unknown or its value cannot be read"))
        })
    }
}

/// Names the parameter that a rejection begins with; its other words are a library's, not ours.
fn parameter_named(rejection: &str) -> String {
    let named = rejection.split(": ").map(str::trim).nth(1).filter(|name| is_name(name));
    named.map_or_else(|| "a parameter".to_owned(), |name| format!("the parameter `{name}`"))
}

/// The body, whole and of at most [`BODY_LIMIT`] bytes.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(kinds::BODY_TOO_LARGE)
                    .detail(format!("a body has at most {BODY_LIMIT} bytes")),
                _ => Problem::new(kinds::MALFORMED_REQUEST).detail("the body did not arrive whole"),
            }
        })
    }
}

/// Reads a body as JSON; an empty one reads as `{}`.
pub(super) fn read_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { body };
    read_payload(process::json::parse(body, NESTING_LIMIT)?).map_err(invalid)
}

/// Checks the name of a queue or a kind.
pub(super) fn check_name(pointer: &str, name: &str) -> Result<(), Problem> {
    match is_name(name) {
        true => Ok(()),
        false => {
            let detail = format!("a name has 1 to {NAME_LIMIT} letters, digits, `.`, `_` and `-`");
            Err(invalid_at(pointer, detail))
        }
    }
}

/// Checks a job's ID; what cannot be one is not asked of the database.
pub(super) fn check_id(id: &str) -> Result<(), Problem> {
    match Uuid::try_parse(id) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::new(kinds::NOT_FOUND).detail("there is no such job")),
    }
}

/// A duration as in configuration: `"30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    /// Gives how long to wait for one who asks to wait this long.
    pub(super) fn as_wait(self) -> Duration {
        self.0.min(LONGEST_WAIT)
    }

    /// Gives whole milliseconds.
    pub(super) fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        process::duration::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_cut_to_what_gateways_have_patience_for() {
        let second = Duration::from_secs(1);
        assert_eq!(Span(second).as_wait(), second);
        assert_eq!(Span(30 * second).as_wait(), 20 * second);
    }
}
