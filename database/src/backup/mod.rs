//! Backup and recovery, of a SQLite database by shipping its log ([`sqlite`]), of a PostgreSQL server by its own tools
//! ([`postgres`]).
//!
//! Here is what both have: where backups go ([`destination`]) and how what lies there is named ([`name`]), the
//! section of the configuration ([`config`]), what is asked for now ([`orders`]), and what is told ([`status`],
//! [`standing`], [`undone`], [`figures`]). [`Continuous`] is the backup of an open database, of either engine.

mod config;
mod continuous;
mod destination;
mod error;
mod figures;
mod keys;
mod name;
mod notes;
mod orders;
pub mod postgres;
mod sqlite;
mod standing;
mod status;
mod undone;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub use self::config::{Config, Mode, OnUnreachable, Postgres, S3};
pub(crate) use self::continuous::Continuous;
pub(crate) use self::destination::Destination;
pub use self::destination::DestinationError;
pub use self::error::BackupError;
pub use self::sqlite::{
    Compacted, Following, GenerationSummary, Inspection, Note, PlanError, Reached, Recovery, Report,
    RestoredState, ShippingStatus, Target, backup, compact, restore, verify,
};
pub(crate) use self::sqlite::{Request, Safety, Shipping, ShippingParts, log_path, of_engine, opening};
pub use self::standing::Standing;
pub use self::status::{BaseReport, DrillReport, Position, Progress, Status};

pub(crate) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a file that only we can read, in the place of one that may be there.
fn replace_private(file: &Path) -> io::Result<File> {
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

/// Makes a file that only we can read have this text, or leaves the one that is there.
fn write_durably(file: &Path, text: &str) -> io::Result<()> {
    let partial = beside(file, ".new");
    let written = replace_private(&partial).and_then(|mut target| {
        target.write_all(text.as_bytes())?;
        target.sync_all()?;
        std::fs::rename(&partial, file)
    });
    written.and_then(|()| file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()))
}

/// Flushes a file, or a folder's names.
fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| fault(path, error))
}

fn fault(file: &Path, error: impl ToString) -> BackupError {
    BackupError::Storage { file: file.to_owned(), reason: error.to_string() }
}

fn damaged(file: &Path, error: impl ToString) -> BackupError {
    BackupError::Damaged { file: file.to_owned(), reason: error.to_string() }
}
