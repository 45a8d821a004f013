//! Files written, and folders copied, measured and removed.

use std::fs;
use std::io;
use std::path::Path;

use crate::backup::{BackupError, beside, fault, sync};

/// What a folder that is being removed has at the end of its name.
pub(super) const REMOVED: &str = ".removed";

/// What becomes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is flushed.
    Kept,
    /// It is thrown away soon.
    Scratch,
}

/// Copies a folder with all that is in it; `note` is told of the bytes. Links are not followed: a base has none but
/// those of tablespaces, which are refused.
pub(super) fn copy(from: &Path, to: &Path, purpose: Purpose, note: &dyn Fn(u64)) -> Result<(), BackupError> {
    make_private(to)?;
    for entry in fs::read_dir(from).map_err(|error| fault(from, error))? {
        let entry = entry.map_err(|error| fault(from, error))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|error| fault(&source, error))?;
        if kind.is_dir() {
            copy(&source, &target, purpose, note)?;
        } else if kind.is_file() {
            note(fs::copy(&source, &target).map_err(|error| fault(&target, error))?);
            if purpose == Purpose::Kept {
                sync(&target)?;
            }
        } else {
            return Err(fault(&source, "it is neither a file nor a folder"));
        }
    }
    if purpose == Purpose::Kept { sync(to) } else { Ok(()) }
}

/// Makes a folder that only its owner may enter, which PostgreSQL insists on.
pub(super) fn make_private(folder: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    made.map_err(|error| fault(folder, error))
}

/// Adds the lengths of all files in a folder.
pub(super) fn size(folder: &Path) -> Result<u64, BackupError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(|error| fault(folder, error))? {
        let entry = entry.map_err(|error| fault(folder, error))?;
        let found = entry.metadata().map_err(|error| fault(&entry.path(), error))?;
        bytes += if found.is_dir() { size(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

/// Removes a folder or a file; what is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), BackupError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(path, error)),
        _ => Ok(()),
    }
}

/// Removes a folder, under another name first: what an interruption leaves of it is no longer taken for what it was.
pub(super) fn remove_at_once(folder: &Path) -> Result<(), BackupError> {
    let removed = beside(folder, REMOVED);
    // What an interruption left.
    remove(&removed)?;
    match fs::rename(folder, &removed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(folder, error)),
        _ => remove(&removed),
    }
}

/// Writes a small file so that it is whole or not there.
pub(super) fn write_durably(file: &Path, text: &[u8]) -> Result<(), BackupError> {
    let partial = beside(file, ".new");
    let written = fs::write(&partial, text).and_then(|()| {
        fs::File::open(&partial)?.sync_all()?;
        fs::rename(&partial, file)
    });
    written.map_err(|error| fault(file, error))?;
    sync(file.parent().unwrap_or(file))
}

/// Gives a folder and all that is in it to another user.
pub(super) fn give_away(path: &Path, user: (u32, u32)) -> Result<(), BackupError> {
    std::os::unix::fs::lchown(path, Some(user.0), Some(user.1)).map_err(|error| fault(path, error))?;
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        for entry in fs::read_dir(path).map_err(|error| fault(path, error))? {
            give_away(&entry.map_err(|error| fault(path, error))?.path(), user)?;
        }
    }
    Ok(())
}
