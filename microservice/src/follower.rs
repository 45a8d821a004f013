//! Following the change log, so that what others write to this service's records leaves the cache too.
//!
//! A worker, another instance or an operator writes records without passing through this process. Each
//! instance follows its namespace's changes from a cursor kept in the database, in the collection
//! [`CURSORS`], and invalidates what they name. Replaying a change twice only costs a miss. When the log does not go
//! back to the cursor, what changed is not known: then nothing cached is believed until it has expired ([`Doubt`]).

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache::Cache;
use database::{Change, Error, Operation, Precondition};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::doubt::Doubt;
use crate::namespace::Namespace;

/// The collection of a namespace that holds its cursors; no declared collection begins with `_`.
const CURSORS: &str = "_cursors";

/// The cursor of the invalidating follower; all instances share it, because they share the cache.
const CURSOR: &str = "cache";

/// How long one call waits for changes; half of what the database grants.
const WAIT: Duration = Duration::from_secs(10);

/// The pause after an empty answer that came early: the database is stopping, or does not wait.
const EARLY_PAUSE: Duration = Duration::from_millis(100);

/// How long changes are gathered before they are looked at: one invalidation for many under load, and time
/// for an own write, whose change may arrive before its answer, to be noted.
const GATHER: Duration = Duration::from_millis(20);

/// How many changes one call takes.
const BATCH: u32 = 1000;

/// How often the cursor is saved while there are changes: what a restart replays at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long to pause when the database does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// How much longer a cached record may live than its collection says: the cache's jitter, and the fill's own way.
const EXTRA_LIFE: Duration = Duration::from_secs(3);

/// How many own writes are remembered; far more than are under way between commit and invalidation.
const REMEMBERED: usize = 4096;

/// The latest writes of this process, which it invalidated itself before it answered.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites(Mutex<VecDeque<u64>>);

impl OwnWrites {
    /// Notes a write by the sequence of its change.
    pub(crate) fn note(&self, sequence: u64) {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if writes.len() == REMEMBERED {
            writes.pop_front();
        }
        writes.push_back(sequence);
    }

    fn contain(&self, sequence: u64) -> bool {
        // Newest first: a change is looked up moments after it was noted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().any(|own| *own == sequence)
    }
}

/// What a follower needs.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Where the changes are.
    pub(crate) namespace: Namespace,
    /// The collections that are cached.
    pub(crate) collections: BTreeSet<String>,
    /// How long one of their records is cached at most.
    pub(crate) longest_ttl: Duration,
    /// Whether the cache is not to be believed.
    pub(crate) doubt: Arc<Doubt>,
    /// What is invalidated.
    pub(crate) cache: Cache,
    /// What needs no invalidation any more.
    pub(crate) own_writes: Arc<OwnWrites>,
}

impl Follower {
    /// Follows for ever; a database that is down is waited for.
    pub(crate) async fn run(&self) {
        if self.collections.is_empty() {
            return;
        }
        let mut cursor = loop {
            match self.load_cursor().await {
                Ok(cursor) => break cursor,
                Err(error) => self.pause(&error).await,
            }
        };
        let mut saved = (cursor, Instant::now());
        loop {
            let asked = Instant::now();
            match self.namespace.changes(cursor, BATCH, WAIT).await {
                Err(Error::ChangesGone { from }) => {
                    tracing::warn!(
                        namespace = self.namespace.name,
                        "changes are gone that were not followed: the cache is not believed until it has expired"
                    );
                    self.doubt.rise(self.longest_ttl + self.longest_ttl / 8 + EXTRA_LIFE);
                    cursor = from;
                    if let Err(error) = self.save_cursor(cursor).await {
                        tracing::debug!(%error, "the cursor is not saved; a restart doubts again");
                    }
                }
                Err(error) => self.pause(&error).await,
                Ok(changes) if changes.is_empty() => {
                    if asked.elapsed() < WAIT / 2 {
                        tokio::time::sleep(EARLY_PAUSE).await;
                    }
                }
                Ok(changes) => {
                    tokio::time::sleep(GATHER).await;
                    let keys = self.keys_to_invalidate(&changes);
                    if !keys.is_empty() {
                        self.cache.invalidate(&keys).await;
                    }
                    cursor = changes.last().map_or(cursor, |change| change.sequence);
                    // The cursor's own change must not be a reason to save the cursor.
                    let moved = changes.iter().any(|change| change.collection != CURSORS);
                    if moved && saved.0 != cursor && saved.1.elapsed() >= SAVE_INTERVAL {
                        saved = (cursor, Instant::now());
                        if let Err(error) = self.save_cursor(cursor).await {
                            tracing::debug!(%error, "the cursor is not saved; a restart replays more");
                        }
                    }
                }
            }
        }
    }

    /// Names the cached records that others changed, each once.
    fn keys_to_invalidate(&self, changes: &[Change]) -> Vec<String> {
        let foreign = changes.iter().filter(|change| {
            self.collections.contains(&change.collection) && !self.own_writes.contain(change.sequence)
        });
        let keys: BTreeSet<String> = foreign
            .map(|change| cache::record_key(&change.namespace, &change.collection, &change.id))
            .collect();
        keys.into_iter().collect()
    }

    async fn pause(&self, error: &Error) {
        tracing::debug!(%error, namespace = self.namespace.name, "the changes cannot be followed");
        tokio::time::sleep(PAUSE).await;
    }

    async fn load_cursor(&self) -> Result<u64, Error> {
        let found = self.namespace.find(CURSORS, CURSOR).await?;
        let cursor = found.and_then(|record| record.data.get("sequence")?.as_u64());
        Ok(cursor.unwrap_or(0))
    }

    async fn save_cursor(&self, cursor: u64) -> Result<(), Error> {
        let put = Operation::Put {
            collection: CURSORS.to_owned(),
            id: CURSOR.to_owned(),
            data: Map::from_iter([("sequence".to_owned(), Value::from(cursor))]),
            precondition: Precondition::None,
        };
        self.namespace.transact(vec![put]).await.map(drop)
    }
}
