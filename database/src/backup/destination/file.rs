//! A folder as destination: each file is written beside, flushed, renamed into place, and its folder flushed.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::root::{Found, Root, fault_of_marker, look, sync};
use super::{DestinationError, PIECE_BYTES, Result};
use crate::backup::replace_private;

/// What a file's name begins with until it is whole.
const PARTIAL: &str = ".partial-";

/// How deep our files lie below the folder: generation, kind, file.
const DEPTH: usize = 3;

/// A folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What tells the folder from another in its place, once it was claimed.
    root: Option<Root>,
    /// The folders whose names this process flushed.
    durable: HashSet<PathBuf>,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Arc::default() }
    }

    /// Makes sure that this is the destination `note` tells of, for as long as the process runs, and flushes the names
    /// of all files: one that a killed process left may be seen here and not be on the disk.
    pub(super) fn claim(&self, note: &Path) -> Result<()> {
        let root = Root::claim(&self.path, note)?;
        let mut state = self.lock();
        (state.root, state.durable) = (Some(root), HashSet::new());
        drop(state);
        settle(&self.path, DEPTH).map_err(|error| DestinationError::failed(self.path.display(), error))
    }

    /// Fails unless the folder is there, and is the one that was claimed.
    pub(super) fn check(&self) -> Result<()> {
        let mut state = self.lock();
        let Some(root) = &state.root else { return look(&self.path).map(drop) };
        if let Found::Moved(root) = root.check(&self.path)? {
            (state.root, state.durable) = (Some(root), HashSet::new());
        }
        Ok(())
    }

    /// Says what is wrong with what tells this destination from others.
    pub(super) fn fault_of_marker(&self) -> Option<(String, String)> {
        fault_of_marker(&self.path)
    }

    pub(super) fn list(&self) -> Result<Vec<(String, u64)>> {
        self.check()?;
        let mut found = Vec::new();
        let listed = list_into(&self.path, "", DEPTH, &mut found);
        listed.map_err(|error| DestinationError::failed(self.path.display(), error))?;
        Ok(found)
    }

    pub(super) fn put(&self, name: &str, bytes: &Bytes, replace: bool) -> Result<()> {
        self.store(name, replace, |file| file.write_all(bytes))
    }

    pub(super) fn upload(&self, name: &str, local: &Path, note: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let mut source =
            File::open(local).map_err(|error| DestinationError::failed(local.display(), error))?;
        self.store(name, false, |file| copy(&mut source, file, note))
    }

    pub(super) fn get(&self, name: &str) -> Result<Bytes> {
        fs::read(self.path.join(name)).map(Bytes::from).map_err(|error| fault(name, error))
    }

    pub(super) fn download(&self, name: &str, local: &Path, note: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let mut source = File::open(self.path.join(name)).map_err(|error| fault(name, error))?;
        let mut target =
            replace_private(local).map_err(|error| DestinationError::failed(local.display(), error))?;
        copy(&mut source, &mut target, note).map_err(|error| fault(name, error))
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        self.check()?;
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(name, error)),
            _ => Ok(()),
        }
    }

    fn store(
        &self,
        name: &str,
        replace: bool,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        self.check()?;
        let path = self.path.join(name);
        let folder = path.parent().unwrap_or(&self.path);
        if !replace && path.exists() {
            // Perhaps its name could not be flushed when it was stored.
            sync(folder).map_err(|error| fault(name, error))?;
            return Err(DestinationError::Exists { name: name.to_owned() });
        }
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = folder.join(format!("{PARTIAL}{file_name}"));
        let stored = self.make_durable(folder).and_then(|()| {
            let mut file = replace_private(&partial)?;
            write(&mut file)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            sync(folder)?;
            file.metadata()
        });
        let file = stored.map_err(|error| {
            let _ = fs::remove_file(&partial);
            fault(name, error)
        })?;
        // The folder may have been taken away, or mounted over, since the look before.
        self.check()?;
        match self.lock().root.as_ref().is_none_or(|root| root.holds(&file)) {
            true => Ok(()),
            false => Err(DestinationError::failed(name, "it was stored in another file system")),
        }
    }

    /// Makes a folder of ours, and the one above it below the root, and flushes the name of each.
    ///
    /// That of a folder that is there too, once: whoever made it may have been killed before it was flushed. The root
    /// itself is never made here: it may be what a share is mounted on.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        if folder == self.path || (folder.is_dir() && self.lock().durable.contains(folder)) {
            return Ok(());
        }
        let above = folder.parent().unwrap_or(&self.path);
        self.make_durable(above)?;
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => sync(above)?,
        }
        self.lock().durable.insert(folder.to_owned());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settle(folder: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if depth > 1 && entry.file_type()?.is_dir() {
            settle(&entry.path(), depth - 1)?;
        }
    }
    sync(folder)
}

