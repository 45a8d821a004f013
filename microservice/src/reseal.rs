//! Sealing anew, in the background, what is not sealed with the present key: values from before their field was declared
//! sensitive, and after a rotation those of earlier keys; of records, of deleted ones, and of the earlier versions of both.
//!
//! A collection is walked when the service starts, a page at a time, while there are earlier keys; without any, once for
//! each set of key and fields, which is noted. One that was cut short begins anew, and only reads what it sealed before.
//! A version is written anew in its place ([`Operation::Rewrite`]): what it says stays the same, so nobody who follows,
//! and no history, has to know. One that was overtaken meanwhile is an earlier version by then, and is found there;
//! instances that walk at once do the same work twice and no harm.

use std::time::Duration;

use cache::{Cache, record_key};
use database::{Error, Operation, Precondition, Query, Record};
use serde_json::{Map, Value};

use crate::declare::deleted;
use crate::namespace::Namespace;
use crate::sensitive::Sensitive;

/// The collection of a namespace that notes what was walked; no declared collection begins with `_`.
const WALKED: &str = "_sealed";

/// How many records are looked at together.
const PAGE: u32 = 100;

/// The pause between two pages, so that requests come first.
const PAUSE: Duration = Duration::from_millis(20);

/// The pause when the database does not answer.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// The collections of a service with sensitive fields.
#[derive(Debug)]
pub(crate) struct Reseal {
    /// Where its records lie.
    pub(crate) namespace: Namespace,
    /// What may have records from before a field was sensitive.
    pub(crate) cache: Cache,
    /// What each of them declares.
    pub(crate) collections: Vec<Sensitive>,
}

/// What came of a walk so far, in versions of records.
#[derive(Debug, Default)]
struct Tally {
    /// How many versions were sealed anew.
    sealed: u64,
    /// How many could not be.
    failed: u64,
}

impl Reseal {
    /// Walks every collection that needs it.
    pub(crate) async fn run(&self) {
        for sensitive in &self.collections {
            while let Err(error) = self.walk(sensitive).await {
                tracing::debug!(%error, collection = sensitive.collection(), "sealing anew is put off");
                tokio::time::sleep(LONG_PAUSE).await;
            }
        }
    }

    async fn walk(&self, sensitive: &Sensitive) -> Result<(), Error> {
        let (namespace, collection) = (&self.namespace.name, sensitive.collection());
        let state = Value::from(sensitive.state());
        let note = self.namespace.find(WALKED, collection).await?;
        if !sensitive.has_previous_keys() && note.is_some_and(|note| note.data.get("state") == Some(&state)) {
            return Ok(());
        }
        let mut tally = Tally::default();
        for place in [collection.to_owned(), deleted(collection)] {
            let mut after = None;
            loop {
                let query = Query::List { collection: place.clone(), after, limit: PAGE };
                let page = self.namespace.query(&query).await?;
                for record in page.records {
                    self.seal_all(sensitive, &place, record, &mut tally).await?;
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        let Tally { sealed, failed } = tally;
        if failed > 0 {
            let what = "not everything is sealed with the present key: keep the earlier key files";
            tracing::warn!(namespace, collection, sealed, failed, "{what}");
            return Ok(());
        }
        let what = "every record is sealed with the present key, deleted ones and earlier versions too";
        tracing::info!(namespace, collection, sealed, "{what}");
        let data = Map::from_iter([("state".to_owned(), state)]);
        let (id, precondition) = (collection.to_owned(), Precondition::None);
        let put = Operation::Put { collection: WALKED.to_owned(), id, data, precondition };
        self.namespace.transact(vec![put]).await.map(drop)
    }

    /// Seals a record and its earlier versions anew, where they need it. The record goes first: should somebody change it
    /// meanwhile, what it was is among its versions by the time they are read.
    async fn seal_all(
        &self,
        sensitive: &Sensitive,
        place: &str,
        record: Record,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let id = record.id.clone();
        let sealed = tally.sealed;
        self.seal(sensitive, place, record, tally).await?;
        if tally.sealed > sealed && place == sensitive.collection() {
            self.cache.invalidate(&[record_key(&self.namespace.name, place, &id)]).await;
        }
        let mut before = None;
        loop {
            let query = Query::History { collection: place.to_owned(), id: id.clone(), before, limit: PAGE };
            let page = self.namespace.query(&query).await?;
            before = page.earlier.last().filter(|_| page.has_earlier).map(|last| last.record.version);
            for earlier in page.earlier {
                self.seal(sensitive, place, earlier.record, tally).await?;
            }
            if before.is_none() {
                return Ok(());
            }
        }
    }

    /// Seals one version anew, where it needs that and it can be.
    async fn seal(
        &self,
        sensitive: &Sensitive,
        place: &str,
        mut record: Record,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if record.unreadable {
            tally.failed += 1;
            return Ok(());
        }
        if sensitive.is_fresh(&record.data) {
            return Ok(());
        }
        let unopened = sensitive.open(&record.id, &mut record.data, sensitive.names());
        if !unopened.is_empty() || sensitive.seal(&record.id, &mut record.data).is_err() {
            tally.failed += 1;
            return Ok(());
        }
        let rewrite = Operation::Rewrite {
            collection: place.to_owned(),
            id: record.id,
            version: record.version,
            data: record.data,
        };
        match self.namespace.transact(vec![rewrite]).await {
            Ok(_) => tally.sealed += 1,
            // Sealed, it is too large.
            Err(Error::Invalid { .. }) => tally.failed += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
