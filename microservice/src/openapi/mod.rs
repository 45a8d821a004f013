//! What a service tells of itself as OpenAPI 3.1, for people and for tools that generate clients and tests.
//!
//! Filters and cursors are told in words: as parameters they would have to be patterns that admit just what the
//! service takes, which nobody could read. So are JSON patches, whose fitness depends on the record, and the stream of
//! changes, which has no end.

mod past;
mod schemas;

use database::Declaration;
use process::problem::kinds;
use serde_json::{Map, Value, json};

use crate::collection::Collection;
use schemas::{of_patches, of_records, of_requests};

/// The version of the API's form.
const VERSION: &str = "1";

/// Describes a service with its collections and what they declare.
pub(crate) fn describe(service: &str, collections: &[(&Collection, &Declaration)]) -> Value {
    let mut paths = Map::new();
    let mut components = Map::new();
    for (collection, declaration) in collections {
        let name = &collection.name;
        components.insert(format!("{name}.record"), of_records(name, &collection.schema));
        components.insert(format!("{name}.request"), of_requests(name, &collection.schema));
        components.insert(format!("{name}.patch"), of_patches(name, &collection.schema));
        paths.insert(collection.path.clone(), whole(collection, declaration));
        paths.insert(format!("{}/{{id}}", collection.path), single(collection));
        if collection.settings.soft_delete {
            paths.insert(format!("{}/{{id}}/restore", collection.path), past::restore(name));
        }
        if collection.settings.history > 0 {
            paths.insert(format!("{}/{{id}}/history", collection.path), past::history(collection));
        }
    }
    components.insert("problem".to_owned(), schemas::problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": service,
            "version": VERSION,
            "description": "Collections of records. Filters, cursors, batches and changes: docs/collections.md.",
        },
        "paths": paths,
        "components": { "schemas": components },
    })
}

/// Describes the collection's own resource.
fn whole(collection: &Collection, declaration: &Declaration) -> Value {
    let name = &collection.name;
    let mut orders = vec![json!("id"), json!("-id")];
    for index in declaration.indexes.iter().filter(|index| !index.unique) {
        let spell = |flip: bool| {
            let fields = index.columns.iter().map(|column| {
                format!("{}{}", if column.descending != flip { "-" } else { "" }, column.field)
            });
            json!(fields.collect::<Vec<_>>().join(","))
        };
        orders.extend([spell(false), spell(true)]);
    }
    let listing = json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": { "type": "object", "required": ["id"] } },
            "next": { "type": ["string", "null"], "description": "The `cursor` of the next page." },
            "count": {
                "type": "object",
                "required": ["value", "exact"],
                "properties": { "value": { "type": "integer" }, "exact": { "type": "boolean" } },
            },
        },
    });
    let filtered: Vec<String> = declaration.indexes.iter().flat_map(|index| index.fields()).collect();
    let description = format!(
        "A parameter named like a field is a condition, `price=gte.10`; groups are `or=(…)`, `and=(…)`; `cursor` goes on \
         where a page ended. Fields to filter by: {}.",
        if declaration.scan { "all".to_owned() } else { filtered.join(", ") },
    );
    let mut parameters = vec![
        json!({ "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": u32::MAX } }),
        json!({ "name": "order", "in": "query", "schema": { "type": "string", "enum": orders } }),
        json!({ "name": "count", "in": "query", "schema": { "type": "string", "enum": ["exact", "estimated", "none"] } }),
        fields(),
    ];
    parameters.extend(past::deleted(collection));
    json!({
        "get": {
            "operationId": format!("list_{name}"),
            "description": description,
            "parameters": parameters,
            "responses": responses(&[("200", "A page.", Some(listing))]),
        },
        "post": {
            "operationId": format!("create_{name}"),
            "requestBody": body(name, "request", &["application/json"]),
            "responses": responses(&[("201", "The new record.", Some(reference(name, "record")))]),
        },
    })
}

/// Describes the resource of one record.
fn single(collection: &Collection) -> Value {
    let name = &collection.name;
    let deleted = past::deleted(collection);
    let some = json!({ "type": "object", "required": ["id"], "description": "Those that `fields` names." });
    let shown = json!({ "anyOf": [reference(name, "record"), some] });
    let record = || Some(reference(name, "record"));
    let patches = body(name, "patch", &["application/merge-patch+json"]);
    json!({
        "parameters": [id()],
        "get": {
            "operationId": format!("read_{name}"),
            "parameters": std::iter::once(fields()).chain(deleted.clone()).collect::<Vec<_>>(),
            "responses": responses(&[("200", "The record.", Some(shown)), ("304", "The client has it.", None)]),
        },
        "put": {
            "operationId": format!("replace_{name}"),
            "description": "With `If-None-Match: *` it makes a record; without, it replaces one.",
            "requestBody": body(name, "request", &["application/json"]),
            "responses": responses(&[("200", "The record.", record()), ("201", "The new record.", record())]),
        },
        "patch": {
            "operationId": format!("change_{name}"),
            "description": "Also takes `application/json-patch+json` (RFC 6902).",
            "requestBody": patches,
            "responses": responses(&[("200", "The record.", record())]),
        },
        "delete": {
            "operationId": format!("delete_{name}"),
            "parameters": deleted.into_iter().collect::<Vec<_>>(),
            "responses": responses(&[("204", "It is gone.", None)]),
        },
    })
}

/// Describes the name of a record in a path.
fn id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true,
        "schema": { "type": "string", "pattern": "^[A-Za-z0-9._~-]{1,255}$" },
    })
}

/// Describes the parameter that names the fields of an answer.
fn fields() -> Value {
    json!({
        "name": "fields", "in": "query",
        "description": "Only these fields, and sensitive ones if the caller may read them.",
        "schema": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,30}(\\.[A-Za-z0-9_-]{1,30})?(,[A-Za-z0-9_-]{1,30}){0,3}$" },
    })
}

fn reference(name: &str, form: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}.{form}") })
}

fn body(name: &str, form: &str, media_types: &[&str]) -> Value {
    let content =
        media_types.iter().map(|taken| ((*taken).to_owned(), json!({ "schema": reference(name, form) })));
    json!({ "required": true, "content": content.collect::<Map<_, _>>() })
}

/// Lists what is answered: these, and every problem that a client can cause or meet.
fn responses(own: &[(&str, &str, Option<Value>)]) -> Value {
    let mut responses = Map::new();
    for (status, description, schema) in own {
        let mut response = json!({ "description": description });
        if let Some(schema) = schema {
            response["content"] = json!({ "application/json": { "schema": schema } });
        }
        responses.insert((*status).to_owned(), response);
    }
    for kind in kinds::ALL {
        responses.entry(kind.status.to_string()).or_insert_with(|| {
            json!({
                "description": kind.title,
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/problem" } } },
            })
        });
    }
    Value::Object(responses)
}
