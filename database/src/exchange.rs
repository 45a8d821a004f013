//! How a request's body is read and how a refusal is written.

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use process::problem::kinds;
use process::{Problem, media_type};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;
use crate::access::Denied;
use crate::backup::BackupError;

/// How long a caller waits before it repeats what was refused for too much work.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Elsewhere => Self::Database(Error::Forbidden),
            Denied::Stranger => Self::Problem(unauthenticated()),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// What a backup ordered over the port is refused for. Who may order one may read `backup status` too, which says of the
/// destination what it says here; where something lies on this host is for the log.
impl From<BackupError> for Refusal {
    fn from(error: BackupError) -> Self {
        let reason = error.to_string();
        match error {
            BackupError::Role(error) => Self::Database(error),
            BackupError::NotConfigured
            | BackupError::NotSqlite
            | BackupError::Exists { .. }
            | BackupError::NoFolder { .. } => Self::Database(Error::Invalid { reason }),
            BackupError::Stopping | BackupError::Destination(_) => {
                Self::Database(Error::Unavailable { reason })
            }
            // In the way is how things are here, not what the request says.
            BackupError::Busy
            | BackupError::Occupied { .. }
            | BackupError::Contested { .. }
            | BackupError::Superseded { .. }
            | BackupError::Settings(_) => Self::Problem(Problem::new(kinds::CONFLICT).detail(reason)),
            BackupError::Open(_)
            | BackupError::Missing { .. }
            | BackupError::Damaged { .. }
            | BackupError::DamagedFile { .. }
            | BackupError::Storage { .. }
            | BackupError::Plan(_)
            | BackupError::PostgresPlan(_)
            | BackupError::Log { .. } => Self::Database(Error::Storage { reason }),
        }
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
        document_of(&error)
    }
}

/// Writes an error as a problem document that also has the error's own members, for our own handle.
fn document_of(error: &Error) -> Response {
    let mut problem = Problem::new(match error {
        Error::NotFound { .. } => kinds::NOT_FOUND,
        Error::PreconditionFailed { .. } => kinds::PRECONDITION_FAILED,
        Error::LeaseLost { .. } => kinds::LEASE_LOST,
        Error::WrongState { .. } => kinds::CONFLICT,
        Error::KeyReused => kinds::KEY_REUSED,
        Error::NotUnique { .. } => kinds::NOT_UNIQUE,
        Error::NotIndexed { .. } => kinds::NOT_INDEXED,
        Error::ChangesGone { .. } => kinds::CHANGES_GONE,
        Error::Invalid { .. } => kinds::INVALID_BODY,
        Error::Forbidden => kinds::FORBIDDEN,
        Error::Overloaded => kinds::OVERLOADED,
        Error::Unavailable { .. } => kinds::UNAVAILABLE,
        Error::Unknown { .. } | Error::Storage { .. } => kinds::INTERNAL,
    });
    if matches!(error, Error::Overloaded | Error::Unavailable { .. }) {
        problem = problem.retry_after(RETRY_AFTER);
    }
    let response = problem.detail(error.to_string()).to_response();
    let read = (serde_json::from_slice(response.body()), serde_json::to_value(error));
    let (Ok(Value::Object(mut document)), Ok(Value::Object(members))) = read else {
        return response.map(axum::body::Body::from);
    };
    document.extend(members);
    let body = Value::Object(document).to_string();
    response.map(|_| axum::body::Body::from(body))
}

/// A body as it arrived, or why it did not.
pub(crate) type Body = Result<Bytes, BytesRejection>;

/// Reads a JSON body; only one that says it is JSON, which a web page cannot send across origins unasked.
pub(crate) fn read<T: DeserializeOwned>(fields: &HeaderMap, body: Body) -> Result<T, Problem> {
    if !media_type(fields).is_some_and(|sent| sent.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE).detail("send application/json"));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(kinds::BODY_TOO_LARGE),
        _ => malformed(rejection),
    })?;
    serde_json::from_slice(&body).map_err(malformed)
}

pub(crate) fn unauthenticated() -> Problem {
    Problem::new(kinds::UNAUTHENTICATED)
        .detail("this port takes the cluster token or a namespace's credential")
}

pub(crate) fn malformed(error: impl ToString) -> Problem {
    Problem::new(kinds::MALFORMED_REQUEST).detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::DestinationError;

    #[test]
    fn a_backup_that_is_refused_says_whose_matter_it_is() {
        let unreached = DestinationError::Failed { name: "base".into(), reason: "no route".into() };
        let refusals = [
            (BackupError::NotConfigured, 422),
            (BackupError::Busy, 409),
            (BackupError::Occupied { what: "a base", seconds: 4 }, 409),
            (BackupError::Stopping, 503),
            (BackupError::Destination(unreached), 503),
            (BackupError::Storage { file: "/data/sixfold.db".into(), reason: "full".into() }, 500),
        ];
        for (error, status) in refusals {
            let said = error.to_string();
            assert_eq!(Refusal::from(error).into_response().status().as_u16(), status, "{said}");
        }
    }
}