fn list_into(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<(String, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let name = format!("{prefix}{}", name.to_string_lossy());
        if kind.is_dir() && depth > 1 {
            list_into(&entry.path(), &format!("{name}/"), depth - 1, found)?;
        } else if kind.is_file() {
            // Removed meanwhile: then it is not there.
            match entry.metadata() {
                Ok(metadata) => found.push((name, metadata.len())),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn copy(source: &mut File, target: &mut File, note: &(dyn Fn(u64) + Sync)) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES.min(1 << 20)];
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(()),
            read => {
                target.write_all(&piece[..read])?;
                note(read as u64);
            }
        }
    }
}

fn fault(name: &str, error: io::Error) -> DestinationError {
    match error.kind() {
        ErrorKind::NotFound => DestinationError::Missing { name: name.to_owned() },
        _ => DestinationError::failed(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_stored_once_listed_read_back_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        assert_eq!(folder.list().unwrap(), []);
        folder.put("g/base/1-2", &Bytes::from_static(b"one"), false).unwrap();
        let again = folder.put("g/base/1-2", &Bytes::from_static(b"two"), false);
        assert_eq!(again, Err(DestinationError::Exists { name: "g/base/1-2".into() }));
        assert_eq!(folder.get("g/base/1-2").unwrap(), "one");
        assert_eq!(folder.list().unwrap(), [("g/base/1-2".to_owned(), 3)]);
        folder.remove("g/base/1-2").unwrap();
        folder.remove("g/base/1-2").unwrap();
        assert_eq!(folder.get("g/base/1-2"), Err(DestinationError::Missing { name: "g/base/1-2".into() }));
    }

    #[test]
    fn nothing_is_stored_in_a_folder_that_took_the_destination_s_place() {
        let machine = tempfile::tempdir().unwrap();
        let (share, away) = (machine.path().join("share"), machine.path().join("away"));
        let folder = Folder::new(&share);
        folder.claim(&machine.path().join("note")).unwrap();
        folder.put("g/base/1-2", &Bytes::from_static(b"one"), false).unwrap();
        fs::rename(&share, &away).unwrap();
        for is_there in [false, true] {
            if is_there {
                fs::create_dir(&share).unwrap();
            }
            let refused = folder.put("g/segments/1-2-3", &Bytes::from_static(b"two"), false);
            assert!(matches!(&refused, Err(DestinationError::Failed { .. })), "{refused:?}");
            assert!(folder.list().is_err());
            assert_eq!(share.exists(), is_there);
        }
        assert_eq!(fs::read_dir(&share).unwrap().count(), 0);
        fs::remove_dir(&share).unwrap();
        fs::rename(&away, &share).unwrap();
        folder.put("g/segments/1-2-3", &Bytes::from_static(b"two"), false).unwrap();
        assert_eq!(folder.get("g/segments/1-2-3").unwrap(), "two");
    }

    #[test]
    fn a_destination_that_cannot_be_written_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("g"), "a file where a folder belongs").unwrap();
        let folder = Folder::new(root.path());
        let failed = folder.put("g/base/1-2", &Bytes::from_static(b"one"), false);
        assert!(matches!(failed, Err(DestinationError::Failed { .. })), "{failed:?}");
        assert_eq!(folder.list().unwrap().len(), 1);
    }
}
