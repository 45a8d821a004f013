//! Deleted records and earlier versions, where a collection keeps them.

use serde_json::{Value, json};

use super::{headers, parameters, reference, responses};
use crate::collection::Collection;

/// Describes the resource that restores a deleted record.
pub(super) fn restore(name: &str) -> Value {
    let record = Some(reference(name, "record"));
    json!({
        "parameters": [parameters::id()],
        "post": {
            "operationId": format!("restore_{name}"),
            "description": "Brings a deleted record back as it was; 409 when its name or a unique field is taken.",
            "parameters": [headers::if_restored(), headers::idempotency_key("")],
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
    let listed = [parameters::limit(), parameters::cursor(), parameters::fields()];
    let mut responses = responses(&[("200", "A page.", Some(body))]);
    responses["200"]["links"] = json!({ "next": {
        "operationId": format!("history_{name}"),
        "parameters": { "id": "$request.path.id", "cursor": "$response.body#/next" },
    } });
    json!({
        "parameters": [parameters::id()],
        "get": {
            "operationId": format!("history_{name}"),
            "description": "The earlier versions of a record, the latest first.",
            "parameters": listed.into_iter().chain(parameters::deleted(collection)).collect::<Vec<_>>(),
            "responses": responses,
        },
    })
}
