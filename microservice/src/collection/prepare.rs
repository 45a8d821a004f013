//! What a change of a record consists of: what the server sets, what must hold, and the jobs it causes.

use database::find::filter::TEXT_LIMIT;
use database::{NewJob, Operation, Precondition, Record};
use jiff::Timestamp;
use process::json::escape;
use process::problem::{Fault, kinds};
use process::{Identity, Problem};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Collection;
use super::commit::Change;
use super::read::check_sight;
use super::sent_back::take_out;
use crate::body;
use crate::condition::Conditions;
use crate::config::{Computed, Enqueue, MAX_BODY_LIMIT};
use crate::declare::deleted;
use crate::json_patch::equals;
use crate::rules::Grant;

/// Makes a record that must not exist, of what a client sent.
pub(super) fn create(
    collection: &Collection,
    caller: Option<&Identity>,
    id: &str,
    body: Value,
    is_new_name: bool,
) -> Result<Change, Problem> {
    collection.rules.grant_create(caller)?;
    let mut own: Map<String, Value> = collection.settings.server_fields.clone().into_iter().collect();
    if let (Some(field), Some(owner)) = (&collection.settings.owner, collection.rules.owner_name(caller)) {
        own.insert(field.clone(), owner);
    }
    let mut body = body;
    if let Value::Object(fields) = &mut body {
        take_out(collection, id, &own, fields);
        for (name, computed) in &collection.settings.defaults {
            if !fields.contains_key(name)
                && let Some(value) = compute(collection, *computed, caller)
            {
                fields.insert(name.clone(), value);
            }
        }
    }
    let mut data = check(collection, body, &[])?;
    data.extend(own);
    check_nesting(&data)?;
    let now = Timestamp::now();
    let new = Record {
        collection: collection.name.clone(),
        id: id.to_owned(),
        version: 0,
        created_at: now,
        updated_at: now,
        data,
        unreadable: false,
    };
    check_rows(collection, caller, &new)?;
    let mut data = new.data;
    seal(collection, id, &mut data, Vec::new())?;
    let put = Operation::Put {
        collection: collection.name.clone(),
        id: id.to_owned(),
        data,
        precondition: Precondition::Absent,
    };
    let operations = with_jobs(collection, id, put, &collection.settings.on_create);
    Ok(Change { operations, cache_key: (!is_new_name).then(|| collection.cache_key(id)) })
}

/// Adds the sensitive fields of a record to what a client made of it that did not see them.
pub(super) fn with_unseen(
    collection: &Collection,
    current: &Record,
    mut data: Map<String, Value>,
) -> Map<String, Value> {
    for name in collection.sensitive.names() {
        if let (false, Some(value)) = (data.contains_key(name), current.data.get(name)) {
            data.insert(name.clone(), value.clone());
        }
    }
    data
}

/// Changes a record to what a client wants of it; of the fields of the server `data` has what was sent back, and the sensitive ones of
/// both are open, but for the unopened, whose key is missing: what is left as it was of these stays as it is stored.
pub(super) fn change(
    collection: &Collection,
    caller: Option<&Identity>,
    current: &Record,
    unopened: &[String],
    mut data: Map<String, Value>,
) -> Result<Change, Problem> {
    take_out(collection, &current.id, &current.data, &mut data);
    let is_kept =
        |name: &&String| data.get(*name).is_some_and(|value| current.data.get(*name) == Some(value));
    let kept: Vec<&String> = unopened.iter().filter(is_kept).collect();
    let kept: Vec<(String, Value)> = kept.into_iter().filter_map(|name| data.remove_entry(name)).collect();
    let mut faults = Vec::new();
    for name in &collection.settings.readonly {
        let before = current.data.get(name);
        match (data.get(name), before) {
            (Some(sent), before) if !before.is_some_and(|before| equals(sent, before)) => {
                faults.push(Fault {
                    pointer: format!("/{name}"),
                    detail: "this field is set once, when the record is made".to_owned(),
                });
            }
            // As it was written then.
            (_, Some(before)) => {
                data.insert(name.clone(), before.clone());
            }
            _ => {}
        }
    }
    if !faults.is_empty() {
        return Err(body::invalid(faults));
    }
    let mut data = check(collection, Value::Object(data), &kept)?;
    for (name, value) in &current.data {
        if collection.schema.is_server_s(name) {
            data.insert(name.clone(), value.clone());
        }
    }
    check_nesting(&data)?;
    let changed = Record {
        collection: collection.name.clone(),
        id: current.id.clone(),
        version: current.version,
        created_at: current.created_at,
        updated_at: Timestamp::now(),
        data,
        unreadable: false,
    };
    check_rows(collection, caller, &changed)?;
    let mut data = changed.data;
    seal(collection, &current.id, &mut data, kept)?;
    let put = Operation::Put {
        collection: collection.name.clone(),
        id: current.id.clone(),
        data,
        precondition: Precondition::Version(current.version),
    };
    let operations = with_jobs(collection, &current.id, put, &collection.settings.on_update);
    Ok(Change { operations, cache_key: Some(collection.cache_key(&current.id)) })
}

