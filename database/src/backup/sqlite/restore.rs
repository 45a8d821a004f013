//! Putting a backup in the place of a database: a copy's file, or what a plan gathers at a destination.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

use super::copy::{copy_pages, verify};
use super::{Report, lineage};
use crate::backup::{BackupError, beside, fault, sync};
use crate::engine::numbers::beyond_all;
use crate::engine::sqlite::{Owner, database_file, open_reader};

/// Puts a backup into a data directory that nobody has open; replaces a database there only with `force`,
/// and then keeps the old one beside it.
pub fn restore(file: &Path, data: &Path, force: bool) -> Result<Report, BackupError> {
    let sha256 = verify(file)?.sha256;
    let _owner = take_folder(data, force)?;
    let partial = Partial::of(data);
    let source = open_reader(file).map_err(|error| fault(file, error))?;
    copy_pages(&source, partial.file())?;
    let report = put_in_place(partial.file(), data)?;
    Ok(Report { sha256, ..report })
}

/// A database that is made beside its place; what is not put there goes with this.
pub(super) struct Partial(PathBuf);

impl Partial {
    /// Names it, and removes what an earlier, broken attempt left.
    pub(super) fn of(data: &Path) -> Self {
        let partial = beside(&database_file(data), ".partial");
        remove_parts(&partial);
        Self(partial)
    }

    pub(super) fn file(&self) -> &Path {
        &self.0
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        remove_parts(&self.0);
    }
}

/// Removes a database that was being made, with what belongs to it.
pub(super) fn remove_parts(file: &Path) {
    for part in ["", "-wal", "-shm", "-journal", ".base"] {
        let _ = fs::remove_file(beside(file, part));
    }
}

/// Becomes the owner of a data directory whose database may be replaced.
pub(super) fn take_folder(data: &Path, force: bool) -> Result<Owner, BackupError> {
    let owner = Owner::take(data)?;
    let target = database_file(data);
    match target.exists() && !force {
        true => Err(BackupError::Exists { file: target }),
        false => Ok(owner),
    }
}

/// Makes a whole database file the one of a data directory that the caller owns.
pub(super) fn put_in_place(partial: &Path, data: &Path) -> Result<Report, BackupError> {
    let target = database_file(data);
    begin_anew(partial, Timestamp::now()).map_err(|error| fault(partial, error))?;
    sync(partial)?;
    let report = verify(partial)?;
    set_aside(&target)?;
    lineage::forget(&target)?;
    fs::rename(partial, &target).map_err(|error| fault(&target, error))?;
    sync(data)?;
    Ok(Report { file: target, ..report })
}

/// Makes sure that no version and no fencing token given out after the backup is given out again with
/// another meaning: what was written since is lost, but it was seen.
fn begin_anew(file: &Path, now: Timestamp) -> rusqlite::Result<()> {
    let from = beyond_all(now);
    let connection = Connection::open(file)?;
    // What a plan gathered says that it has a log; this is one file, until it is opened as a database again.
    connection.pragma_update(None, "journal_mode", "delete")?;
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'changes', 0 \
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'changes')",
        (),
    )?;
    connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'changes'", [from])?;
    connection.execute("UPDATE jobs SET lease_token = max(lease_token, ?1)", [from])?;
    // Followers may have seen changes that are lost: all of them are to list again. A backup of an earlier release has no
    // place for that.
    if connection.table_exists(None, "trimmed")? {
        connection.execute(
            "INSERT INTO trimmed (namespace, sequence) SELECT '', seq FROM sqlite_sequence WHERE name = 'changes' \
             ON CONFLICT (namespace) DO UPDATE SET sequence = excluded.sequence",
            (),
        )?;
    }
    connection.close().map_err(|(_, error)| error)
}

/// Renames a database and what belongs to it, so that a restore by mistake can be undone.
fn set_aside(target: &Path) -> Result<(), BackupError> {
    // Closing the only connection writes the log back, so the file is whole; a damaged one stays as it is.
    if target.exists()
        && let Ok(connection) = Connection::open(target)
    {
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    }
    let suffix = format!(".replaced-{}", Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ"));
    // The log first: a new database must never meet an old one's log.
    for part in ["-wal", "-shm"] {
        let old = beside(target, part);
        if old.exists() {
            let aside = beside(target, &format!("{suffix}{part}"));
            fs::rename(&old, &aside).map_err(|error| fault(&old, error))?;
        }
    }
    if !target.exists() {
        return Ok(());
    }
    // By a second name, so that at no moment there is no database; the new one then takes the first.
    let aside = beside(target, &suffix);
    let kept = fs::hard_link(target, &aside).or_else(|_| fs::rename(target, &aside));
    kept.map_err(|error| fault(target, error))
}
