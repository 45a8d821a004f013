//! The batch of a service: changes of several of its records, all or none.

use serde_json::{Value, json};

use super::{headers, patterns, reference, responses};
use crate::collection::Collection;
use crate::collection::batch::OPERATION_LIMIT;

/// Describes the resource of a service's batches.
pub(super) fn batch(collections: &[&Collection]) -> Value {
    let operations: Vec<Value> = collections.iter().flat_map(|collection| operations(collection)).collect();
    let body = json!({
        "type": "object",
        "required": ["operations"],
        "additionalProperties": false,
        "properties": {
            "operations": {
                "type": "array", "minItems": 1, "maxItems": OPERATION_LIMIT,
                "items": { "anyOf": operations },
            },
        },
    });
    let records: Vec<Value> =
        collections.iter().map(|collection| reference(&collection.name, "record")).collect();
    let done = json!({
        "type": "object",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "description": "What became of each operation, in order.",
                "items": {
                    "type": "object",
                    "required": ["status"],
                    "properties": {
                        "status": { "enum": [200, 201, 204] },
                        "etag": { "type": "string" },
                        "record": { "anyOf": records },
                    },
                },
            },
        },
    });
    json!({
        "post": {
            "operationId": "batch",
            "description": "All operations happen or none does; each is about another record.",
            "parameters": [headers::idempotency_key("")],
            "requestBody": { "required": true, "content": { "application/json": { "schema": body } } },
            "responses": responses(&[("200", "They are done.", Some(done))]),
        },
    })
}

/// Describes what a batch can do with the records of a collection.
fn operations(collection: &Collection) -> Vec<Value> {
    let name = &collection.name;
    let operation = |verb: &str, form: Option<&str>| {
        let mut required = vec!["op", "collection"];
        let mut properties = json!({
            "op": { "const": verb },
            "collection": { "const": name },
            "id": { "type": "string", "pattern": patterns::NAME },
        });
        if let Some(form) = form {
            required.push("data");
            properties["data"] = reference(name, form);
        }
        if verb != "create" {
            required.push("id");
            properties["if_match"] = json!({ "type": "string", "pattern": patterns::TAG });
            if collection.settings.require_if_match {
                required.push("if_match");
            }
        }
        json!({
            "type": "object", "required": required, "additionalProperties": false, "properties": properties,
        })
    };
    vec![
        operation("create", Some("request")),
        operation("replace", Some("replacement")),
        operation("patch", Some("patch")),
        operation("delete", None),
    ]
}
