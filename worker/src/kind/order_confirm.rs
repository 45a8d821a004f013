//! `order.confirm`: marks an order confirmed; a repeat finds it confirmed and changes nothing.

use cache::Cache;
use database::{Database, Error, Operation, Precondition, Query, Record, Transaction};
use process::Identity;
use process::problem::Fault;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::payload::{describe, fault_at};
use super::{Attempt, Failure, Kind, Running, read_payload};

/// How often a confirmation meets somebody else's write before the attempt ends and backs off.
const TRIES: u32 = 5;

/// Which order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    /// The namespace, which is the service's name.
    namespace: String,
    /// The collection.
    collection: String,
    /// The order.
    id: String,
}

/// Confirms orders.
#[derive(Debug)]
pub(super) struct OrderConfirm {
    database: Database,
    cache: Cache,
    closed_namespaces: Vec<String>,
}

/// What one look at an order led to.
enum Step {
    Done(Value),
    Again,
}

impl OrderConfirm {
    /// Makes the kind; it changes records of every namespace but the closed ones.
    pub(super) fn new(database: Database, cache: Cache, closed_namespaces: Vec<String>) -> Self {
        Self { database, cache, closed_namespaces }
    }

    fn read(&self, payload: Value) -> Result<Payload, Vec<Fault>> {
        let payload: Payload = read_payload(payload)?;
        match self.closed_namespaces.contains(&payload.namespace) {
            true => Err(fault_at("/namespace", "the records of this namespace are not open to jobs")),
            false => Ok(payload),
        }
    }

    async fn confirm(&self, attempt: Attempt) -> Result<Value, Failure> {
        let payload = self.read(attempt.job.payload).map_err(|faults| Failure::never(describe(&faults)))?;
        for _ in 0..TRIES {
            if let Step::Done(result) = self.step(&payload).await? {
                return Ok(result);
            }
        }
        Err(Failure::passing("the order kept changing"))
    }

    async fn step(&self, payload: &Payload) -> Result<Step, Failure> {
        let query = Query::Get { collection: payload.collection.clone(), id: payload.id.clone() };
        let Some(order) = self.database.query(&payload.namespace, &query).await?.records.pop() else {
            return Ok(Step::Done(json!({"status": null, "note": "the order is gone"})));
        };
        match decide(&order) {
            Decision::Leave(status) => {
                // Also here: the attempt before this one may have died between write and invalidation.
                self.invalidate(payload).await;
                Ok(Step::Done(json!({"status": status, "version": order.version})))
            }
            Decision::Confirm => self.write(payload, order.version).await,
        }
    }

    async fn write(&self, payload: &Payload, version: u64) -> Result<Step, Failure> {
        let mut patch = Map::new();
        patch.insert("status".to_owned(), json!("confirmed"));
        let operation = Operation::Patch {
            collection: payload.collection.clone(),
            id: payload.id.clone(),
            patch,
            precondition: Precondition::Version(version),
        };
        let transaction = Transaction { namespace: payload.namespace.clone(), operations: vec![operation] };
        match self.database.transact(transaction).await {
            Ok(committed) => {
                self.invalidate(payload).await;
                Ok(Step::Done(json!({"status": "confirmed", "version": committed.sequence})))
            }
            // Lost answers are read again too: a repeat then finds the order confirmed.
            Err(Error::PreconditionFailed { .. } | Error::NotFound { .. } | Error::Unknown { .. }) => {
                Ok(Step::Again)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn invalidate(&self, payload: &Payload) {
        let key = cache::record_key(&payload.namespace, &payload.collection, &payload.id);
        self.cache.invalidate(&[key]).await;
    }
}

/// What to do about an order as it stands.
#[derive(Debug, PartialEq)]
enum Decision {
    Confirm,
    Leave(String),
}

fn decide(order: &Record) -> Decision {
    match order.data.get("status").and_then(Value::as_str) {
        Some(status @ ("confirmed" | "canceled")) => Decision::Leave(status.to_owned()),
        _ => Decision::Confirm,
    }
}

impl Kind for OrderConfirm {
    fn name(&self) -> &'static str {
        "order.confirm"
    }

    fn accept(&self, payload: Value, _caller: Option<&Identity>) -> Result<Value, Vec<Fault>> {
        self.read(payload.clone()).map(|_| payload)
    }

    fn run(&self, attempt: Attempt) -> Running<'_> {
        Box::pin(self.confirm(attempt))
    }
}
