//! A backup on command: the whole database in one file, and its verification.
//!
//! It is made with SQLite's backup API on a read-only connection of the process that owns the data
//! directory, in one step: one read snapshot, so it is consistent and holds up no writer. The owner does
//! it, through `POST /v1/backup`, because a second process at the file would end the rule that exactly one
//! has it open. When nobody owns the directory, whoever asks takes the lock and is the owner meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use process::{ClusterToken, Secret};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{check, digest};
use crate::backup::{BackupError, beside, damaged, fault, sync};
use crate::engine::sqlite::{
    Owner, check_library, create_private, database_file, keep_log, open_reader, open_writer, schema,
};
use crate::{Config, Engine, OpenError, Remote};

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Its schema's version.
    pub schema: u32,
    /// How many records it holds.
    pub records: u64,
    /// How many jobs it holds, ended ones included.
    pub jobs: u64,
    /// The sequence of its last change.
    pub sequence: u64,
    /// Its SHA-256 digest, written or checked with the file; `None` when none was beside it to check.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// What `POST /v1/backup` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// An absolute path on the role's host.
    pub(crate) file: PathBuf,
}

/// Writes a consistent copy of the database to a new file, whether or not its role is running.
///
/// With a running role, the role writes the file, on its own host.
pub async fn backup(
    config: &Config,
    data: &Path,
    token: &ClusterToken,
    file: &Path,
) -> Result<Report, BackupError> {
    if config.url.is_postgres() {
        return Err(BackupError::NotSqlite);
    }
    let data = config.folder(data);
    let file = std::path::absolute(file).map_err(|error| fault(file, error))?;
    match Owner::take(data) {
        Ok(owner) => {
            let data = data.to_owned();
            blocking(file.clone(), move || {
                let _owner = owner;
                let source = database_file(&data);
                // Asking for the metadata opens nothing.
                if !source.exists() {
                    return Err(BackupError::Missing { data });
                }
                // As the owner it may also have to recover a log that a crash left.
                let connection = open_writer(&source).map_err(|error| fault(&source, error))?;
                // A continuous backup goes on from the log that is there.
                keep_log(&connection).map_err(|error| fault(&source, error))?;
                copy(&connection, &file)
            })
            .await
        }
        Err(OpenError::InUse { .. }) => {
            let credential: Option<Secret> = token.secret().cloned();
            Remote::new(config.address(), credential).backup(&file).await.map_err(BackupError::Role)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a consistent copy of an open database to a new file.
pub(crate) async fn of_engine(engine: &Engine, file: PathBuf) -> Result<Report, BackupError> {
    let Engine::Sqlite(sqlite) = engine else { return Err(BackupError::NotSqlite) };
    let source = sqlite.file().to_owned();
    blocking(file.clone(), move || copy(&open_reader(&source).map_err(|error| fault(&source, error))?, &file))
        .await
}

/// Checks a backup: the digest beside it if there is one, the structure of its pages, its indexes against its
/// tables, its foreign keys, its schema.
///
/// SQLite keeps no checksums: without the digest, a flipped bit within a stored document is not noticed.
pub fn verify(file: &Path) -> Result<Report, BackupError> {
    check_library()?;
    let storage = |error: rusqlite::Error| damaged(file, error);
    let size_bytes = fs::metadata(file).map_err(|error| fault(file, error))?.len();
    let sha256 = digest::check(file)?;
    let connection = check::open(file)?;
    check::structure_of(&connection, file)?;
    let version = schema::check(&connection)?;
    if version == 0 {
        return Err(BackupError::Damaged { file: file.to_owned(), reason: "it is empty".into() });
    }
    let count = |sql: &str| {
        let counted: i64 = connection.query_row(sql, (), |row| row.get(0)).map_err(storage)?;
        Ok::<u64, BackupError>(u64::try_from(counted).unwrap_or(0))
    };
    Ok(Report {
        file: file.to_owned(),
        size_bytes,
        schema: version,
        records: count("SELECT count(*) FROM records")?,
        jobs: count("SELECT count(*) FROM jobs")?,
        sequence: count("SELECT coalesce(max(sequence), 0) FROM changes")?,
        sha256,
    })
}

fn copy(source: &Connection, file: &Path) -> Result<Report, BackupError> {
    if file.exists() {
        return Err(BackupError::Exists { file: file.to_owned() });
    }
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(BackupError::NoFolder { folder: folder.to_owned() });
    }
    let partial = beside(file, ".partial");
    // What an earlier, broken attempt left.
    let _ = fs::remove_file(&partial);
    let copied = copy_pages(source, &partial);
    let verified = copied.and_then(|()| sync(&partial)).and_then(|()| verify(&partial));
    let finish = |report: Report| {
        let sha256 = digest::of(&partial)?;
        // First, so that no backup is ever there without its digest.
        digest::write(file, &sha256)?;
        // Unlike a rename, a hard link never replaces what appeared meanwhile.
        fs::hard_link(&partial, file).map_err(|error| {
            digest::remove(file);
            fault(file, error)
        })?;
        sync(file.parent().unwrap_or(Path::new("/")))?;
        Ok(Report { file: file.to_owned(), sha256: Some(sha256), ..report })
    };
    let finished = verified.and_then(finish);
    let _ = fs::remove_file(&partial);
    finished
}

pub(super) fn copy_pages(source: &Connection, file: &Path) -> Result<(), BackupError> {
    create_private(file).map_err(|error| fault(file, error))?;
    write_pages(source, file).map_err(|error| fault(file, error))
}

fn write_pages(source: &Connection, file: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(file)?;
    {
        let backup = rusqlite::backup::Backup::new(source, &mut target)?;
        // All pages in one step, hence of one snapshot.
        backup.step(-1)?;
    }
    // A backup is one file: it must not ask for a log beside it.
    target.pragma_update(None, "journal_mode", "delete")?;
    target.close().map_err(|(_, error)| error)
}

async fn blocking(
    file: PathBuf,
    work: impl FnOnce() -> Result<Report, BackupError> + Send + 'static,
) -> Result<Report, BackupError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(fault(&file, error)))
}
