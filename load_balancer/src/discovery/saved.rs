//! What was set at run time, kept in a file across restarts (`load_balancer.state`).
//!
//! The file is replaced whole and durably: written beside, synced, renamed, and the folder synced. While one
//! writing is under way, further changes wait and share the next, so that many renewals cost few writes. A
//! file that cannot be understood is set aside and the balancer starts without it: a balancer that does not
//! start is worse than one that has forgotten a weight, and backends that register come back by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use process::Shutdown;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Directory, Override};

/// The version of the file's form.
const VERSION: u32 = 1;

/// How long somebody who sets a weight waits for the disk; one that others write much to takes seconds for a sync.
const PATIENCE: Duration = Duration::from_secs(15);

/// How soon a writing that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    version: u32,
    /// What was set, by backend.
    pub(crate) overrides: BTreeMap<String, Override>,
    /// The leases that held, by backend; each gets its whole length again when it is loaded, since nobody
    /// could renew it meanwhile, and the clock may have jumped.
    pub(crate) registrations: BTreeMap<String, SavedLease>,
    /// Who had left and not come back; left out while it is nobody, as it was before there was this member.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) left: BTreeSet<String>,
}

/// A lease without its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedLease {
    pub(crate) weight: f64,
    #[serde(with = "process::duration")]
    pub(crate) lease: Duration,
}

/// Why what was saved cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    /// The file or its folder cannot be used at all; a setting or a permission is wrong.
    #[error("load_balancer.state: {}: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
}

/// Writes what a directory holds, and tells what is written.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    path: Option<PathBuf>,
    written: watch::Sender<Written>,
}

/// What the last writing came to.
#[derive(Debug, Clone, Copy)]
struct Written {
    revision: u64,
    is_good: bool,
}

impl Keeper {
    /// Makes a keeper; without a path nothing is kept.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, written: watch::Sender::new(Written { revision: 0, is_good: true }) }
    }

    /// Waits until what was changed at a revision is written; false when it could not be.
    pub(crate) async fn until_saved(&self, revision: u64) -> bool {
        if self.path.is_none() {
            return true;
        }
        let mut written = self.written.subscribe();
        let saved = written.wait_for(|written| written.revision >= revision);
        match tokio::time::timeout(PATIENCE, saved).await {
            Ok(Ok(written)) => written.is_good,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Writes what changes until the shutdown, and once more then.
    pub(crate) async fn run(&self, directory: Arc<Directory>, shutdown: &Shutdown) {
        let Some(path) = &self.path else { return };
        let (mut revisions, mut is_good) = (directory.revisions(), true);
        // What was changed before this began would not be new.
        revisions.mark_changed();
        loop {
            let is_last = tokio::select! {
                changed = revisions.changed() => changed.is_err(),
                () = tokio::time::sleep(RETRY), if !is_good => false,
                () = shutdown.requested() => true,
            };
            let was_good = std::mem::replace(&mut is_good, self.write(path, &directory).await);
            if is_good && !was_good {
                tracing::info!(file = %path.display(), "the state file is written again");
            }
            if is_last {
                return;
            }
        }
    }

    async fn write(&self, path: &Path, directory: &Directory) -> bool {
        let (saved, revision) = directory.to_save();
        let before = *self.written.borrow();
        if before.is_good && before.revision == revision {
            return true;
        }
        let to = path.to_owned();
        let written = tokio::task::spawn_blocking(move || saved.write(&to)).await;
        let result = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        if let (Err(error), true) = (&result, before.is_good) {
            tracing::error!(file = %path.display(), %error, "the state file cannot be written");
        }
        let is_good = result.is_ok();
        self.written.send_replace(Written { revision, is_good });
        is_good
    }
}

impl Saved {
    /// Puts together what is to be saved.
    pub(crate) fn new(
        overrides: BTreeMap<String, Override>,
        registrations: BTreeMap<String, SavedLease>,
        left: BTreeSet<String>,
    ) -> Self {
        Self { version: VERSION, overrides, registrations, left }
    }

    /// Reads the file; without one nothing was saved.
    ///
    /// One that cannot be understood is renamed to `….unreadable` and said aloud.
    pub(crate) fn load(path: &Path) -> Result<Self, SavedError> {
        let unusable = |source| SavedError::Unusable { path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check_folder(path).map_err(unusable)?;
                return Ok(Self::new(BTreeMap::new(), BTreeMap::new(), BTreeSet::new()));
            }
            Err(error) => return Err(unusable(error)),
        };
        let reason = match serde_json::from_slice::<Self>(&bytes) {
            Ok(saved) if saved.version == VERSION => return Ok(saved),
            Ok(saved) => format!("its version is {}, not {VERSION}", saved.version),
            Err(error) => error.to_string(),
        };
        let aside = with_ending(path, "unreadable");
        std::fs::rename(path, &aside).map_err(unusable)?;
        tracing::error!(
            file = %path.display(),
            aside = %aside.display(),
            reason,
            "weights, drains and registrations set before are lost: the state file cannot be read and was set aside"
        );
        Ok(Self::new(BTreeMap::new(), BTreeMap::new(), BTreeSet::new()))
    }

    /// Replaces the file durably; blocks.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = with_ending(path, "new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        file.sync_all()?;
        drop(file);
        std::fs::rename(&beside, path)?;
        File::open(folder(path))?.sync_all()
    }
}

/// Tells at the start, and not at the first change, that a folder is missing or may not be written to.
fn check_folder(path: &Path) -> io::Result<()> {
    let beside = with_ending(path, "new");
    File::create(&beside)?;
    std::fs::remove_file(beside)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(".");
    text.push(ending);
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let set = Override { weight: Some(0.5), drain: Some(true) };
        let lease = SavedLease { weight: 2.0, lease: Duration::from_secs(10) };
        let (set, lease) = (("a:1".to_owned(), set), ("b:1".to_owned(), lease));
        Saved::new(BTreeMap::from([set]), BTreeMap::from([lease]), BTreeSet::from(["c:1".to_owned()]))
    }

    fn nothing() -> Saved {
        Saved::new(BTreeMap::new(), BTreeMap::new(), BTreeSet::new())
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(Saved::load(&path).unwrap(), nothing());
        saved().write(&path).unwrap();
        saved().write(&path).unwrap();
        assert_eq!(Saved::load(&path).unwrap(), saved());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_from_before_it_was_saved_who_left_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        std::fs::write(&path, r#"{"version": 1, "overrides": {}, "registrations": {}}"#).unwrap();
        assert_eq!(Saved::load(&path).unwrap(), nothing());
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_set_aside() {
        for text in ["{\"version\": 1, \"over", "{\"version\": 9, \"overrides\": {}, \"registrations\": {}}"]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            std::fs::write(&path, text).unwrap();
            assert_eq!(Saved::load(&path).unwrap(), nothing());
            assert_eq!(std::fs::read_to_string(folder.path().join("state.json.unreadable")).unwrap(), text);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let error = Saved::load(&folder.path().join("none/state.json")).unwrap_err().to_string();
        assert!(error.starts_with("load_balancer.state: ") && error.contains("none/state.json"), "{error}");
    }
}
