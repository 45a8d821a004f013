//! The accounts' records as typed values.

use database::{Database, Error, Operation, Outcome, Precondition, Query, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The records of the accounts' namespace.
#[derive(Debug)]
pub(super) struct Records {
    /// The namespace.
    pub(super) namespace: String,
    /// Where they lie.
    pub(super) database: Database,
}

/// One record with the version it was read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Versioned<T> {
    /// Its name.
    pub(super) id: String,
    /// The version.
    pub(super) version: u64,
    /// What it says.
    pub(super) value: T,
}

impl Records {
    /// Reads one record.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        collection: &str,
        id: &str,
    ) -> Result<Option<Versioned<T>>, Error> {
        let query = Query::Get { collection: collection.to_owned(), id: id.to_owned() };
        let page = self.database.query(&self.namespace, &query).await?;
        page.records.into_iter().next().map(read).transpose()
    }

    /// Reads the first records after a name, in the order of their names.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        collection: &str,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<Versioned<T>>, Error> {
        let query = Query::List { collection: collection.to_owned(), after, limit };
        let page = self.database.query(&self.namespace, &query).await?;
        page.records.into_iter().map(read).collect()
    }

    /// Writes one record and gives its new version.
    pub(super) async fn put(
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
    pub(super) async fn delete(&self, collection: &str, id: &str) -> Result<(), Error> {
        let (collection, id) = (collection.to_owned(), id.to_owned());
        let deletion = Operation::Delete { collection, id, precondition: Precondition::None };
        match self.write(deletion).await {
            Ok(_) | Err(Error::NotFound { .. } | Error::PreconditionFailed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, operation: Operation) -> Result<u64, Error> {
        let transaction = Transaction { namespace: self.namespace.clone(), operations: vec![operation] };
        let committed = self.database.transact(transaction).await?;
        Ok(match committed.outcomes.first() {
            Some(Outcome::Written { record, .. }) => record.version,
            _ => committed.sequence,
        })
    }
}

fn read<T: DeserializeOwned>(record: database::Record) -> Result<Versioned<T>, Error> {
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
