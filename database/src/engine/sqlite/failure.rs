//! What a write that the storage failed is answered, and how often that is said in the log.

use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

use crate::Error;

/// How often failures are said at most; a full disk fails every write there is.
const SAY_INTERVAL: Duration = Duration::from_secs(1);

/// What callers are told; the log says how.
const NOT_DONE: &str = "the write failed and nothing of it was done";

/// Why a batch failed.
#[derive(Debug)]
pub(super) struct Failed {
    reason: String,
    code: Option<ErrorCode>,
    /// Whether it was `COMMIT` that failed.
    in_commit: bool,
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self { reason: error.to_string(), code: error.sqlite_error_code(), in_commit: false }
    }
}

impl Failed {
    /// A batch of which `COMMIT` failed.
    pub(super) fn in_commit(error: rusqlite::Error) -> Self {
        Self { in_commit: true, ..error.into() }
    }

    /// A batch that ended with one caller's error, which says more than what followed from it.
    pub(super) fn after(cause: &Error, error: rusqlite::Error) -> Self {
        Self { reason: cause.to_string(), ..error.into() }
    }

    /// Says why, for the log.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Says what the batch's callers are told.
    ///
    /// Only of a `COMMIT` that could not be written or flushed it is not known whether the log on the disk
    /// holds it: a recovery after a crash may find it there.
    pub(super) fn answer(&self) -> Error {
        match (self.in_commit, self.code) {
            (true, Some(ErrorCode::SystemIoFailure)) => {
                Error::Unknown { reason: "the disk failed during the commit".into() }
            }
            _ => not_done(),
        }
    }
}

/// Says that nothing was done for one caller whose own statements failed.
pub(super) fn not_done() -> Error {
    Error::Unavailable { reason: NOT_DONE.into() }
}

/// When failures were last said, and how many were not since.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    said: Option<Instant>,
    unsaid: u64,
}

impl FailureLog {
    /// Notes a failure; gives how many went unsaid before it if this one is to be said.
    pub(super) fn note(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.duration_since(said) < SAY_INTERVAL) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failed(code: i32, in_commit: bool) -> Error {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        if in_commit { Failed::in_commit(error).answer() } else { Failed::from(error).answer() }
    }

    #[test]
    fn a_full_disk_left_nothing_and_a_commit_that_was_not_flushed_leaves_a_doubt() {
        for (code, in_commit) in
            [(ffi::SQLITE_FULL, true), (ffi::SQLITE_FULL, false), (ffi::SQLITE_IOERR_WRITE, false)]
        {
            assert!(matches!(failed(code, in_commit), Error::Unavailable { .. }), "{code}");
        }
        assert!(matches!(failed(ffi::SQLITE_IOERR_FSYNC, true), Error::Unknown { .. }));
    }

    #[test]
    fn failures_are_said_once_a_second_and_the_others_are_counted() {
        let (mut log, start) = (FailureLog::default(), Instant::now());
        assert_eq!(log.note(start), Some(0));
        assert_eq!(log.note(start + SAY_INTERVAL / 2), None);
        assert_eq!(log.note(start + SAY_INTERVAL / 2), None);
        assert_eq!(log.note(start + SAY_INTERVAL), Some(2));
        assert_eq!(log.note(start + SAY_INTERVAL * 2), Some(0));
    }
}
