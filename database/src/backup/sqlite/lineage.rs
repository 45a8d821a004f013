//! Which generation a data folder shipped last, and whether somebody went on with its database since.
//!
//! A machine that was given up and comes back holds what its database was then, while another one runs what was
//! restored from the destination. Nothing in the folder tells so, but the destination does: a generation that began after
//! the folder's last one was begun by somebody else. A folder without a note, new, restored or of an older release, is
//! believed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::backup::name::Generation;
use crate::backup::{BackupError, fault, write_durably};

/// The file in the data folder that names the generation.
const NOTE: &str = "backup-generation";

/// Tells whether anything was noted; what cannot be read is looked at again before anything is shipped.
pub(super) fn is_noted(database: &Path) -> bool {
    read(database).is_ok_and(|noted| noted.is_some())
}

/// Fails if the newest generation at the destination began after the one that was noted last.
pub(super) fn check(database: &Path, newest: Option<&Generation>) -> Result<(), BackupError> {
    let note = place(database);
    let noted = read(database).map_err(|error| fault(&note, error))?;
    match (noted, newest) {
        (Some(ours), Some(newest)) if newest.to_string() > ours => {
            Err(BackupError::Superseded { ours, newest: newest.to_string(), note })
        }
        _ => Ok(()),
    }
}

/// Notes a generation, before it begins, or when it is gone on with.
pub(super) fn note(database: &Path, generation: &Generation) -> Result<(), BackupError> {
    let (place, text) = (place(database), generation.to_string());
    let noted = read(database).map_err(|error| fault(&place, error))?;
    if noted.as_ref() == Some(&text) {
        return Ok(());
    }
    write_durably(&place, &format!("{text}\n")).map_err(|error| fault(&place, error))
}

/// Forgets what was noted: the database is another one now.
pub(super) fn forget(database: &Path) -> Result<(), BackupError> {
    let note = place(database);
    match fs::remove_file(&note) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(&note, error)),
        _ => Ok(()),
    }
}

fn read(database: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(place(database)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn place(database: &Path) -> PathBuf {
    database.with_file_name(NOTE)
}
