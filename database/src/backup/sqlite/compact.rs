//! Writing a database's file anew without what is free in it: `sixfold database compact`.
//!
//! A running database makes its file smaller by itself (`engine::sqlite::vacuum`), unless it was made before that was there.
//! This makes such a one able to, and any one as small as it can be. What is written anew is compared with what is there, and takes its
//! place by a rename, as a restore does; until then nothing is changed. The log ends with the old file, so a continuous backup
//! begins a new generation with the next start.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::object::Digest;
use super::{check, log_path};
use crate::backup::{BackupError, beside, damaged, fault, sync};
use crate::engine::sqlite::{
    Owner, check_library, create_private, database_file, open_reader, open_writer, schema,
};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// The file.
    pub file: PathBuf,
    /// Its size before.
    pub from_bytes: u64,
    /// Its size now.
    pub to_bytes: u64,
}

/// Writes the database of a data directory anew, which nobody may have open; blocks.
pub fn compact(data: &Path) -> Result<Compacted, BackupError> {
    check_library()?;
    let file = database_file(data);
    // Asking for the metadata opens nothing.
    if !file.exists() {
        return Err(BackupError::Missing { data: data.to_owned() });
    }
    let _owner = Owner::take(data)?;
    let partial = beside(&file, ".partial");
    // What an earlier, broken attempt left.
    for part in ["", "-journal"] {
        let _ = fs::remove_file(beside(&partial, part));
    }
    create_private(&partial).map_err(|error| fault(&partial, error))?;
    let content = write_anew(&file, &partial)?;
    check::structure(&partial)?;
    let written = open_reader(&partial).and_then(|connection| check::content(&connection));
    if written.map_err(|error| fault(&partial, error))? != content {
        return Err(damaged(&partial, "it does not hold what the database does"));
    }
    let size = |file: &Path| fs::metadata(file).map(|found| found.len()).map_err(|error| fault(file, error));
    let (from_bytes, to_bytes) = (size(&file)?, size(&partial)?);
    sync(&partial)?;
    // A new file must never meet an old one's log, also not after a loss of power.
    if log_path(&file).exists() {
        return Err(fault(&log_path(&file), "the log could not be written back"));
    }
    sync(data)?;
    fs::rename(&partial, &file).map_err(|error| fault(&file, error))?;
    sync(data)?;
    Ok(Compacted { file, from_bytes, to_bytes })
}

/// Writes all a database holds to another file, writes its log back and ends it; gives the digest of its content.
fn write_anew(file: &Path, partial: &Path) -> Result<Digest, BackupError> {
    let connection = open_writer(file).map_err(|error| fault(file, error))?;
    schema::check(&connection)?;
    let written = || -> rusqlite::Result<Digest> {
        // Of what is written anew; it changes nothing of a database that is there.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()])?;
        check::content(&connection)
    };
    let content = written().map_err(|error| fault(file, error))?;
    end_log(connection).map_err(|error| fault(file, error))?;
    Ok(content)
}

fn end_log(connection: Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
    // The last connection to close removes it.
    connection.close().map_err(|(_, error)| error)
}
