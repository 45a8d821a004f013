//! The stream of changes.

use database::Declaration;
use serde_json::{Value, json};

use super::{parameters, reference, responses};
use crate::collection::Collection;

/// Describes what an event holds in its `data`.
pub(super) fn event(name: &str) -> Value {
    let change = json!({
        "type": "object",
        "description": "The `data` of an event `create`, `update` or `delete`; the event's `id` is the change's sequence.",
        "required": ["id", "version", "at"],
        "properties": {
            "id": { "type": "string", "description": "The record." },
            "version": { "type": "integer", "description": "The change's sequence." },
            "at": { "type": "string", "format": "date-time" },
            "record": {
                "description": "The record as it is now; none of one that was deleted, or is gone meanwhile.",
                "anyOf": [reference(name, "record"), { "type": "object", "required": ["id"] }],
            },
        },
    });
    let reset = json!({
        "type": "object",
        "description": "The `data` of an event `reset`, which says to list again: nothing.",
        "maxProperties": 0,
    });
    json!({ "anyOf": [change, reset] })
}

/// Describes the resource where changes are followed.
pub(super) fn follow(collection: &Collection, declaration: &Declaration) -> Value {
    let name = &collection.name;
    let mut stream = responses(&[("200", "Server-sent events, until the client goes.", None)]);
    stream["200"]["content"] = json!({ "text/event-stream": { "schema": {
        "type": "object",
        "description": "One event.",
        "required": ["id", "event", "data"],
        "properties": {
            "id": { "type": "string", "pattern": "^[0-9]{1,19}$" },
            "event": { "enum": ["create", "update", "delete", "reset"] },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": reference(name, "event"),
            },
        },
    } } });
    let mut listed = vec![
        parameters::query(
            "after",
            "The sequence after which changes are told, 0 for all there are; from now on without it.",
            json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }),
        ),
        json!({
            "name": "Last-Event-ID", "in": "header",
            "description": "The `id` of the last event a client saw: it goes on after that one.",
            "schema": { "type": "string", "pattern": "^[0-9]{1,18}$" },
        }),
        parameters::fields(),
    ];
    listed.extend(parameters::filters(collection, declaration));
    json!({
        "get": {
            "operationId": format!("follow_{name}"),
            "description": "Follows changes as server-sent events. With conditions only changes of records that match now \
                            are told.",
            "parameters": listed,
            "responses": stream,
        },
    })
}
