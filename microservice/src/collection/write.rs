//! Creating, replacing, patching and deleting records.
//!
//! Every change of a record reads it, decides on what it read, and writes on the condition that the record
//! is still at that version, so no update is lost. A cached copy is invalidated before the answer.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use database::{Error, NewJob, Operation, Outcome, Precondition, Record, Transaction, merge_patch};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use process::Problem;
use process::problem::kinds;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Collection;
use super::read::{conditions, load};
use super::representation::Prepared;
use crate::body::{self, JSON, MERGE_PATCH};
use crate::condition::Conditions;
use crate::fault::{RETRY_AFTER, problem_of};

/// How often a change that another writer overtook is decided anew; each round one of them gets through.
const ROUNDS: usize = 8;

/// Answers POST to the collection: a new record under a new name.
pub(super) async fn create(collection: &Collection, request: Request) -> Result<Response, Problem> {
    let body = body::read_json(request, collection.settings.max_body, JSON).await?;
    let data = check(collection, body)?;
    // Version 7 grows with time, so new records lie together and listings show the oldest first.
    let id = Uuid::now_v7().to_string();
    // Nobody can have read, so nobody can have cached, what had no name until now.
    let outcome = transact(collection, creation(collection, &id, data)).await;
    created(collection, &id, outcome)
}

/// Answers PUT: replaces a record or, with `If-None-Match: *`, makes one under a chosen name.
pub(super) async fn replace(
    collection: &Collection,
    id: &str,
    request: Request,
) -> Result<Response, Problem> {
    let conditions = conditions(request.headers())?;
    if !conditions.wants_absence() {
        require_version(collection, &conditions)?;
    }
    let body = body::read_json(request, collection.settings.max_body, JSON).await?;
    let data = check(collection, body)?;
    if conditions.wants_absence() {
        let outcome = commit(collection, id, creation(collection, id, data)).await;
        return created(collection, id, outcome);
    }
    rewrite(collection, id, &conditions, |_| Ok(data.clone())).await
}

/// Answers PATCH: merges a patch into a record.
pub(super) async fn patch(collection: &Collection, id: &str, request: Request) -> Result<Response, Problem> {
    let conditions = conditions(request.headers())?;
    require_version(collection, &conditions)?;
    let body = body::read_json(request, collection.settings.max_body, MERGE_PATCH).await?;
    let patch = body::as_object(body)?;
    rewrite(collection, id, &conditions, |record| {
        let mut data = record.data.clone();
        data.retain(|name, _| !collection.settings.server_fields.contains_key(name));
        merge_patch::apply(&mut data, &patch);
        check(collection, Value::Object(data))
    })
    .await
}

/// Answers DELETE.
pub(super) async fn delete(
    collection: &Collection,
    id: &str,
    fields: &HeaderMap,
) -> Result<Response, Problem> {
    let conditions = conditions(fields)?;
    require_version(collection, &conditions)?;
    for _ in 0..ROUNDS {
        let current = load(collection, id).await?;
        if !conditions.allow_write(current.version) {
            return Err(Problem::new(kinds::PRECONDITION_FAILED));
        }
        let operation = Operation::Delete {
            collection: collection.name.clone(),
            id: id.to_owned(),
            precondition: Precondition::Version(current.version),
        };
        match commit(collection, id, vec![operation]).await {
            Ok(_) => return Ok(StatusCode::NO_CONTENT.into_response()),
            Err(Error::PreconditionFailed { .. }) => {}
            Err(error) => return Err(problem_of(&error)),
        }
    }
    Err(overtaken())
}

/// Says which changes must name a version (RFC 6585 §3).
fn require_version(collection: &Collection, conditions: &Conditions) -> Result<(), Problem> {
    if collection.settings.require_if_match && !conditions.names_a_version() {
        let detail = "send the ETag of the record you read as If-Match";
        return Err(Problem::new(kinds::PRECONDITION_REQUIRED).detail(detail));
    }
    Ok(())
}

