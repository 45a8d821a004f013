//! Deleted records and earlier versions, where a collection keeps them.

use serde_json::{Value, json};

use super::{fields, id, reference, responses};
use crate::collection::Collection;

/// Describes the parameter that asks about deleted records; none where deletions are not soft.
pub(super) fn deleted(collection: &Collection) -> Option<Value> {
    collection.settings.soft_delete.then(|| {
        json!({
            "name": "deleted", "in": "query",
            "description": "Deleted records too, or alone. A DELETE with `only` is for good.",
            "schema": { "type": "string", "enum": ["include", "only"] },
        })
    })
}

/// Describes the resource that restores a deleted record.
pub(super) fn restore(name: &str) -> Value {
    let record = Some(reference(name, "record"));
    json!({
        "parameters": [id()],
        "post": {
            "operationId": format!("restore_{name}"),
            "responses": responses(&[("201", "It is back.", record)]),
        },
    })
}

/// Describes the earlier versions of a record.
pub(super) fn history(collection: &Collection) -> Value {
    let name = &collection.name;
    let version = json!({
        "type": "object",
        "required": ["version", "until", "record"],
        "properties": {
            "version": { "type": "integer" },
            "until": { "type": "string", "format": "date-time" },
            "record": { "type": "object", "required": ["id"] },
        },
    });
    let body = json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": version },
            "next": { "type": ["string", "null"], "description": "The `cursor` of the next page." },
        },
    });
    let limit = json!({
        "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": u32::MAX },
    });
    let parameters: Vec<Value> = [limit, fields()].into_iter().chain(deleted(collection)).collect();
    json!({
        "parameters": [id()],
        "get": {
            "operationId": format!("history_{name}"),
            "description": "The latest first; `cursor` goes on where a page ended.",
            "parameters": parameters,
            "responses": responses(&[("200", "A page.", Some(body))]),
        },
    })
}
