//! Backup and recovery. Of a PostgreSQL server by its own tools: [`postgres`]. The rest is of a SQLite database.
//!
//! **Continuously**, with a destination configured: the writer hands each commit's pages to a [`feed`], the shipping
//! thread ([`ship`]) makes segments of them ([`segment`]) and stores them in a folder or a bucket ([`destination`]),
//! each naming the digest of the one before. Together with a base ([`snapshot`]) such a chain is a generation; a
//! process goes on with the one its log proves to be its own ([`chain`]) and begins another otherwise. Which files
//! make the database of a moment is decided from their names ([`plan`]) and carried out by [`gather`].
//!
//! Beside it the [`keeper`] stores new bases, merges small segments ([`mod@merge`]), removes what no kept moment needs
//! ([`retention`]) and tries restores out ([`mod@drill`]). [`Recovery`] is what is done from outside, with no database
//! running: list, verify ([`inspect`]), restore.
//!
//! **On command**: a whole copy in one file ([`copy`]), with its digest beside it.
//!
//! [`mod@compact`] writes a database's file anew, without what is free in it.
//!
//! Either way a restore moves versions and fencing tokens past all that were given out ([`mod@restore`]).

mod board;
mod chain;
mod check;
mod compact;
mod config;
mod continuous;
mod copy;
mod destination;
mod difference;
mod digest;
mod drill;
mod error;
mod feed;
mod figures;
mod gather;
mod head;
mod inspect;
mod keeper;
mod keys;
mod lacking;
mod lineage;
mod merge;
mod name;
mod object;
pub(crate) mod opening;
mod orders;
mod plan;
pub mod postgres;
mod recovery;
mod restore;
mod retention;
mod segment;
mod ship;
mod shipping;
mod snapshot;
mod standing;
mod undone;
mod wal;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::board::{DrillReport, Position, Progress, ShippingStatus, Status};
pub use self::compact::{Compacted, compact};
pub use self::config::{Config, Mode, OnUnreachable, Postgres, S3};
pub(crate) use self::continuous::Continuous;
pub use self::copy::{Report, backup, verify};
pub(crate) use self::copy::{Request, of_engine};
pub(crate) use self::destination::Destination;
pub use self::destination::DestinationError;
pub use self::error::BackupError;
pub(crate) use self::feed::Safety;
pub use self::gather::{Note, Reached};
pub use self::inspect::Inspection;
pub use self::plan::{Following, PlanError, Target};
pub use self::recovery::{GenerationSummary, Recovery, RestoredState};
pub use self::restore::restore;
pub(crate) use self::shipping::{Shipping, ShippingParts};
pub use self::standing::Standing;
pub(crate) use self::wal::path_of as log_path;

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
