//! What is told of a backup, whichever engine is backed up.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::postgres::{Lsn, ReceivingStatus};
use super::sqlite::ShippingStatus;

/// What `backup status` tells, by engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "lowercase")]
pub enum Status {
    /// Of SQLite's log, which we ship.
    Sqlite(ShippingStatus),
    /// Of PostgreSQL's, which its own tools receive.
    Postgres(ReceivingStatus),
}

impl Status {
    /// Tells what is being done that takes long.
    pub fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Sqlite(status) => status.progress.as_ref(),
            Self::Postgres(status) => status.progress.as_ref(),
        }
    }
}

/// How far a long work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// How much of it is done, in bytes.
    pub done: u64,
    /// How much there is, in bytes; zero when that is not known.
    pub total: u64,
}

/// A place in a database's history, as its engine counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Position {
    /// The number of a commit, with SQLite.
    Commit(u64),
    /// A place in PostgreSQL's log.
    Lsn(Lsn),
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Commit(number) => write!(f, "commit {number}"),
            Self::Lsn(lsn) => write!(f, "{lsn}"),
        }
    }
}

/// A base that was stored on command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseReport {
    /// Up to where it goes.
    pub position: Position,
    /// When that was.
    pub at: Timestamp,
    /// Its size; zero when nothing had changed since the last.
    pub size_bytes: u64,
}

/// What a restore drill found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    /// When it ended.
    pub at: Timestamp,
    /// What was restored.
    pub position: Position,
    /// Seconds it took.
    pub seconds: f64,
    /// What is wrong; nothing when the restored database is the one that was backed up.
    pub fault: Option<String>,
}
