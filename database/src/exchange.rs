//! How a request's body is read and how a refusal is written.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use process::Problem;
use process::problem::kinds;
use serde::de::DeserializeOwned;

use crate::Error;

/// How long a caller waits before it repeats what was refused for too much work.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request is not answered with what it asked for.
pub(crate) enum Refusal {
    /// The database's own answer.
    Database(Error),
    /// The request cannot be understood.
    Problem(Problem),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Database(Error::Storage { reason }) => {
                tracing::error!(reason, "the storage failed");
                Error::Storage { reason: "the storage failed; the database's log says how".into() }
            }
            Self::Database(error) => error,
        };
        let status = match &error {
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
            Error::LeaseLost { .. } | Error::WrongState { .. } => StatusCode::CONFLICT,
            Error::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Forbidden => StatusCode::FORBIDDEN,
            Error::Overloaded | Error::Unavailable { .. } => {
                let retry_after = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
                return (StatusCode::SERVICE_UNAVAILABLE, retry_after, Json(error)).into_response();
            }
            Error::Unknown { .. } | Error::Storage { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(error)).into_response()
    }
}

/// A body as it arrived, or why it did not.
pub(crate) type Body = Result<Bytes, BytesRejection>;

/// Reads a JSON body; only one that says it is JSON, which a web page cannot send across origins unasked.
pub(crate) fn read<T: DeserializeOwned>(fields: &HeaderMap, body: Body) -> Result<T, Problem> {
    let media_type = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if media_type.split(';').next().unwrap_or("").trim() != "application/json" {
        return Err(Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE).detail("send application/json"));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(kinds::BODY_TOO_LARGE),
        _ => malformed(rejection),
    })?;
    serde_json::from_slice(&body).map_err(malformed)
}

pub(crate) fn malformed(error: impl ToString) -> Problem {
    Problem::new(kinds::MALFORMED_REQUEST).detail(error.to_string())
}
