//! Moving all data from one engine to another: `sixfold database copy FROM TO`.
//!
//! The source is read in one snapshot, in the order of its keys; the destination, which must be empty, is
//! written in one transaction, read again, and committed only if the two hold the same: as many of each, with
//! the same SHA-256 over all of it. If they do not, the source sends all once more, and what differs is named. A few items at a time are in memory, however many there are.

mod difference;
mod digest;
mod way;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::difference::{Differences, Taken};
pub(crate) use self::digest::Digest;
pub(crate) use self::way::{End, Inbox, Outbox, Part};
use crate::engine::{postgres, sqlite};
use crate::{Change, Committed, Earlier, Error, Job, JobState, OpenError, Record, Url};

/// How many items travel together.
pub(crate) const CHUNK: usize = 64;

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records there are.
    pub records: u64,
    /// How many earlier versions of them.
    pub versions: u64,
    /// How many changes.
    pub changes: u64,
    /// How many jobs, ended ones included.
    pub jobs: u64,
    /// How many kept answers.
    pub answers: u64,
    /// The last sequence that was given out.
    pub sequence: u64,
    /// The SHA-256 of all of it, the same at both ends.
    pub sha256: String,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the two cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is something already.
    #[error("{place} is not empty; nothing was copied")]
    NotEmpty {
        /// The destination.
        place: String,
    },
    /// The source ended before all was read.
    #[error("the source ended early; nothing was copied")]
    Unfinished,
    /// What was written is not what was read.
    #[error("the destination does not hold what the source does: {what}; nothing was copied")]
    Differs {
        /// The first few things that differ, by name.
        what: String,
    },
    /// A record of the source cannot be read.
    #[error(
        "record {id} in {collection} of {namespace} cannot be read, so it cannot be copied: delete it, or what it was before; nothing was copied"
    )]
    Unreadable {
        /// The namespace.
        namespace: String,
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
    },
    /// Reading or writing failed.
    #[error("{0}; nothing was copied")]
    Failed(Error),
    /// The data is there, and one of its indexes is not.
    #[error("all data was copied, but an index of {collection} could not be made: {error}")]
    Index {
        /// The collection.
        collection: String,
        /// Why.
        error: Error,
    },
}

impl From<Error> for CopyError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One thing that is copied.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Item {
    Record {
        namespace: String,
        record: Record,
    },
    Earlier {
        namespace: String,
        version: Earlier,
    },
    Change(Change),
    Job(Box<Job>),
    Answer {
        namespace: String,
        key: String,
        fingerprint: String,
        committed: Committed,
        expires_at: Timestamp,
    },
}

impl Item {
    /// Checks that it is a document that was read whole, and can be written again.
    pub(crate) fn check_readable(&self) -> Result<(), CopyError> {
        let (Self::Record { namespace, record }
        | Self::Earlier { namespace, version: Earlier { record, .. } }) = self
        else {
            return Ok(());
        };
        match record.unreadable {
            false => Ok(()),
            true => Err(CopyError::Unreadable {
                namespace: namespace.clone(),
                collection: record.collection.clone(),
                id: record.id.clone(),
            }),
        }
    }

    /// Makes an item of a job: whether a waiting one is ready depends on when one looks.
    pub(crate) fn of_job(mut job: Job) -> Self {
        if job.state == JobState::Scheduled {
            job.state = JobState::Ready;
        }
        Self::Job(Box::new(job))
    }
}

/// Copies everything; `data` is the folder that a plain `sqlite` stands for.
pub async fn copy(from: &Url, to: &Url, data: &Path) -> Result<Summary, CopyError> {
    let (outbox, inbox) = way::make();
    // Both are opened before anything is moved, so that what cannot be opened is said at once.
    let reading = read(from.clone(), data.to_owned(), outbox);
    let writing = write(to.clone(), data.to_owned(), inbox);
    let (read, written) = tokio::join!(reading, writing);
    match (read, written) {
        (Ok(()), written) => written,
        // A source that fails leaves the destination without an end, which says less.
        (Err(error), Ok(_) | Err(CopyError::Unfinished)) => Err(error),
        (Err(_), Err(error)) => Err(error),
    }
}

async fn read(from: Url, data: PathBuf, mut outbox: Outbox) -> Result<(), CopyError> {
    match from {
        Url::Sqlite => blocking(move || sqlite::transfer::send_all(&data, &mut outbox)).await,
        Url::SqliteIn(folder) => blocking(move || sqlite::transfer::send_all(&folder, &mut outbox)).await,
        Url::Postgres(url) => postgres::transfer::send_all(&url, &mut outbox).await,
    }
}

async fn write(to: Url, data: PathBuf, mut inbox: Inbox) -> Result<Summary, CopyError> {
    match to {
        Url::Sqlite => blocking(move || sqlite::transfer::receive_all(&data, &mut inbox)).await,
        Url::SqliteIn(folder) => blocking(move || sqlite::transfer::receive_all(&folder, &mut inbox)).await,
        Url::Postgres(ref url) => postgres::transfer::receive_all(url, &to.to_string(), &mut inbox).await,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CopyError> + Send + 'static,
) -> Result<T, CopyError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Storage { reason: error.to_string() }.into()))
}
