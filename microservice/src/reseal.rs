//! Sealing anew, in the background, what is not sealed with the present key: values from before their field was declared
//! sensitive, and after a rotation those of earlier keys.
//!
//! A collection is walked when the service starts, a page at a time, while there are earlier keys; without any, once for
//! each set of key and fields, which is noted. Each record is written on the condition that nobody else wrote it, so
//! instances that walk at once do the same work twice and no harm.

use std::time::Duration;

use database::{Database, Error, Operation, Precondition, Query, Record, Transaction};
use serde_json::{Map, Value};

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
    /// The service's name, which is the namespace of its records.
    pub(crate) namespace: String,
    /// Where its records lie.
    pub(crate) database: Database,
    /// What each of them declares.
    pub(crate) collections: Vec<Sensitive>,
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
        let state = Value::from(sensitive.state());
        let note = self.get(WALKED, sensitive.collection()).await?;
        if !sensitive.has_previous_keys() && note.is_some_and(|note| note.data.get("state") == Some(&state)) {
            return Ok(());
        }
        let (mut after, mut sealed, mut failed) = (None, 0_u64, 0_u64);
        loop {
            let collection = sensitive.collection().to_owned();
            let query = Query::List { collection, after, limit: PAGE };
            let page = self.database.query(&self.namespace, &query).await?;
            for record in page
                .records
                .into_iter()
                .filter(|record| !record.unreadable && !sensitive.is_fresh(&record.data))
            {
                match self.seal(sensitive, record).await? {
                    true => sealed += 1,
                    false => failed += 1,
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (namespace, collection) = (&self.namespace, sensitive.collection());
        if failed > 0 {
            tracing::warn!(
                namespace,
                collection,
                sealed,
                failed,
                "not every record could be sealed with the present key"
            );
            return Ok(());
        }
        tracing::info!(namespace, collection, sealed, "every record is sealed with the present key");
        let data = Map::from_iter([("state".to_owned(), state)]);
        self.put(WALKED, collection, data, Precondition::None).await
    }

    /// Seals a record anew; false when that cannot be.
    async fn seal(&self, sensitive: &Sensitive, mut record: Record) -> Result<bool, Error> {
        let is_open = sensitive.open(&record.id, &mut record.data, sensitive.names()).is_ok();
        if !is_open || sensitive.seal(&record.id, &mut record.data).is_err() {
            return Ok(false);
        }
        let version = Precondition::Version(record.version);
        match self.put(sensitive.collection(), &record.id, record.data, version).await {
            Ok(()) | Err(Error::PreconditionFailed { .. }) => Ok(true),
            // Sealed, it is too large.
            Err(Error::Invalid { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, collection: &str, id: &str) -> Result<Option<Record>, Error> {
        let query = Query::Get { collection: collection.to_owned(), id: id.to_owned() };
        Ok(self.database.query(&self.namespace, &query).await?.records.into_iter().next())
    }

    async fn put(
        &self,
        collection: &str,
        id: &str,
        data: Map<String, Value>,
        precondition: Precondition,
    ) -> Result<(), Error> {
        let put = Operation::Put { collection: collection.to_owned(), id: id.to_owned(), data, precondition };
        let transaction = Transaction { namespace: self.namespace.clone(), operations: vec![put] };
        self.database.transact(&transaction).await.map(drop)
    }
}
