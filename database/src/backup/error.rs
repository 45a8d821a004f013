//! Why a backup, a verification or a restore did not happen.

use std::path::PathBuf;

use crate::{Error, OpenError};

/// Why a backup, a verification or a restore did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The data directory cannot be used, or the file is not one of our databases.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is something already.
    #[error("{} exists already", file.display())]
    Exists {
        /// What exists.
        file: PathBuf,
    },
    /// There is no database to back up.
    #[error("there is no database in {}", data.display())]
    Missing {
        /// The data directory.
        data: PathBuf,
    },
    /// The data is not in SQLite.
    #[error("the database is on PostgreSQL, which is backed up with its own tools (pg_basebackup)")]
    NotSqlite,
    /// The file is damaged.
    #[error("{} is damaged: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The first fault found.
        reason: String,
    },
    /// The database role refused or was not reached.
    #[error("the database role: {0}")]
    Role(Error),
    /// Reading or writing failed.
    #[error("{}: {reason}", file.display())]
    Storage {
        /// The file.
        file: PathBuf,
        /// What SQLite or the system said.
        reason: String,
    },
}
