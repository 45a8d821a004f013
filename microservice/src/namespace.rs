//! A service's part of the database, for what the service itself keeps there: records as they lie or as typed values.

use database::{
    Change, Committed, Database, Error, Operation, Outcome, Page, Precondition, Query, Record, Transaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// One namespace with the database it lies in.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    /// Its name, which is the service's.
    pub(crate) name: String,
    /// Where its records lie.
    pub(crate) database: Database,
}

/// One record with the version it was read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versioned<T> {
    /// Its name.
    pub(crate) id: String,
    /// The version.
    pub(crate) version: u64,
    /// What it says.
    pub(crate) value: T,
}

impl Namespace {
    /// Asks something of it.
    pub(crate) async fn query(&self, query: &Query) -> Result<Page, Error> {
        self.database.query(&self.name, query).await
    }

    /// Does all of it or nothing.
    pub(crate) async fn transact(&self, operations: Vec<Operation>) -> Result<Committed, Error> {
        self.database.transact(Transaction { namespace: self.name.clone(), operations }).await
    }

    /// Lists changes after a sequence, waiting for them.
    pub(crate) async fn changes(
        &self,
        after: u64,
        limit: u32,
        wait: std::time::Duration,
    ) -> Result<Vec<Change>, Error> {
        self.database.changes(Some(&self.name), after, limit, wait).await
    }

    /// Reads one record as it lies.
    pub(crate) async fn find(&self, collection: &str, id: &str) -> Result<Option<Record>, Error> {
        let query = Query::Get { collection: collection.to_owned(), id: id.to_owned() };
        Ok(self.query(&query).await?.records.into_iter().next())
    }

    /// Reads one record.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        collection: &str,
        id: &str,
    ) -> Result<Option<Versioned<T>>, Error> {
        self.find(collection, id).await?.map(read).transpose()
    }

    /// Reads the first records after a name, in the order of their names.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        collection: &str,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<Versioned<T>>, Error> {
        let query = Query::List { collection: collection.to_owned(), after, limit };
        self.query(&query).await?.records.into_iter().map(read).collect()
    }

    /// Writes one record and gives its new version.
    pub(crate) async fn put(
        &self,
        collection: &str,
        id: &str,
        value: &impl Serialize,
        precondition: Precondition,
    ) -> Result<u64, Error> {
        let (collection, id) = (collection.to_owned(), id.to_owned());
        let data = write(value)?;
        self.write(Operation::Put { collection, id, data, precondition }).await
    }

    /// Removes one record; one that is gone already is no error.
    pub(crate) async fn delete(&self, collection: &str, id: &str) -> Result<(), Error> {
        let (collection, id) = (collection.to_owned(), id.to_owned());
        let deletion = Operation::Delete { collection, id, precondition: Precondition::None };
        match self.write(deletion).await {
            Ok(_) | Err(Error::NotFound { .. } | Error::PreconditionFailed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, operation: Operation) -> Result<u64, Error> {
        let committed = self.transact(vec![operation]).await?;
        Ok(match committed.outcomes.first() {
            Some(Outcome::Written { record, .. }) => record.version,
            _ => committed.sequence,
        })
    }
}

fn read<T: DeserializeOwned>(record: Record) -> Result<Versioned<T>, Error> {
    let (id, version) = (record.id, record.version);
    let place = format!("{}/{id}", record.collection);
    let value = serde_json::from_value(Value::Object(record.data))
        .map_err(|error| Error::Storage { reason: format!("{place} cannot be read: {error}") })?;
    Ok(Versioned { id, version, value })
}

fn write(value: &impl Serialize) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(value) {
        Ok(Value::Object(data)) => Ok(data),
        _ => Err(Error::Invalid { reason: "a record is an object".to_owned() }),
    }
}
