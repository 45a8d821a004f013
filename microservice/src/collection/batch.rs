//! `POST /SERVICE/_batch`: changes of several records of a service, all of them or none.
//!
//! The path begins like the collections', so whatever route reaches them reaches it, and no collection's name
//! begins with `_`. Every fault points into the body: `/operations/2/data/price`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use database::{Error, Outcome};
use http::{HeaderMap, HeaderValue, Method, header};
use process::json::escape;
use process::problem::{Fault, kinds};
use process::{Identity, Problem};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::commit::{self, Change, commit};
use super::name::NAME_RULE;
use super::once::{Once, happen};
use super::patch;
use super::prepare::{self, check_grant, require_version};
use super::read::{load, open};
use super::representation::Representation;
use super::reserved::{make_way, require_free_name};
use super::write::{ROUNDS, overtaken};
use super::{Collection, is_record_name, method_not_allowed, no_parameters};
use crate::body::{self, JSON};
use crate::condition::{Conditions, entity_tag};
use crate::declare::is_deleted;
use crate::fault::problem_of;

/// The most operations of one batch.
pub(crate) const OPERATION_LIMIT: usize = 100;

/// The largest body of a batch.
const BODY_LIMIT: u64 = 4 << 20;

/// The collections of one service, by name.
pub(crate) type Collections = BTreeMap<String, Arc<Collection>>;

/// One operation of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    op: Verb,
    collection: String,
    /// The record; a new name is made where a creation has none.
    #[serde(default, deserialize_with = "present")]
    id: Option<String>,
    /// The record's fields, or a merge patch of them.
    #[serde(default, deserialize_with = "present")]
    data: Option<Map<String, Value>>,
    /// As the field of this name.
    #[serde(default, deserialize_with = "present")]
    if_match: Option<String>,
}

/// Takes what is there; null is not a way to leave it out.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verb {
    Create,
    Replace,
    Patch,
    Delete,
}