/// Checks what is to become a record against the schema and the size a record may have.
fn check(collection: &Collection, data: Value) -> Result<Map<String, Value>, Problem> {
    let faults = collection.schema.find_faults(&data);
    if !faults.is_empty() {
        return Err(body::invalid(faults));
    }
    let data = body::as_object(data)?;
    // Patches grow a record: each is small enough, what they add up to may not be.
    let size = serde_json::to_vec(&data).map_or(u64::MAX, |text| text.len() as u64);
    if size > collection.settings.max_body {
        return Err(body::too_large(collection.settings.max_body));
    }
    Ok(data)
}

/// Writes a record that must not exist, with the jobs its creation causes.
fn creation(collection: &Collection, id: &str, mut data: Map<String, Value>) -> Vec<Operation> {
    data.extend(collection.settings.server_fields.clone());
    let payload = json!({ "namespace": collection.namespace, "collection": collection.name, "id": id });
    let put = Operation::Put {
        collection: collection.name.clone(),
        id: id.to_owned(),
        data,
        precondition: Precondition::Absent,
    };
    let jobs = collection.settings.on_create.iter().map(|enqueue| Operation::Enqueue {
        job: NewJob::new(&enqueue.queue, &enqueue.kind, payload.clone()),
    });
    std::iter::once(put).chain(jobs).collect()
}

/// Answers a creation.
fn created(
    collection: &Collection,
    id: &str,
    outcome: Result<Option<Outcome>, Error>,
) -> Result<Response, Problem> {
    let outcome = outcome.map_err(|error| problem_of(&error))?;
    let mut response = written(outcome, StatusCode::CREATED)?;
    if let Ok(location) = HeaderValue::try_from(format!("{}/{id}", collection.path)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Changes a record to what `decide` makes of it, anew whenever another writer was faster.
///
/// With an `If-Match` the second round finds a version it does not name and ends with 412.
async fn rewrite(
    collection: &Collection,
    id: &str,
    conditions: &Conditions,
    decide: impl Fn(&Record) -> Result<Map<String, Value>, Problem>,
) -> Result<Response, Problem> {
    for _ in 0..ROUNDS {
        let current = load(collection, id).await?;
        if !conditions.allow_write(current.version) {
            return Err(Problem::new(kinds::PRECONDITION_FAILED));
        }
        let mut data = decide(&current)?;
        for name in collection.settings.server_fields.keys() {
            if let Some(value) = current.data.get(name) {
                data.insert(name.clone(), value.clone());
            }
        }
        let put = Operation::Put {
            collection: collection.name.clone(),
            id: id.to_owned(),
            data,
            precondition: Precondition::Version(current.version),
        };
        match commit(collection, id, vec![put]).await {
            Ok(outcome) => return written(outcome, StatusCode::OK),
            Err(Error::PreconditionFailed { .. }) => {}
            Err(error) => return Err(problem_of(&error)),
        }
    }
    Err(overtaken())
}

/// Commits operations of which the first is about the record, and invalidates its cached copy unless it is
/// certain that nothing was written.
async fn commit(
    collection: &Collection,
    id: &str,
    operations: Vec<Operation>,
) -> Result<Option<Outcome>, Error> {
    let committed = transact(collection, operations).await;
    if matches!(committed, Ok(_) | Err(Error::Unknown { .. } | Error::Storage { .. })) {
        collection.cache.invalidate(&[collection.cache_key(id)]).await;
    }
    committed
}

/// Commits operations, notes them as this instance's own, and gives what became of the first.
async fn transact(collection: &Collection, operations: Vec<Operation>) -> Result<Option<Outcome>, Error> {
    let transaction = Transaction { namespace: collection.namespace.clone(), operations };
    let committed = collection.database.transact(&transaction).await?;
    collection.own_writes.note(committed.sequence);
    Ok(committed.outcomes.into_iter().next())
}

fn written(outcome: Option<Outcome>, status: StatusCode) -> Result<Response, Problem> {
    match outcome {
        Some(Outcome::Written { record, .. }) => Ok(Prepared::new(&record).into_response(status)),
        other => {
            tracing::error!(?other, "the database answered a write with another outcome");
            Err(Problem::new(kinds::INTERNAL))
        }
    }
}

fn overtaken() -> Problem {
    Problem::new(kinds::CONFLICT).detail("others keep changing this record").retry_after(RETRY_AFTER)
}
