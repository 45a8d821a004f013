//! The log that the last process left, written once more before it is read.
//!
//! After an fsync that failed, Linux takes the pages for clean: the next process reads them from memory, and the disk may
//! never have had them. A commit whose caller was told that nobody knows would be taken up from there, later commits
//! be flushed behind it, and a loss of power would end the log before them. So what a recovery is going to read is
//! written again, as it is, and flushed. While a process runs this is not needed: its next commit writes over what
//! could not be flushed, and a checkpoint that failed begins again with the log ([`super::backfill`]).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::backup::log_path;

/// How much is read and written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Writes the log of a database again and flushes it. Nobody may have the database open.
pub(super) fn write(database: &Path) -> io::Result<()> {
    match OpenOptions::new().read(true).write(true).open(log_path(database)) {
        Ok(log) => write_file(&log),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_file(log: &File) -> io::Result<()> {
    let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
    loop {
        match log.read_at(&mut piece, at)? {
            0 => break,
            read => {
                log.write_all_at(&piece[..read], at)?;
                at += read as u64;
            }
        }
    }
    log.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_what_it_was_and_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("sixfold.db");
        write(&database).unwrap();
        assert!(!log_path(&database).exists());
        let content: Vec<u8> = (0..PIECE_BYTES + 77).map(|at| (at % 251) as u8).collect();
        std::fs::write(log_path(&database), &content).unwrap();
        write(&database).unwrap();
        assert!(std::fs::read(log_path(&database)).unwrap() == content);
    }
}