/// Removes a record, or puts it out of sight where deletions are soft: there `way` must hold of what was deleted under its
/// name before, which it replaces ([`super::reserved::make_way`]).
pub(super) fn remove(collection: &Collection, current: &Record, way: Precondition) -> Change {
    let (name, id) = (collection.name.clone(), current.id.clone());
    let precondition = Precondition::Version(current.version);
    let delete = match collection.settings.soft_delete {
        true => Operation::Move { to: deleted(&name), collection: name, id, precondition, target: way },
        false => Operation::Delete { collection: name, id, precondition },
    };
    let operations = with_jobs(collection, &current.id, delete, &collection.settings.on_delete);
    Change { operations, cache_key: Some(collection.cache_key(&current.id)) }
}

/// Checks that a caller may change a record, in the way a grant says; what it may not read so far is not there for it.
pub(super) fn check_grant(
    collection: &Collection,
    caller: Option<&Identity>,
    sight: Grant,
    grant: Grant,
    current: &Record,
) -> Result<(), Problem> {
    check_sight(collection, caller, sight, current)?;
    match grant == Grant::All || collection.rules.owns(caller, current) {
        true => Ok(()),
        false => Err(Problem::new(kinds::FORBIDDEN).detail("the record belongs to somebody else")),
    }
}

/// Says which changes must name a version (RFC 6585 §3).
pub(super) fn require_version(collection: &Collection, conditions: &Conditions) -> Result<(), Problem> {
    if collection.settings.require_if_match && !conditions.names_a_version() {
        let detail = "send the ETag of the record you read as If-Match, or as `if_match` in a batch";
        return Err(Problem::new(kinds::PRECONDITION_REQUIRED).detail(detail));
    }
    Ok(())
}

/// Checks what is to become a record against the schema and the sizes a record may have; what is kept sealed cannot be, and
/// is not missing.
fn check(
    collection: &Collection,
    data: Value,
    kept: &[(String, Value)],
) -> Result<Map<String, Value>, Problem> {
    let mut faults = collection.schema.find_faults(&data);
    faults.retain(|fault| !kept.iter().any(|(name, _)| fault.pointer == format!("/{}", escape(name))));
    for field in &collection.indexed_texts {
        let pointer = format!("/{}", field.as_str().replace('.', "/"));
        let text = data.pointer(&pointer).and_then(Value::as_str);
        if text.is_some_and(|text| text.len() > TEXT_LIMIT) {
            let detail = format!("an indexed text has at most {TEXT_LIMIT} bytes");
            faults.push(Fault { pointer, detail });
        }
    }
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

/// Checks that a record is not nested deeper than the database takes, with what the server adds to it.
fn check_nesting(data: &Map<String, Value>) -> Result<(), Problem> {
    match body::find_too_deep(data) {
        faults if faults.is_empty() => Ok(()),
        faults => Err(body::invalid(faults)),
    }
}

/// Seals the sensitive fields of what is to be stored, which grow by that, and adds those that are kept sealed.
fn seal(
    collection: &Collection,
    id: &str,
    data: &mut Map<String, Value>,
    kept: Vec<(String, Value)>,
) -> Result<(), Problem> {
    if collection.sensitive.is_empty() {
        return Ok(());
    }
    collection.sensitive.seal(id, data).map_err(|_| {
        tracing::error!(collection = collection.name, "sensitive fields cannot be sealed");
        Problem::new(kinds::INTERNAL)
    })?;
    data.extend(kept);
    let size = serde_json::to_vec(data).map_or(u64::MAX, |text| text.len() as u64);
    match size <= MAX_BODY_LIMIT {
        true => Ok(()),
        false => Err(body::too_large(collection.settings.max_body).detail("sealed, the record is too large")),
    }
}

/// Checks that what is to be stored is among the records its caller sees.
fn check_rows(collection: &Collection, caller: Option<&Identity>, record: &Record) -> Result<(), Problem> {
    match collection.rules.sees(caller, record) {
        true => Ok(()),
        false => {
            Err(Problem::new(kinds::FORBIDDEN).detail("the record would not be among those you may see"))
        }
    }
}

fn compute(collection: &Collection, computed: Computed, caller: Option<&Identity>) -> Option<Value> {
    match computed {
        Computed::Now => Some(Value::from(Timestamp::now().to_string())),
        Computed::Uuid => Some(Value::from(Uuid::now_v7().to_string())),
        Computed::Caller => caller.map(|caller| Value::from(caller.subject.as_str())),
        Computed::Owner => collection.rules.owner_name(caller),
    }
}

fn with_jobs(collection: &Collection, id: &str, write: Operation, effects: &[Enqueue]) -> Vec<Operation> {
    let payload = json!({ "namespace": collection.namespace, "collection": collection.name, "id": id });
    let jobs = effects.iter().map(|enqueue| Operation::Enqueue {
        job: NewJob::new(&enqueue.queue, &enqueue.kind, payload.clone()),
    });
    std::iter::once(write).chain(jobs).collect()
}
