//! How much of the log is taken for written back, and that it is not, once a checkpoint failed.
//!
//! A checkpoint that ends before the log does, because somebody wrote meanwhile, counts what it wrote back and does not
//! flush the file: the next complete one flushes both (`walCheckpoint` in SQLite's wal.c). When that fsync fails, Linux
//! takes all those pages for clean, and SQLite begins the next attempt behind what was counted. So the earlier pages would
//! never be written again, the log would begin anew, and a loss of power would show them as they were. After an error
//! the count is therefore taken back to nothing, and the whole log is written back once more.
//!
//! SQLite has no call for that. The count is a number in the index of the log, the file `-shm`, whose form is documented:
//! <https://sqlite.org/walformat.html#the_wal_index_header>. Zero is what a process finds there that begins. Both
//! files stay open for as long as connections are: closing them would drop SQLite's locks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::backup::beside;

/// Where the count lies: behind two copies of the index's header, 48 bytes each.
const COUNT_OFFSET: u64 = 96;

/// The count of frames that were written back.
#[derive(Debug)]
pub(super) struct Backfill {
    database: File,
    index: File,
    /// Whether it may count what the disk lost.
    in_doubt: bool,
}

impl Backfill {
    /// Opens the index of a database whose log a connection of this process has open.
    pub(super) fn open(database: &Path) -> io::Result<Self> {
        let index = OpenOptions::new().write(true).open(beside(database, "-shm"))?;
        Ok(Self { database: File::open(database)?, index, in_doubt: false })
    }

    /// Runs a checkpoint; when it fails, the next one writes the whole log back. Nobody else may run one meanwhile.
    pub(super) fn checkpoint<T>(&mut self, run: impl FnOnce() -> rusqlite::Result<T>) -> io::Result<T> {
        self.settle()?;
        run().map_err(|error| {
            self.in_doubt = true;
            // What fails here is tried again before the next checkpoint.
            let _ = self.settle();
            io::Error::other(error)
        })
    }

    /// Flushes what was written back so far, so that the checkpoint that begins the log anew has little to flush.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let flushed = self.database.sync_data();
        self.in_doubt |= flushed.is_err();
        flushed
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.in_doubt {
            self.index.write_all_at(&0_u32.to_ne_bytes(), COUNT_OFFSET)?;
            self.in_doubt = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::engine::sqlite::connection;

    fn checkpoint(connection: &Connection) -> rusqlite::Result<(u32, u32, u32)> {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    }

    #[test]
    fn after_a_checkpoint_that_failed_the_whole_log_is_written_back_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.db");
        let connection = connection::open_writer(&file).unwrap();
        connection.execute_batch("CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('kept')").unwrap();
        let mut backfill = Backfill::open(&file).unwrap();
        let (busy, log, written) = backfill.checkpoint(|| checkpoint(&connection)).unwrap();
        assert!(busy == 0 && log > 0 && log == written, "all of it was written back");
        // The disk loses it. Opened once and kept, because of SQLite's locks.
        let disk = OpenOptions::new().write(true).open(&file).unwrap();
        // The table's page, behind the first one and the one that tells what points to which.
        let lose = || disk.write_all_at(&[0; 4096], 2 * 4096).unwrap();
        let restored = || {
            let bytes = std::fs::read(&file).unwrap();
            bytes.windows(4).any(|window| window == b"kept")
        };
        lose();
        backfill.checkpoint(|| checkpoint(&connection)).unwrap();
        assert!(!restored(), "SQLite begins behind what it counted");
        let failed: io::Result<()> = backfill.checkpoint(|| Err(rusqlite::Error::InvalidQuery));
        failed.unwrap_err();
        backfill.checkpoint(|| checkpoint(&connection)).unwrap();
        assert!(restored());
        let kept: String = connection.query_row("SELECT v FROM t", (), |row| row.get(0)).unwrap();
        assert_eq!(kept, "kept");
    }
}
