//! Whether a data folder without a database may begin one.
//!
//! Such a folder is a new installation, or one whose volume is not mounted, whose disk was replaced, or in which a restore
//! was broken off. A database begun there by mistake would be the newest generation at the destination: what `restore
//! --at latest` gives, and for which retention removes the others in time. So where the destination holds a backup, or a
//! restore left something, nothing is begun.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::config::Config;
use super::name::Name;
use super::{BackupError, Recovery, beside};
use crate::engine::OpenError;

/// Fails if there is no database and something tells that there should be one.
pub(crate) fn check(config: &Config, database: &Path) -> Result<(), OpenError> {
    if database.exists() {
        return Ok(());
    }
    let refuse = |reason: String| Err(OpenError::Config { reason });
    if let Some(left) = left_by_restore(database) {
        let left = left.display();
        return refuse(format!(
            "there is no {}, and {left} was left by a restore that was broken off: restore again, or move it away",
            database.display()
        ));
    }
    if config.destination.is_none() {
        return Ok(());
    }
    match newest(config) {
        Ok(None) => Ok(()),
        Ok(Some(name)) => refuse(format!(
            "there is no {}, and the backup destination holds a database, up to commit {} of {}: restore it with \
             `sixfold database restore --at latest`, or name another destination in database.backup.destination",
            database.display(),
            name.last,
            Timestamp::from_microsecond(name.at).unwrap_or_default()
        )),
        // Of one that cannot be used more is said once it is to be used.
        Err(error) => {
            tracing::debug!(%error, "whether the destination holds a backup is not known");
            Ok(())
        }
    }
}

/// Finds what a restore made beside the database's place.
fn left_by_restore(database: &Path) -> Option<PathBuf> {
    let partial = beside(database, ".partial");
    let replaced = beside(database, ".replaced-");
    let is_replaced = |path: &PathBuf| path.to_string_lossy().starts_with(&*replaced.to_string_lossy());
    let listed = database.parent()?.read_dir().ok()?;
    let mut paths = listed.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| *path == partial || is_replaced(path))
}

/// Gives the newest file at the destination. On a thread of its own, for the caller may be within a runtime.
fn newest(config: &Config) -> Result<Option<Name>, BackupError> {
    let destination = Recovery::open(config)?.destination;
    let listing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| BackupError::Settings(error.to_string()))?;
        Ok(runtime.block_on(destination.list())?)
    });
    let listed = listing.join().unwrap_or(Err(BackupError::Stopping))?;
    Ok(listed.into_iter().map(|(name, _)| name).max_by_key(|name| (name.at, name.last)))
}
