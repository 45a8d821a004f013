//! Why a database cannot be opened.

use std::path::PathBuf;

/// Why a database cannot be opened; the text is one line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data directory {} is in use by another process", data.display())]
    InUse {
        /// The data directory.
        data: PathBuf,
    },
    /// The directory cannot be used.
    #[error("the data directory {} cannot be used: {reason}", data.display())]
    Directory {
        /// The data directory.
        data: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A newer version of the program wrote it.
    #[error("the database has schema {found} and this version knows {known}; use a newer version")]
    TooNew {
        /// The schema that was found.
        found: u32,
        /// The newest one known.
        known: u32,
    },
    /// It is another program's database.
    #[error("the file is a database, but not one of Sixfold's")]
    Foreign,
    /// The schema is another program's.
    #[error("the PostgreSQL database has a schema `{schema}` that is not Sixfold's")]
    ForeignSchema {
        /// The schema.
        schema: String,
    },
    /// The SQLite linked in is not safe here.
    #[error("SQLite {found} is older than 3.51.3 and can corrupt the database")]
    Library {
        /// Its version.
        found: &'static str,
    },
    /// The configuration does not allow it.
    #[error("{reason}")]
    Config {
        /// Why.
        reason: String,
    },
    /// The storage failed.
    #[error("the database cannot be opened: {reason}")]
    Storage {
        /// What the engine or the system said.
        reason: String,
    },
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage { reason: error.to_string() }
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage { reason: error.to_string() }
    }
}
