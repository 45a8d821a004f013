//! The one owner of a data directory: a lock on a file of its own.
//!
//! Never on the database file itself: closing any descriptor of it would drop SQLite's own POSIX locks.
//!
//! A file is as durable as the names of the folders it lies in, so those are flushed here, before anything is written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::engine::OpenError;

/// The lock on a data directory; dropping it, or the end of the process, releases it.
#[derive(Debug)]
pub(crate) struct Owner {
    _lock: File,
}

impl Owner {
    /// Takes the directory, making it where it is missing.
    pub(crate) fn take(data: &Path) -> Result<Self, OpenError> {
        let fault =
            |error: std::io::Error| OpenError::Directory { data: data.to_owned(), reason: error.to_string() };
        make_durable(data).map_err(fault)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(data.join("database.lock"))
            .map_err(fault)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { data: data.to_owned() }),
            Err(error) => Err(fault(error.into())),
        }
    }
}

/// Makes a folder and what is missing above it, and flushes the name of each.
///
/// That of a folder that is there too: whoever made it may have been killed before it was flushed.
fn make_durable(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    for above in folder.ancestors().skip(1) {
        match File::open(above).and_then(|above| above.sync_all()) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {} // what we may not read we did not make
            Err(error) if is_not_for_folders(&error) => {}
            flushed => flushed?,
        }
    }
    Ok(())
}

/// Tells whether a file system just does not flush folders: one over a network, or one that is only read.
fn is_not_for_folders(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let data = tempfile::tempdir().unwrap();
        let owner = Owner::take(data.path()).unwrap();
        assert!(matches!(Owner::take(data.path()), Err(OpenError::InUse { .. })));
        drop(owner);
        Owner::take(data.path()).unwrap();
    }
}
