//! What a service tells of itself as OpenAPI 3.1, for people and for tools that generate clients and tests.
//!
//! Every operation and parameter is described so that what fits is taken and what does not is refused, which
//! `system_tests/tests/schemathesis` tries out. Whether a condition holds and a key is free depends on what was sent
//! before: a value that fits may be answered 412, 409 or 422. `Cache-Control` stands only in words, because no value of it
//! is refused.

mod batch;
mod bulk;
mod changes;
mod headers;
mod parameters;
mod past;
mod patches;
mod patterns;
mod schemas;

use database::Declaration;
use process::problem::kinds;
use serde_json::{Map, Value, json};

use crate::collection::Collection;
use schemas::{of_records, of_requests};

/// The version of the API's form.
const VERSION: &str = "1";

/// Describes a service with its collections and what they declare.
pub(crate) fn describe(service: &str, collections: &[(&Collection, &Declaration)]) -> Value {
    let mut paths = Map::new();
    let mut components = Map::new();
    for (collection, declaration) in collections {
        let name = &collection.name;
        components.insert(format!("{name}.record"), of_records(name, &collection.schema));
        components.insert(
            format!("{name}.request"),
            of_requests(name, "request", &collection.schema, &collection.indexed_texts),
        );
        components.insert(format!("{name}.replacement"), patches::of_replacements(collection));
        components.insert(format!("{name}.patch"), patches::of_merge_patches(collection));
        components.insert(format!("{name}.json-patch"), patches::of_json_patches(collection));
        components.insert(format!("{name}.event"), changes::event(name));
        paths.insert(collection.path.clone(), whole(collection, declaration));
        paths.insert(format!("{}/changes", collection.path), changes::follow(collection, declaration));
        paths.insert(format!("{}/{{id}}", collection.path), single(collection));
        if collection.settings.soft_delete {
            paths.insert(format!("{}/{{id}}/restore", collection.path), past::restore(name));
        }
        if collection.settings.history > 0 {
            paths.insert(format!("{}/{{id}}/history", collection.path), past::history(collection));
        }
    }
    let all: Vec<&Collection> = collections.iter().map(|(collection, _)| *collection).collect();
    paths.insert(format!("/{service}/_batch"), batch::batch(&all));
    components.insert("problem".to_owned(), schemas::problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": service,
            "version": VERSION,
            "description": "Collections of records. Reads take `Cache-Control: max-stale` or `max-stale=SECONDS`: the answer \
                may then lack what was done last, and has `Age` if it may. See docs/collections.md.",
        },
        "paths": paths,
        "components": { "schemas": components },
    })
}

/// Describes the collection's own resource.
fn whole(collection: &Collection, declaration: &Declaration) -> Value {
    let name = &collection.name;
    let some = json!({ "type": "object", "required": ["id"] });
    let listing = json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": some },
            "next": { "type": ["string", "null"], "description": "The `cursor` of the next page." },
            "count": {
                "type": "object",
                "required": ["value", "exact"],
                "properties": {
                    "value": { "type": "integer", "minimum": 0 },
                    "exact": { "type": "boolean" },
                    "margin": {
                        "type": "integer", "minimum": 0,
                        "description": "How far off an estimate is at most, in 19 answers of 20. Without it, what is not exact is a lower bound.",
                    },
                },
            },
        },
    });
    let mut listed = vec![
        parameters::limit(),
        parameters::cursor(),
        parameters::order(declaration),
        parameters::count(),
        parameters::fields(),
    ];
    listed.extend(parameters::deleted(collection));
    listed.extend(parameters::filters(collection, declaration));
    let mut get = json!({
        "operationId": format!("list_{name}"),
        "description": if declaration.scan { "Fields without an index can be filtered by, too." } else { "" },
        "parameters": listed,
        "responses": responses(&[("200", "A page.", Some(listing))]),
    });
    get["responses"]["200"]["links"] = json!({ "next": {
        "operationId": format!("list_{name}"),
        "parameters": { "cursor": "$response.body#/next" },
    } });
    bulk::add_export(&mut get);
    let mut post = json!({
        "operationId": format!("create_{name}"),
        "parameters": [headers::idempotency_key(" Of an import it holds for each line: an import sent again makes what it did not make before.")],
        "requestBody": body(name, &[("application/json", "request")]),
        "responses": responses(&[("201", "The new record.", Some(reference(name, "record")))]),
    });
    let linked = |operation: &str| {
        json!({
            "operationId": format!("{operation}_{name}"), "parameters": { "id": "$response.body#/id" },
        })
    };
    let mut change = linked("change");
    change["parameters"]["If-Match"] = "$response.header.ETag".into();
    post["responses"]["201"]["links"] =
        json!({ "read": linked("read"), "change": change, "delete": linked("delete") });
    bulk::add_import(&mut post);
    json!({ "get": get, "post": post })
}

/// Describes the resource of one record.
fn single(collection: &Collection) -> Value {
    let name = &collection.name;
    let deleted = parameters::deleted(collection);
    let conditions =
        |may_create| vec![headers::if_match(collection, may_create), headers::idempotency_key("")];
    let with = |mut parameters: Vec<Value>, more: Vec<Value>| {
        parameters.extend(more);
        parameters
    };
    let deleted: Vec<Value> = deleted.into_iter().collect();
    let some = json!({ "type": "object", "required": ["id"], "description": "Those that `fields` names." });
    let shown = json!({ "anyOf": [reference(name, "record"), some] });
    let record = || Some(reference(name, "record"));
    let patches = [("application/merge-patch+json", "patch"), ("application/json-patch+json", "json-patch")];
    json!({
        "parameters": [parameters::id()],
        "get": {
            "operationId": format!("read_{name}"),
            "parameters": with(vec![parameters::fields(), headers::if_none_match()], deleted.clone()),
            "responses": responses(&[("200", "The record.", Some(shown)), ("304", "The client has it.", None)]),
        },
        "put": {
            "operationId": format!("replace_{name}"),
            "description": "With `If-None-Match: *` it makes a record; without, it replaces one.",
            "parameters": with(conditions(true), vec![headers::if_absent()]),
            "requestBody": body(name, &[("application/json", "replacement")]),
            "responses": responses(&[("200", "The record.", record()), ("201", "The new record.", record())]),
        },
        "patch": {
            "operationId": format!("change_{name}"),
            "parameters": conditions(false),
            "requestBody": body(name, &patches),
            "responses": responses(&[("200", "The record.", record())]),
        },
        "delete": {
            "operationId": format!("delete_{name}"),
            "parameters": with(conditions(false), deleted),
            "responses": responses(&[("204", "It is gone.", None)]),
        },
    })
}

fn reference(name: &str, form: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}.{form}") })
}

/// Describes a body: its media types, each with the form of what is sent as it.
fn body(name: &str, taken: &[(&str, &str)]) -> Value {
    let content = taken
        .iter()
        .map(|(media_type, form)| ((*media_type).to_owned(), json!({ "schema": reference(name, form) })));
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
