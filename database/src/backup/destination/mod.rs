//! Where backups go: a folder, or a bucket that speaks S3. A closed set of two, so an enum.
//!
//! A file is whole or not there: a folder gets it by fsync and rename, S3 by one request or a completed
//! upload. Every call has a deadline.

mod client;
mod file;
mod root;
mod s3;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use self::file::Folder;
use self::s3::Bucket;
use super::config::{Config, Place};
use super::name::Name;

/// The largest file that is sent in one piece; larger ones are sent in pieces of this size.
pub(crate) const PIECE_BYTES: usize = 8 << 20;

/// The file in the data folder that tells which destination was used.
pub(super) const NOTE: &str = "backup-destination";

/// Why a destination did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// A file of this name is there already.
    #[error("{name} is there already")]
    Exists {
        /// The file.
        name: String,
    },
    /// There is no such file.
    #[error("{name} is not there")]
    Missing {
        /// The file.
        name: String,
    },
    /// It was not reached, refused, or is full: try again later.
    #[error("{name}: {reason}")]
    Failed {
        /// The file, or the folder.
        name: String,
        /// What the system or the service said.
        reason: String,
    },
}

impl DestinationError {
    pub(super) fn failed(name: impl ToString, reason: impl ToString) -> Self {
        Self::Failed { name: name.to_string(), reason: reason.to_string() }
    }
}

/// A destination; made once and used by one thread.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    kind: Kind,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Kind {
    File(Folder),
    S3(Bucket),
}

type Result<T> = std::result::Result<T, DestinationError>;

impl Destination {
    /// Makes the client of a configured place; nothing is reached yet.
    pub(crate) fn open(place: &Place, config: &Config) -> Result<Self> {
        let kind = match place {
            Place::Folder(folder) => Kind::File(Folder::new(folder)),
            Place::Bucket { bucket, prefix } => Kind::S3(Bucket::open(bucket, prefix, &config.s3)?),
        };
        Ok(Self { kind, timeout: config.timeout })
    }

    /// Makes sure that this is the destination that was used before, of which `note` is kept, and that what is listed is
    /// durable, whoever stored it.
    pub(crate) fn claim(&self, note: &Path) -> Result<()> {
        match &self.kind {
            Kind::File(folder) => folder.claim(note),
            // A bucket is what its name says, and what it lists, it has.
            Kind::S3(_) => Ok(()),
        }
    }

    /// Fails when a folder is away; of a bucket that shows with the next call.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.kind {
            Kind::File(folder) => folder.check(),
            Kind::S3(_) => Ok(()),
        }
    }

    /// Says what is wrong with what tells this destination from others.
    pub(crate) fn fault_of_marker(&self) -> Option<(String, String)> {
        match &self.kind {
            Kind::File(folder) => folder.fault_of_marker(),
            Kind::S3(_) => None,
        }
    }

    /// Lists the files of ours with their sizes, in no order; other files are passed over.
    pub(crate) async fn list(&self) -> Result<Vec<(Name, u64)>> {
        let listed = match &self.kind {
            Kind::File(folder) => folder.list(),
            Kind::S3(bucket) => bucket.list(self.timeout).await,
        }?;
        Ok(listed.into_iter().filter_map(|(name, size)| Some((name.parse().ok()?, size))).collect())
    }

    /// Stores a file under a name that is free.
    pub(crate) async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        match &self.kind {
            Kind::File(folder) => folder.put(name, &bytes, false),
            Kind::S3(bucket) => limit(self.timeout, name, bucket.put(name, bytes, false)).await,
        }
    }

    /// Stores a file, in the place of one that may be there.
    pub(crate) async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        match &self.kind {
            Kind::File(folder) => folder.put(name, &bytes, true),
            Kind::S3(bucket) => limit(self.timeout, name, bucket.put(name, bytes, true)).await,
        }
    }

    /// Stores a local file of any size; `note` is told how many bytes went.
    pub(crate) async fn upload(&self, name: &str, local: &Path, note: &(dyn Fn(u64) + Sync)) -> Result<()> {
        match &self.kind {
            Kind::File(folder) => folder.upload(name, local, note),
            Kind::S3(bucket) => bucket.upload(name, local, self.timeout, note).await,
        }
    }

    /// Reads a whole file.
    pub(crate) async fn get(&self, name: &str) -> Result<Bytes> {
        match &self.kind {
            Kind::File(folder) => folder.get(name),
            Kind::S3(bucket) => limit(self.timeout, name, bucket.get(name)).await,
        }
    }

    /// Reads a file of any size into a new local one; `note` is told how many bytes came.
    pub(crate) async fn download(&self, name: &str, local: &Path, note: &(dyn Fn(u64) + Sync)) -> Result<()> {
        match &self.kind {
            Kind::File(folder) => folder.download(name, local, note),
            Kind::S3(bucket) => bucket.download(name, local, self.timeout, note).await,
        }
    }

    /// Removes a file; one that is not there is no error.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        match &self.kind {
            Kind::File(folder) => folder.remove(name),
            Kind::S3(bucket) => limit(self.timeout, name, bucket.remove(name)).await,
        }
    }
}

/// Gives a call its deadline.
async fn limit<T>(within: Duration, name: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let expired = || DestinationError::failed(name, format!("no answer within {within:?}"));
    tokio::time::timeout(within, call).await.unwrap_or_else(|_| Err(expired()))
}
