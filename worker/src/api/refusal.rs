//! The problem a client is told when the database does not do what was asked.

use std::time::Duration;

use database::Error;
use process::Problem;
use process::problem::{Fault, kinds};

/// When to come back while the database is away; long enough not to hammer it as it starts.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Says a database's refusal as a problem; what is internal goes to the log.
pub(super) fn refuse(error: Error) -> Problem {
    match error {
        Error::NotFound { .. } => Problem::new(kinds::NOT_FOUND).detail("there is no such job"),
        Error::LeaseLost { .. } => Problem::new(kinds::LEASE_LOST)
            .detail("the lease ran out, the job was leased again, or it was canceled or ended"),
        Error::WrongState { state, .. } => {
            Problem::new(kinds::CONFLICT).detail(format!("the job is {state}"))
        }
        Error::PreconditionFailed { .. } | Error::NotUnique { .. } | Error::KeyReused => {
            Problem::new(kinds::CONFLICT)
        }
        Error::NotIndexed { .. } => Problem::new(kinds::INVALID_BODY),
        Error::ChangesGone { .. } => Problem::new(kinds::CHANGES_GONE),
        Error::Invalid { reason } => Problem::new(kinds::INVALID_BODY).detail(reason),
        Error::Overloaded => Problem::new(kinds::OVERLOADED).retry_after(RETRY_AFTER),
        Error::Unavailable { .. } => {
            tracing::debug!(%error, "a request could not be done");
            Problem::new(kinds::UNAVAILABLE).detail("nothing was done").retry_after(RETRY_AFTER)
        }
        Error::Unknown { .. } => {
            tracing::warn!(%error, "a request may have been done");
            Problem::new(kinds::UNAVAILABLE).detail(Error::ANSWER_LOST).retry_after(RETRY_AFTER)
        }
        Error::Forbidden | Error::Storage { .. } => {
            tracing::error!(%error, "a request could not be done");
            Problem::new(kinds::INTERNAL)
        }
    }
}

/// Says a database's refusal of a mere question, which is safe to repeat also when its answer was lost.
pub(super) fn refuse_question(error: Error) -> Problem {
    match error {
        Error::Unknown { reason } => refuse(Error::Unavailable { reason }),
        error => refuse(error),
    }
}

/// Says which members of a body are not valid.
pub(super) fn invalid(errors: Vec<Fault>) -> Problem {
    Problem::new(kinds::INVALID_BODY).errors(errors)
}

/// Says that one member of a body is not valid.
pub(super) fn invalid_at(pointer: &str, detail: impl Into<String>) -> Problem {
    invalid(vec![Fault { pointer: pointer.to_owned(), detail: detail.into() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_to_a_change_is_unavailable_and_leaves_the_doubt_to_be_read() {
        let response = refuse(Error::Unknown { reason: "reset".into() }).to_response();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        assert!(String::from_utf8_lossy(response.body()).contains(Error::ANSWER_LOST));
        let response = refuse_question(Error::Unknown { reason: "reset".into() }).to_response();
        assert!(!String::from_utf8_lossy(response.body()).contains(Error::ANSWER_LOST));
    }
}
