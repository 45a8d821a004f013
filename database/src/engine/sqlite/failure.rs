//! What the callers of a batch that failed are answered.

use rusqlite::ErrorCode;

use crate::Error;
use crate::engine::failures::not_done;

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
}
