//! What a client is told when the database did not do what was asked.

use std::time::Duration;

use database::Error;
use process::Problem;
use process::problem::{Fault, kinds};

/// When to try again; the time a restarted database takes to open its file.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Turns an error of the database into a problem that tells what is known and nothing internal.
pub(crate) fn problem_of(error: &Error) -> Problem {
    match error {
        Error::NotFound { .. } => Problem::new(kinds::NOT_FOUND),
        Error::PreconditionFailed { .. } => Problem::new(kinds::PRECONDITION_FAILED),
        Error::LeaseLost { .. } => Problem::new(kinds::LEASE_LOST),
        Error::WrongState { .. } => Problem::new(kinds::CONFLICT),
        Error::NotUnique { fields, .. } => {
            let faults = fields.iter().map(|field| Fault {
                pointer: format!("/{}", field.replace('.', "/")),
                detail: "another record has the same".to_owned(),
            });
            let detail = format!("another record has the same {}", fields.join(", "));
            Problem::new(kinds::NOT_UNIQUE).detail(detail).errors(faults.collect())
        }
        Error::KeyReused => Problem::new(kinds::KEY_REUSED),
        Error::NotIndexed { field, reason } => {
            Problem::new(kinds::NOT_INDEXED).detail(format!("`{field}`: {reason}"))
        }
        Error::ChangesGone { .. } => Problem::new(kinds::CHANGES_GONE),
        Error::Overloaded => Problem::new(kinds::OVERLOADED).retry_after(RETRY_AFTER),
        // Logged once by the health check or by the database, instead of here for each request.
        Error::Unavailable { reason } => {
            tracing::debug!(reason, "the database did not do it");
            Problem::new(kinds::UNAVAILABLE).detail("nothing was done").retry_after(RETRY_AFTER)
        }
        Error::Unknown { reason } => {
            tracing::warn!(reason, "the database's answer was lost");
            Problem::new(kinds::UNAVAILABLE).detail(Error::ANSWER_LOST).retry_after(RETRY_AFTER)
        }
        Error::Invalid { .. } | Error::Forbidden | Error::Storage { .. } => {
            tracing::error!(%error, "the database refused or failed");
            Problem::new(kinds::INTERNAL)
        }
    }
}

/// Turns an error of a question into a problem: a lost answer to one leaves nothing in doubt.
pub(crate) fn problem_of_read(error: &Error) -> Problem {
    match error {
        Error::Unknown { .. } => Problem::new(kinds::UNAVAILABLE).retry_after(RETRY_AFTER),
        _ => problem_of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_to_a_change_is_unavailable_and_leaves_the_doubt_to_be_read() {
        let response = problem_of(&Error::Unknown { reason: "reset".into() }).to_response();
        assert_eq!(response.status(), 503);
        assert!(String::from_utf8_lossy(response.body()).contains(Error::ANSWER_LOST));
    }

    #[test]
    fn nothing_internal_leaks() {
        let secret = "/var/lib/sixfold.db: disk I/O error";
        let errors = [
            Error::Storage { reason: secret.into() },
            Error::Unavailable { reason: secret.into() },
            Error::Unknown { reason: secret.into() },
            Error::Invalid { reason: secret.into() },
        ];
        for error in errors {
            let response = problem_of(&error).to_response();
            let body = String::from_utf8_lossy(response.body()).into_owned();
            assert!(!body.contains("sixfold.db"), "{body}");
            assert_eq!(response.status() == 503, response.headers().contains_key("retry-after"));
        }
    }
}
