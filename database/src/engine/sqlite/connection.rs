//! Opening the database file: who may write, what a commit promises, and where the files lie.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::engine::OpenError;

/// The oldest SQLite that is safe here: earlier ones can corrupt a WAL that several connections use
/// (the "WAL-reset bug", fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a connection waits for a lock; only a checkpoint that restarts the log ever holds one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many prepared statements a connection keeps: more than there are.
const STATEMENTS: usize = 128;

/// The most memory that a connection keeps pages of the database in, in bytes, unless it is told another; SQLite's own
/// 2 MB hold the upper levels of the indexes of a million records, and not the leaves, each of which is then a read from
/// the file.
pub(crate) const PAGE_CACHE: u64 = 32 << 20;

/// Gives the database file of a data directory.
pub(crate) fn database_file(data: &Path) -> PathBuf {
    data.join("sixfold.db")
}

/// Checks that the SQLite we are linked with is a safe one.
pub(crate) fn check_library() -> Result<(), OpenError> {
    match rusqlite::version_number() >= OLDEST_SQLITE {
        true => Ok(()),
        false => Err(OpenError::Library { found: rusqlite::version() }),
    }
}

/// Makes the file of a database that only we can read; SQLite gives its log the same mode.
///
/// A file that exists is not opened, so none of SQLite's locks can be dropped by it.
pub(crate) fn create_private(file: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Opens a connection that writes: write-ahead log, and an fsync in every commit.
pub(crate) fn open_writer(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // What lets a file become smaller (`vacuum`) is settled with its first page, which the log's mode writes.
    if connection.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0))? == 0 {
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!("journal mode {mode} instead of wal")));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Checkpoints belong to the upkeep thread, so that no caller's commit pays for one.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    set_page_cache(&connection, PAGE_CACHE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Has a connection leave the log in place when it is the last to close: a backup goes on from it.
pub(crate) fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// Has a connection keep as many bytes of pages in memory.
pub(super) fn set_page_cache(connection: &Connection, bytes: u64) -> rusqlite::Result<()> {
    let kib = i64::try_from(bytes >> 10).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kib)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    set_page_cache(&connection, PAGE_CACHE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}
