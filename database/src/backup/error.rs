//! Why a backup, a verification or a restore did not happen.

use std::path::PathBuf;

use super::destination::DestinationError;
use super::sqlite::{Fault, LogError, PlanError};
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
    /// The folder that a copy was to be written into is not there.
    #[error("there is no folder {}", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no database to back up.
    #[error("there is no database in {}", data.display())]
    Missing {
        /// The data directory.
        data: PathBuf,
    },
    /// A copy in one file is of SQLite only.
    #[error(
        "the database is on PostgreSQL, which has no copy in one file: set database.backup.destination and use backup \
         now, list, verify, drill and status"
    )]
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
    /// No destination is configured.
    #[error("database.backup.destination is not set: there is no continuous backup")]
    NotConfigured,
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The destination cannot be used.
    #[error("the backup destination: {0}")]
    Destination(#[from] DestinationError),
    /// A file at the destination is damaged, or sealed for another key.
    #[error("{name} at the backup destination cannot be used: {reason}")]
    DamagedFile {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is asked for cannot be restored.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// What is asked for cannot be restored.
    #[error(transparent)]
    PostgresPlan(#[from] super::postgres::PlanError),
    /// The log of the running database is not what was expected, or a program of PostgreSQL failed.
    #[error("{reason}")]
    Log {
        /// What is wrong with it.
        reason: String,
    },
    /// What keeps the destination in order is at something else, and does one thing at a time.
    #[error(
        "{what} has been under way for {seconds} s, and one thing is done at a time: try again when it is over; `backup \
         status` shows how far it is"
    )]
    Occupied {
        /// What it does.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// Another database is backed up to the same place.
    #[error(
        "another database ships to this destination: generation {newest} began after {continued}, which is ours, and is \
         what `restore --at latest` gives; give each database a destination of its own"
    )]
    Contested {
        /// Our generation.
        continued: String,
        /// The newest one.
        newest: String,
    },
    /// Another machine went on with what this folder's database was.
    #[error(
        "another machine went on with this database: the backup destination holds generation {newest}, which began after \
         {ours}, the last of this folder; take its state with `sixfold database restore --at latest --force`, or, if this \
         database is to go on instead, remove {}", note.display()
    )]
    Superseded {
        /// The last generation of this folder.
        ours: String,
        /// The newest at the destination.
        newest: String,
        /// What is to be removed for this database to go on.
        note: PathBuf,
    },
    /// A work of the same kind is under way.
    #[error("another one is under way")]
    Busy,
    /// The database is stopping.
    #[error("the database is stopping")]
    Stopping,
}

impl From<LogError> for BackupError {
    fn from(error: LogError) -> Self {
        Self::Log { reason: error.to_string() }
    }
}

impl BackupError {
    /// Names the file of ours that has a fault.
    pub(crate) fn damaged_file(name: impl ToString, fault: &Fault) -> Self {
        Self::DamagedFile { name: name.to_string(), reason: fault.to_string() }
    }
}
