//! What a failure of the server or of the way to it means, told by its SQLSTATE (PostgreSQL, appendix A).

use tokio_postgres::error::SqlState;

use crate::Error;
use crate::engine::failures::not_done;

/// Why a statement or a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// What the server or the driver said.
    #[error("{}", describe(.0))]
    Said(#[from] tokio_postgres::Error),
    /// No answer in time.
    #[error("PostgreSQL did not answer in time")]
    TimedOut,
    /// One caller asks for what another record forbids.
    #[error("{0}")]
    Refused(Error),
    /// A replica that took over, or is not as far as it was.
    #[error("it is no standby any more, or not where it was")]
    NoReplica,
    /// An answer that cannot be.
    #[error("PostgreSQL holds what Sixfold did not write: {0}")]
    Inconsistent(&'static str),
}

/// What to do after a failure of which it is known that it left nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same again may succeed at once.
    Repeat,
    /// The same again may succeed on another connection.
    Reconnect,
    /// One of the callers asked for what cannot be stored.
    Blame,
    /// It would fail again.
    GiveUp,
}

impl Fault {
    /// Decides what to do, when nothing was done.
    pub(super) fn verdict(&self) -> Verdict {
        let error = match self {
            Self::Said(error) => error,
            Self::Refused(_) => return Verdict::Blame,
            Self::TimedOut | Self::NoReplica | Self::Inconsistent(_) => return Verdict::GiveUp,
        };
        let Some(code) = error.code() else {
            // Values that cannot be sent are the caller's; all else without a code is the connection's.
            let is_value = error.to_string().starts_with("error serializing parameter");
            return if is_value { Verdict::Blame } else { Verdict::Reconnect };
        };
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Verdict::Repeat,
            // The lane writes one by one from now on, and then knows which operation it is.
            SqlState::UNIQUE_VIOLATION => Verdict::Repeat,
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            | SqlState::READ_ONLY_SQL_TRANSACTION => Verdict::Reconnect,
            _ => match &code.code()[..2] {
                "08" => Verdict::Reconnect,
                "22" | "23" | "54" => Verdict::Blame,
                _ => Verdict::GiveUp,
            },
        }
    }

    /// Tells whether the server may become reachable by waiting, as one that is starting does.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::NoReplica | Self::Inconsistent(_) | Self::Refused(_) => false,
            Self::Said(error) => match error.code() {
                // A certificate that is not trusted stays so.
                None => !error.to_string().starts_with("error performing TLS handshake"),
                Some(code) => {
                    *code == SqlState::CANNOT_CONNECT_NOW || *code == SqlState::TOO_MANY_CONNECTIONS
                }
            },
        }
    }

    /// Says to a caller of a read, or of a write that was not done, why.
    pub(super) fn answer(&self) -> Error {
        match self {
            Self::TimedOut => Error::Unavailable { reason: "PostgreSQL did not answer in time".into() },
            Self::NoReplica => Error::Unavailable { reason: "the replica does not serve at present".into() },
            Self::Refused(error) => error.clone(),
            Self::Inconsistent(_) => Error::Storage { reason: self.to_string() },
            Self::Said(error) => match error.code().map(|code| &code.code()[..2]) {
                None => Error::Unavailable { reason: "PostgreSQL is not reached".into() },
                Some("22") => Error::Invalid { reason: "PostgreSQL cannot store a value of it".into() },
                Some("54") => {
                    Error::Invalid { reason: "PostgreSQL cannot index a value of this length".into() }
                }
                Some("08" | "53" | "57" | "55") => {
                    Error::Unavailable { reason: "PostgreSQL does not serve at present".into() }
                }
                Some(_) => not_done(),
            },
        }
    }
}

/// Says what failed in one line, for the log; the driver keeps the reason in the sources.
fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{}: {} ({})", said.severity(), said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
