//! A patch of a record: what it makes of one, in either form.

use database::{Record, merge_patch};
use process::Problem;
use process::json::escape;
use process::problem::{Fault, kinds};
use serde_json::{Map, Value};

use super::Collection;
use super::prepare::with_unseen;
use super::representation::Representation;
use super::sent_back::TIMES;
use crate::body::{self, JSON_PATCH};
use crate::json_patch::{JsonPatch, Unfit, equals, find_repeated};

/// A patch that was read.
#[derive(Debug)]
pub(super) enum Patch {
    /// RFC 7396, on the fields a client may set.
    Merge(Map<String, Value>),
    /// RFC 6902, on the record as it is read; what only the server sets may be tested and not changed; its times are passed over.
    Json(JsonPatch),
}

impl Patch {
    /// Reads a body of a media type.
    pub(super) fn read(media_type: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let body = body::parse(bytes)?;
        match media_type {
            JSON_PATCH => {
                let read = find_repeated(bytes).map_or_else(|| JsonPatch::read(&body), Err);
                read.map(Self::Json).map_err(|fault| body::invalid(vec![fault]))
            }
            _ => body::as_object(body).map(Self::Merge),
        }
    }

    /// Makes the changed data of a record, without what only the server sets.
    pub(super) fn apply(
        &self,
        collection: &Collection,
        record: &Record,
    ) -> Result<Map<String, Value>, Problem> {
        match self {
            Self::Merge(patch) => merge(collection, record, patch),
            Self::Json(patch) => {
                // Nor can what is sensitive be tested, or copied to where it is seen.
                let mut seen = record.clone();
                collection.sensitive.strip(&mut seen.data);
                let whole = serde_json::to_value(Representation::from(&seen))
                    .map_err(|_| Problem::new(kinds::INTERNAL))?;
                let changed = apply(patch, &whole, collection.settings.max_body)?;
                let mut data = body::as_object(changed)?;
                // A time that is another is of an older copy, in place of the whole; one that is missing was to be removed.
                let changed = collection.schema.own_fields().filter(|name| {
                    match (data.remove(*name), whole.get(*name)) {
                        (Some(_), _) if TIMES.contains(name) => false,
                        (Some(sent), Some(own)) => !equals(&sent, own),
                        (sent, own) => sent.is_some() != own.is_some(),
                    }
                });
                let faults = changed.map(|name| Fault {
                    pointer: format!("/{name}"),
                    detail: "only the server sets this field".to_owned(),
                });
                let faults: Vec<Fault> = faults.collect();
                if !faults.is_empty() {
                    return Err(body::invalid(faults));
                }
                Ok(with_unseen(collection, record, data))
            }
        }
    }
}

/// Makes the changed data of a record by a merge patch, without what only the server sets. Null for that, or for what is set once, is
/// refused: it would remove nothing.
pub(super) fn merge(
    collection: &Collection,
    record: &Record,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Problem> {
    let fault = |name: &String, detail: &str| Fault {
        pointer: format!("/{}", escape(name)),
        detail: detail.to_owned(),
    };
    let removed = patch.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name);
    let faults = removed.filter_map(|name| {
        if collection.schema.own_fields().any(|own| own == name) {
            return Some(fault(name, "only the server sets this field"));
        }
        let is_set_once = collection.settings.readonly.contains(name);
        is_set_once.then(|| fault(name, "this field is set once, when the record is made"))
    });
    let faults: Vec<Fault> = faults.collect();
    if !faults.is_empty() {
        return Err(body::invalid(faults));
    }
    let mut data = record.data.clone();
    data.retain(|name, _| !collection.schema.is_server_s(name));
    merge_patch::apply(&mut data, patch);
    Ok(data)
}

fn apply(patch: &JsonPatch, document: &Value, limit: u64) -> Result<Value, Problem> {
    patch.apply(document, limit).map_err(|unfit| match unfit {
        // RFC 5789 §2.2: the record's state does not allow it.
        Unfit::TestFailed(fault) | Unfit::Misplaced(fault) => {
            let detail = "the patch does not fit the record as it is";
            Problem::new(kinds::CONFLICT).detail(detail).errors(vec![fault])
        }
        Unfit::TooLarge => body::too_large(limit),
        Unfit::TooDeep(fault) => body::invalid(vec![fault]),
    })
}
