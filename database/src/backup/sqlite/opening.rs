//! Whether a data folder may be opened, as the destination tells.
//!
//! One without a database is a new installation, or its volume is not mounted, its disk was replaced, or a restore in it
//! was broken off. A database begun there by mistake would be the newest generation at the destination: what `restore
//! --at latest` gives, and for which retention removes the others in time. So where the destination holds a backup, or a
//! restore left something, nothing is begun. One whose database another machine went on with ([`lineage`]) is not opened
//! either: two that answer are worse than one that does not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{Recovery, lineage};
use crate::backup::config::Config;
use crate::backup::name::Name;
use crate::backup::{BackupError, DestinationError, beside};
use crate::engine::OpenError;

/// How long the start of a database that is there waits for the destination to tell; one that does not is asked again
/// before anything is shipped.
const PATIENCE: Duration = Duration::from_secs(3);

/// Fails if there is no database and something tells that there should be one, or if somebody went on with the one there.
pub(crate) fn check(config: &Config, database: &Path) -> Result<(), OpenError> {
    match database.exists() {
        true => check_lineage(config, database),
        false => check_absence(config, database),
    }
}

fn check_lineage(config: &Config, database: &Path) -> Result<(), OpenError> {
    if config.destination.is_none() || !lineage::is_noted(database) {
        return Ok(());
    }
    let superseded = match newest(config, PATIENCE) {
        Ok(newest) => lineage::check(database, newest.map(|name| name.generation).as_ref()),
        Err(error) => {
            tracing::warn!(%error, "whether another machine went on with this database is not known");
            Ok(())
        }
    };
    superseded.map_err(|error| OpenError::Config { reason: error.to_string() })
}

fn check_absence(config: &Config, database: &Path) -> Result<(), OpenError> {
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
    match newest(config, config.timeout) {
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
fn newest(config: &Config, patience: Duration) -> Result<Option<Name>, BackupError> {
    let destination = Recovery::open(config)?.destination;
    let listing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| BackupError::Settings(error.to_string()))?;
        let listed = runtime.block_on(async { tokio::time::timeout(patience, destination.list()).await });
        // A call into a file system that hangs would be waited for otherwise.
        runtime.shutdown_background();
        Ok(listed.map_err(|_| DestinationError::failed("the destination", "it does not answer"))??)
    });
    let listed = listing.join().unwrap_or(Err(BackupError::Stopping))?;
    Ok(listed.into_iter().map(|(name, _)| name).max_by_key(|name| (name.at, name.last)))
}
