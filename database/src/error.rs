//! Why the database did not do what was asked; each variant says what the caller can do.

use serde::{Deserialize, Serialize};

/// Why the database did not do what was asked. It travels over HTTP as JSON between our own roles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum Error {
    /// The record or job does not exist: nothing was done.
    #[error("there is no {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A precondition did not hold: nothing was done; read again and decide anew.
    #[error("operation {operation}: the precondition does not hold")]
    PreconditionFailed {
        /// The operation's place in the transaction, from 0.
        operation: usize,
        /// The record's present version, if it exists.
        current: Option<u64>,
    },
    /// The lease belongs to somebody else now, or the job ended: drop the attempt.
    #[error("the lease of job {id} is lost")]
    LeaseLost {
        /// The job.
        id: String,
    },
    /// The job's state does not allow the command.
    #[error("job {id} is {state}")]
    WrongState {
        /// The job.
        id: String,
        /// Its state.
        state: String,
    },
    /// The key stands for another transaction: nothing was done.
    #[error("the key was used for another request")]
    KeyReused,
    /// Another record has the same in fields that are unique: nothing was done.
    #[error("operation {operation}: another record has the same {}", fields.join(", "))]
    NotUnique {
        /// The operation's place in the transaction, from 0.
        operation: usize,
        /// The fields of the unique index.
        fields: Vec<String>,
    },
    /// Changes after the asked place are not kept any more: list what there is, then follow from `from`.
    #[error("changes were removed, or a backup restored, since: list again, then follow from {from}")]
    ChangesGone {
        /// After which sequence one may follow, once what was there then is known.
        from: u64,
    },
    /// The question would have to look at every record: declare an index, or ask otherwise.
    #[error("`{field}`: {reason}")]
    NotIndexed {
        /// The field.
        field: String,
        /// What is missing.
        reason: String,
    },
    /// The request is not valid: repeat it only changed.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The caller's credential does not open this namespace.
    #[error("the credential does not open this namespace")]
    Forbidden,
    /// Too much work is waiting: nothing was done; try again later.
    #[error("the database has too much work waiting")]
    Overloaded,
    /// The database was not reached: nothing was done; try again later.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The answer was lost: it may have been done; read before repeating.
    #[error("the database's answer was lost: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// The storage failed: nothing is promised.
    #[error("the database failed: {reason}")]
    Storage {
        /// Why; for the log, not for clients.
        reason: String,
    },
}

impl Error {
    /// What a client is told of [`Error::Unknown`], the same by every role that speaks for the database.
    pub const ANSWER_LOST: &str = "a change may have been made or not: read before repeating it";

    /// Says that there is no such record.
    pub(crate) fn no_record(collection: &str, id: &str) -> Self {
        Self::NotFound { what: format!("record {id} in {collection}") }
    }

    /// Says that a record cannot be changed, since what is stored of it cannot be read.
    pub(crate) fn unreadable_record(collection: &str, id: &str) -> Self {
        Self::Invalid { reason: format!("record {id} in {collection} cannot be read") }
    }

    /// Says that there is no such job.
    pub(crate) fn no_job(id: &str) -> Self {
        Self::NotFound { what: format!("job {id}") }
    }

    /// Says in a few words why the database cannot be worked with, for a role's health: nothing internal.
    pub const fn standing(&self) -> &'static str {
        match self {
            Self::Forbidden => "the database refuses this credential",
            Self::Overloaded => "the database has too much work waiting",
            Self::Unavailable { .. } => "the database is not available",
            Self::Unknown { .. } => "the database's answer was lost",
            Self::Invalid { .. }
            | Self::NotFound { .. }
            | Self::PreconditionFailed { .. }
            | Self::LeaseLost { .. }
            | Self::KeyReused
            | Self::NotUnique { .. }
            | Self::NotIndexed { .. }
            | Self::ChangesGone { .. }
            | Self::WrongState { .. } => "the database refuses the request",
            Self::Storage { .. } => "the database failed",
        }
    }
}