/// Answers the batch of a service.
pub(crate) async fn serve(State(collections): State<Arc<Collections>>, request: Request) -> Response {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    run(&collections, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn run(collections: &Collections, request: Request) -> Result<Response, Problem> {
    no_parameters(&request)?;
    body::media_type(request.headers(), &[JSON])?;
    let (parts, body) = request.into_parts();
    let caller = Identity::read(&parts.headers);
    let body = body::read_bytes(Request::new(body), BODY_LIMIT).await?;
    let keys = collections.values().find_map(|collection| collection.sensitive.keys());
    // Its two paths are one resource, so a repetition may come by either.
    let namespace = collections.values().next().map_or("", |collection| collection.namespace.as_str());
    let path = format!("/{namespace}/_batch");
    let once = Once::read(&parts.headers, &parts.method, &path, caller.as_ref(), &body, keys)?;
    let operations = read(collections, body::parse(&body)?)?;
    // Reached only with collections, so there is a first one.
    let Some(any) = operations.first().and_then(|operation| collections.get(&operation.collection)) else {
        return Err(Problem::new(kinds::NOT_FOUND));
    };
    let done = |outcomes| respond(collections, commit::records(outcomes));
    happen(any, once.as_ref(), done, settle(collections, any, &operations, caller.as_ref(), once.as_ref()))
        .await
}

/// Decides the operations on the records as they are and commits them, anew whenever another writer was faster.
async fn settle(
    collections: &Collections,
    any: &Collection,
    operations: &[Operation],
    caller: Option<&Identity>,
    once: Option<&Once>,
) -> Result<Response, Problem> {
    for _ in 0..ROUNDS {
        let mut changes = Vec::with_capacity(operations.len());
        for (place, operation) in operations.iter().enumerate() {
            let collection = &collections[&operation.collection];
            let change = prepare(collection, operation, caller).await;
            changes.push(change.map_err(|problem| at(place, problem))?);
        }
        // Which operation of the transaction belongs to which of the batch.
        let offset = usize::from(once.is_some());
        let lengths: Vec<usize> = changes.iter().map(|change| change.operations.len()).collect();
        match commit(any, changes, once).await {
            Ok(outcomes) => return respond(collections, outcomes),
            Err(Error::PreconditionFailed { operation, .. }) => {
                let place = place_of(&lengths, operation.saturating_sub(offset));
                // A name that is taken stays so; all else is decided anew on the record as it is now.
                if operations.get(place).is_some_and(|operation| operation.op == Verb::Create) {
                    return Err(at(place, Problem::new(kinds::ALREADY_EXISTS)));
                }
            }
            Err(error @ Error::NotUnique { operation, .. }) => {
                let place = place_of(&lengths, operation.saturating_sub(offset));
                return Err(at(place, problem_of(&error)));
            }
            Err(error) => return Err(problem_of(&error)),
        }
    }
    Err(overtaken())
}

/// Reads the body and checks what can be known without the records.
fn read(collections: &Collections, body: Value) -> Result<Vec<Operation>, Problem> {
    let mut body = body::as_object(body)?;
    let fault = |pointer: String, detail: &str| Fault { pointer, detail: detail.to_owned() };
    let Some(Value::Array(documents)) = body.remove("operations") else {
        return Err(body::invalid(vec![fault("/operations".to_owned(), "a list is expected")]));
    };
    let extra = body.keys().map(|name| fault(format!("/{}", escape(name)), "there is no such field"));
    let mut faults: Vec<Fault> = extra.collect();
    if documents.is_empty() || documents.len() > OPERATION_LIMIT {
        faults
            .push(fault("/operations".to_owned(), &format!("a batch has 1 to {OPERATION_LIMIT} operations")));
    }
    let mut operations = Vec::new();
    for (place, document) in documents.into_iter().take(OPERATION_LIMIT).enumerate() {
        let pointer = |part: &str| format!("/operations/{place}{part}");
        let operation: Operation = match serde_json::from_value(document) {
            Ok(operation) => operation,
            Err(error) => {
                faults.push(fault(pointer(""), &error.to_string()));
                continue;
            }
        };
        if !collections.contains_key(&operation.collection) {
            faults.push(fault(pointer("/collection"), "there is no such collection"));
        }
        match &operation.id {
            None if operation.op != Verb::Create => {
                faults.push(fault(pointer("/id"), "this field is required"))
            }
            Some(id) if !is_record_name(id) => faults.push(fault(pointer("/id"), NAME_RULE)),
            _ => {}
        }
        match (operation.op, &operation.data) {
            (Verb::Delete, Some(_)) => faults.push(fault(pointer("/data"), "a deletion has none")),
            (Verb::Create | Verb::Replace | Verb::Patch, None) => {
                faults.push(fault(pointer("/data"), "this field is required"));
            }
            _ => {}
        }
        if operation.op == Verb::Create && operation.if_match.is_some() {
            faults.push(fault(pointer("/if_match"), "a creation has none"));
        } else if conditions(&operation).is_none() {
            faults.push(fault(pointer("/if_match"), "`*` or a list of quoted entity tags"));
        }
        operations.push(operation);
    }
    if !faults.is_empty() {
        return Err(body::invalid(faults));
    }
    let mut named = BTreeSet::new();
    let is_second = |operation: &Operation| {
        operation.id.clone().is_some_and(|id| !named.insert((operation.collection.clone(), id)))
    };
    match operations.iter().position(is_second) {
        None => Ok(operations),
        Some(place) => {
            let detail = "two operations of the batch are about one record";
            let faults =
                vec![fault(format!("/operations/{place}/id"), "the record stands in the batch before")];
            Err(Problem::new(kinds::CONFLICT).detail(detail).errors(faults))
        }
    }
}

/// Prepares one operation on the record as it is.
async fn prepare(
    collection: &Collection,
    operation: &Operation,
    caller: Option<&Identity>,
) -> Result<Change, Problem> {
    let data = operation.data.clone().unwrap_or_default();
    let id = match (&operation.id, operation.op) {
        (Some(id), Verb::Create) => {
            let mut change = prepare::create(collection, caller, id, Value::Object(data), false)?;
            return match require_free_name(collection, caller, id, &mut change).await? {
                true => Ok(change),
                false => Err(Problem::new(kinds::ALREADY_EXISTS)),
            };
        }
        (None, _) => {
            let id = Uuid::now_v7().to_string();
            return prepare::create(collection, caller, &id, Value::Object(data), true);
        }
        (Some(id), _) => id,
    };
    let conditions = conditions(operation).unwrap_or_default();
    require_version(collection, &conditions)?;
    let grant = match operation.op {
        Verb::Delete => collection.rules.grant_delete(caller)?,
        _ => collection.rules.grant_update(caller)?,
    };
    let sight = collection.rules.grant_sight(caller)?;
    let current = load(collection, id).await?;
    check_grant(collection, caller, sight, grant, &current)?;
    if !conditions.allow_write(current.version) {
        return Err(Problem::new(kinds::PRECONDITION_FAILED));
    }
    if operation.op == Verb::Delete {
        return Ok(prepare::remove(collection, &current, make_way(collection, caller, id).await?));
    }
    let (current, unopened) = open(collection, current)?;
    match operation.op {
        Verb::Patch => {
            let patched = patch::merge(collection, &current, &data)?;
            prepare::change(collection, caller, &current, &unopened, patched)
        }
        _ => {
            let data = prepare::with_unseen(collection, &current, data);
            prepare::change(collection, caller, &current, &unopened, data)
        }
    }
}

fn conditions(operation: &Operation) -> Option<Conditions> {
    let Some(tags) = &operation.if_match else { return Some(Conditions::default()) };
    let tags = HeaderValue::try_from(tags.as_str()).ok()?;
    Conditions::read(&HeaderMap::from_iter([(header::IF_MATCH, tags)]))
}

/// Says where in the batch a problem is. A condition that stands in a body is none of the request (RFC 9110 §15.5.13), so one that
/// fails is a conflict.
fn at(place: usize, problem: Problem) -> Problem {
    if problem.kind() == kinds::PRECONDITION_FAILED {
        let pointer = format!("/operations/{place}/if_match");
        let detail = problem.kind().title.to_owned();
        return Problem::new(kinds::CONFLICT).errors(vec![Fault { pointer, detail }]);
    }
    let mut faults = problem.faults().to_vec();
    for fault in &mut faults {
        fault.pointer = format!("/operations/{place}/data{}", fault.pointer);
    }
    if faults.is_empty() {
        let detail = problem.kind().title.to_owned();
        faults.push(Fault { pointer: format!("/operations/{place}"), detail });
    }
    problem.errors(faults)
}

/// Finds which change an operation of the transaction belongs to.
fn place_of(lengths: &[usize], operation: usize) -> usize {
    let mut end = 0;
    let ends = lengths.iter().map(|length| {
        end += length;
        end
    });
    ends.into_iter().position(|end| operation < end).unwrap_or(lengths.len())
}

fn respond(collections: &Collections, outcomes: Vec<Outcome>) -> Result<Response, Problem> {
    let result = |outcome: Outcome| match outcome {
        Outcome::Written { mut record, created } if !is_deleted(&record.collection) => {
            if let Some(collection) = collections.get(&record.collection) {
                collection.sensitive.strip(&mut record.data);
            }
            let tag = entity_tag(record.version);
            let tag = tag.to_str().unwrap_or_default();
            json!({ "status": if created { 201 } else { 200 }, "etag": tag, "record": Representation::from(&record) })
        }
        _ => json!({ "status": 204 }),
    };
    let results: Vec<Value> = outcomes.into_iter().map(result).collect();
    Ok(axum::Json(json!({ "results": results })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_of_the_transaction_is_found_in_the_batch() {
        let lengths = [2, 1, 3];
        let places: Vec<usize> = (0..7).map(|operation| place_of(&lengths, operation)).collect();
        assert_eq!(places, [0, 0, 1, 2, 2, 2, 3]);
    }
}
