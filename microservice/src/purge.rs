//! Removing what is kept only for a while: deleted records whose time is over, and earlier versions likewise.
//!
//! Now and then, a batch at a time with a pause after each, so that requests come first. Instances that purge at once
//! meet in the database: what one has removed the other does not find.

use std::time::Duration;

use database::find::field::UPDATED_AT;
use database::find::{Comparison, Field, Filter, Order};
use database::{Error, Find, Operation, Precondition, Query, Record};
use jiff::Timestamp;
use serde_json::Value;

use crate::config::Service;
use crate::declare::deleted;
use crate::namespace::Namespace;

/// How often it is looked for what is over.
const INTERVAL: Duration = Duration::from_secs(60);

/// How many records go together.
const BATCH: u32 = 100;

/// The pause after a batch.
const PAUSE: Duration = Duration::from_millis(50);

/// How many batches of earlier versions go in one round; with the database's bound of one, 10,000 versions a minute.
const TRIMS: u32 = 20;

/// What a service keeps only for a while.
#[derive(Debug)]
pub(crate) struct Purge {
    namespace: Namespace,
    /// The collections with deleted records that end, and after how long.
    deleted: Vec<(String, Duration)>,
    /// The collections with earlier versions that end.
    histories: Vec<String>,
}

impl Purge {
    /// Takes what a service's collections declare.
    pub(crate) fn new(namespace: Namespace, service: &Service) -> Self {
        let (mut ending, mut histories) = (Vec::new(), Vec::new());
        for (name, settings) in &service.collections {
            if settings.soft_delete && !settings.keep_deleted.is_zero() {
                ending.push((deleted(name), settings.keep_deleted));
            }
            if !settings.history_age.is_zero() {
                histories.push(name.clone());
                // Their histories went with the records.
                histories.extend(settings.soft_delete.then(|| deleted(name)));
            }
        }
        Self { namespace, deleted: ending, histories }
    }

    /// Purges for ever; a database that is down is waited for.
    pub(crate) async fn run(&self) {
        if self.deleted.is_empty() && self.histories.is_empty() {
            return;
        }
        loop {
            self.round().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Purges each collection as far as it goes: one whose index is still being made keeps none of the others.
    async fn round(&self) {
        for (collection, kept) in &self.deleted {
            note(collection, self.purge_all(collection, *kept).await);
        }
        for collection in &self.histories {
            note(collection, self.trim(collection).await);
        }
    }

    async fn purge_all(&self, collection: &str, kept: Duration) -> Result<(), Error> {
        while self.purge(collection, kept).await? == BATCH as usize {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn trim(&self, collection: &str) -> Result<(), Error> {
        for _ in 0..TRIMS {
            self.namespace.transact(vec![Operation::Trim { collection: collection.to_owned() }]).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Removes the records of a batch that are over, the oldest first; gives how many there were.
    async fn purge(&self, collection: &str, kept: Duration) -> Result<usize, Error> {
        let until = Timestamp::now().checked_sub(kept).unwrap_or(Timestamp::MIN);
        let Some(field) = Field::new(UPDATED_AT) else { return Ok(0) };
        let find = Find {
            filter: Some(Filter::Compare {
                field: field.clone(),
                comparison: Comparison::Lte,
                value: Value::from(until.as_microsecond()),
            }),
            order: vec![Order { field, descending: false }],
            fields: Some(Vec::new()),
            ..Find::all(collection, BATCH)
        };
        let found = self.namespace.query(&Query::Find(find)).await?.records;
        let delete = |record: &Record| Operation::Delete {
            collection: record.collection.clone(),
            id: record.id.clone(),
            precondition: Precondition::Version(record.version),
        };
        if found.is_empty() {
            return Ok(0);
        }
        match self.namespace.transact(found.iter().map(delete).collect()).await {
            // Some were restored, or purged by another instance: those that are left go one by one.
            Err(Error::PreconditionFailed { .. } | Error::NotFound { .. }) => {
                for record in &found {
                    match self.namespace.transact(vec![delete(record)]).await {
                        Ok(_) | Err(Error::PreconditionFailed { .. } | Error::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            done => drop(done?),
        }
        tracing::debug!(collection, purged = found.len(), "deleted records were purged");
        Ok(found.len())
    }
}

fn note(collection: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::debug!(%error, collection, "what is over is purged in the next round");
    }
}
