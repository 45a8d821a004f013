//! Giving free pages back, so that the file becomes smaller once much was deleted.
//!
//! SQLite uses free pages again and never gives one back by itself. A database made with `auto_vacuum = INCREMENTAL`
//! ([`super::connection`]) knows of each page what points to it, so that the last page of the file can be moved to where a
//! free one is, and the file cut off. When a good part of it is free, the writer does some of that at a time between its
//! callers' work ([`super::chores`]). The file itself is cut by the next checkpoint that is complete ([`super::upkeep`]), so
//! readers keep what they see, and a backup is told by each commit how many pages there are.
//!
//! An older database does not know that, and only `sixfold database compact` makes it smaller.

use std::time::Instant;

use rusqlite::Connection;

use super::index_table::{STEP, Step};
use crate::Error;

/// SQLite's page size, in bytes; the default, and we set no other.
pub(super) const PAGE_BYTES: u64 = 4096;

/// With this many free pages, 8 MiB, it is worth the writing.
const MANY: u32 = 2048;

/// The most pages of one step, 256 KiB: each is written to the log, and all who write wait for the fsync.
const STEP_PAGES: u32 = 64;

const PAGES: &str = "PRAGMA page_count";
const FREE: &str = "PRAGMA freelist_count";
const MODE: &str = "PRAGMA auto_vacuum";
/// One at a time: finding a certain page among millions of free ones may take a millisecond.
const CUT: &str = "PRAGMA incremental_vacuum(1)";

/// What [`MODE`] says of a database that can give pages back.
const INCREMENTAL: i64 = 2;

/// How a database's pages are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// All there are.
    pub(super) pages: u32,
    /// Those that hold nothing.
    pub(super) free: u32,
}

impl Space {
    /// Reads it as of the connection's present state.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let count = |sql| connection.prepare_cached(sql)?.query_row((), |row| row.get(0));
        Ok(Self { pages: count(PAGES)?, free: count(FREE)? })
    }

    /// Gives how many bytes the database takes without its log.
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.pages) * PAGE_BYTES
    }

    /// Gives how many of those hold nothing.
    pub(super) fn free_bytes(self) -> u64 {
        u64::from(self.free) * PAGE_BYTES
    }

    /// Tells whether so much is free that it is given back: over a tenth.
    fn is_due(self) -> bool {
        self.free > MANY.max(self.pages / 10)
    }

    /// Gives how many pages are given back once it is due: all but a twentieth, which is soon used again.
    fn excess(self) -> u32 {
        self.free.saturating_sub((MANY / 2).max(self.pages / 20))
    }
}

/// Looks whether free pages are to be given back, and can be.
pub(super) fn find(connection: &Connection) -> rusqlite::Result<Option<Space>> {
    let space = Space::read(connection)?;
    let can_shrink = || -> rusqlite::Result<bool> {
        let mode: i64 = connection.prepare_cached(MODE)?.query_row((), |row| row.get(0))?;
        Ok(mode == INCREMENTAL)
    };
    Ok(if space.is_due() && can_shrink()? { Some(space) } else { None })
}

/// Gives as many pages back as fit into a step.
pub(super) fn advance(connection: &Connection) -> Result<Step, Error> {
    let began = Instant::now();
    let excess = Space::read(connection)?.excess();
    let mut cut = connection.prepare_cached(CUT)?;
    for _ in 0..excess.min(STEP_PAGES) {
        if began.elapsed() >= STEP {
            return Ok(Step::Goes);
        }
        let mut rows = cut.query(())?;
        while rows.next()?.is_some() {}
    }
    Ok(if excess > STEP_PAGES { Step::Goes } else { Step::Idle })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_a_tenth_and_ends_with_a_twentieth_and_a_little_is_left_alone() {
        let space = |pages, free| Space { pages, free };
        assert!(!space(4000, 2048).is_due() && space(4000, 2049).is_due());
        assert!(!space(100_000, 10_000).is_due() && space(100_000, 10_001).is_due());
        assert_eq!(space(100_000, 10_001).excess(), 5_001);
        assert_eq!(space(3000, 2100).excess(), 2100 - 1024);
        assert_eq!(space(100_000, 5_000).excess(), 0);
    }

    /// A database of some 12 MiB, nearly all of them free.
    fn emptied(mode: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let sql = "CREATE TABLE blobs (number INTEGER PRIMARY KEY, blob); \
            INSERT INTO blobs (blob) VALUES (zeroblob(9000000)), (zeroblob(100000)), (zeroblob(3000000)); \
            DELETE FROM blobs WHERE number <> 2";
        connection.execute_batch(&format!("PRAGMA auto_vacuum = {mode}; {sql}")).unwrap();
        connection
    }

    #[test]
    fn step_by_step_all_is_given_back_but_what_is_left_to_be_used_again() {
        let connection = emptied("incremental");
        let mut space = find(&connection).unwrap().unwrap();
        while advance(&connection).unwrap() == Step::Goes {
            let now = Space::read(&connection).unwrap();
            assert!(
                now.pages < space.pages && space.pages - now.pages <= STEP_PAGES + 1,
                "{space:?} {now:?}"
            );
            space = now;
        }
        let end = Space::read(&connection).unwrap();
        assert!(end.free <= MANY / 2 && end.pages < MANY, "{end:?}");
        assert_eq!(find(&connection).unwrap(), None);
    }

    #[test]
    fn a_database_that_was_made_without_it_is_left_alone() {
        let connection = emptied("none");
        assert!(Space::read(&connection).unwrap().is_due());
        assert_eq!(find(&connection).unwrap(), None);
    }
}
