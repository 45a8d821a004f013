//! Making changes durable, and the cache true to them before anybody is answered.

use database::{Error, Operation, Outcome, Transaction};

use super::Collection;
use super::once::Once;

/// A change of one record.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// What writes the record, and then the jobs it causes.
    pub(super) operations: Vec<Operation>,
    /// The record's key in the cache; none of a record that had no name until now, so that nobody has it.
    pub(super) cache_key: Option<String>,
}

/// Commits changes of one service's records together, and gives what became of each record.
///
/// Cached copies are invalidated unless it is certain that nothing was written.
pub(super) async fn commit(
    collection: &Collection,
    changes: Vec<Change>,
    once: Option<&Once>,
) -> Result<Vec<Outcome>, Error> {
    transact(collection, changes, once).await.map(records)
}

/// Commits one change under its key, and tells whether it was made now and not before.
pub(super) async fn commit_once(collection: &Collection, change: Change, once: &Once) -> Result<bool, Error> {
    let outcomes = transact(collection, vec![change], Some(once)).await?;
    Ok(!matches!(outcomes.first(), Some(Outcome::Repeated)))
}

async fn transact(
    collection: &Collection,
    changes: Vec<Change>,
    once: Option<&Once>,
) -> Result<Vec<Outcome>, Error> {
    let mut operations: Vec<Operation> = once.map(Once::operation).into_iter().collect();
    let mut keys = Vec::new();
    for change in changes {
        operations.extend(change.operations);
        keys.extend(change.cache_key);
    }
    let transaction = Transaction { namespace: collection.namespace.clone(), operations };
    let committed = collection.database.transact(transaction).await;
    if let Ok(committed) = &committed {
        for version in committed.outcomes.iter().filter_map(version) {
            collection.own_writes.note(version);
        }
    }
    if matches!(committed, Ok(_) | Err(Error::Unknown { .. } | Error::Storage { .. })) && !keys.is_empty() {
        collection.cache.invalidate(&keys).await;
    }
    Ok(committed?.outcomes)
}

/// Keeps of all outcomes those about records.
pub(super) fn records(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    outcomes.into_iter().filter(|outcome| version(outcome).is_some()).collect()
}

fn version(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Written { record, .. } => Some(record.version),
        Outcome::Deleted { version } => Some(*version),
        Outcome::Enqueued { .. }
        | Outcome::Rewritten
        | Outcome::Held
        | Outcome::Trimmed
        | Outcome::First
        | Outcome::Repeated => None,
    }
}
