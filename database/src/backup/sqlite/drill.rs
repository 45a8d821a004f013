//! The restore drill: a restore into a scratch folder, checked by SQLite and compared with what was backed up.

use std::fs;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use rusqlite::Connection;

use super::gather::Note;
use super::object::Digest;
use super::plan::Target;
use super::{Recovery, check, snapshot};
use crate::backup::status::{DrillReport, Position};
use crate::backup::{BackupError, fault};
use crate::engine::sqlite::open_reader;

/// Gives the digest of a database's content.
pub(super) fn content_of(connection: &Connection, file: &Path) -> Result<Digest, BackupError> {
    check::content(connection).map_err(|error| fault(file, error))
}

/// Restores a commit and compares its content, or the latest state without anything to compare it with.
///
/// Whatever fails is the report's fault: a drill that cannot be carried out is a backup that cannot be restored.
pub(super) async fn drill(
    recovery: &Recovery,
    expected: Option<(u64, Digest)>,
    scratch: &Path,
    note: Note<'_>,
) -> DrillReport {
    let began = Instant::now();
    let done = restore_and_compare(recovery, expected.as_ref(), scratch, note).await;
    let _ = fs::remove_dir_all(scratch);
    let commit = done.as_ref().ok().copied().or(expected.map(|(commit, _)| commit)).unwrap_or(0);
    DrillReport {
        at: Timestamp::now(),
        position: Position::Commit(commit),
        seconds: began.elapsed().as_secs_f64(),
        fault: done.err().map(|error| error.to_string()),
    }
}

async fn restore_and_compare(
    recovery: &Recovery,
    expected: Option<&(u64, Digest)>,
    scratch: &Path,
    note: Note<'_>,
) -> Result<u64, BackupError> {
    snapshot::make_empty(scratch)?;
    let file = scratch.join("restored.db");
    let target = expected.map_or(Target::Latest, |(commit, _)| Target::Commit(*commit));
    if target != Target::Latest {
        // Where the end of a backup is missing, the latest state is refused, whatever lies before.
        recovery.plan(Target::Latest).await?;
    }
    let (plan, _) = recovery.plan(target).await?;
    let reached = recovery.make(&plan, &file, note).await?;
    check::structure(&file)?;
    let connection = open_reader(&file).map_err(|error| fault(&file, error))?;
    let found = content_of(&connection, &file)?;
    match expected {
        Some((_, digest)) if *digest != found => {
            Err(crate::backup::damaged(&file, "its content is not what the database held after that commit"))
        }
        _ => Ok(reached.commit),
    }
}
