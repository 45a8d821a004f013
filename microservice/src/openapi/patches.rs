//! What a record's changes look like: a merge patch, a JSON patch, and a whole record in its place.

use serde_json::{Map, Value, json};

use super::reference;
use super::schemas::{bound_texts, mark_read_only, of_requests, rebased};
use crate::collection::Collection;

/// Describes a whole record that takes the place of one: fields that are set once cannot differ, so they are not required.
pub(super) fn of_replacements(collection: &Collection) -> Value {
    let mut document =
        of_requests(&collection.name, "replacement", &collection.schema, &collection.indexed_texts);
    if let Some(required) = document.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| !is_set_once(collection, field));
    }
    mark_read_only(&mut document, collection.settings.readonly.iter().map(String::as_str));
    document
}

/// Describes a merge patch (RFC 7396): any of the fields; null removes one that is neither required nor the server's nor set once.
pub(super) fn of_merge_patches(collection: &Collection) -> Value {
    let mut whole = rebased(collection.schema.document().clone(), &format!("{}.request", collection.name));
    bound_texts(&mut whole, &collection.indexed_texts);
    let once = collection.settings.readonly.iter().map(String::as_str);
    let fixed: Vec<&str> = collection.schema.own_fields().chain(once).collect();
    mark_read_only(&mut whole, fixed.iter().copied());
    let mut document = json!({ "type": "object" });
    for kept in ["properties", "additionalProperties", "patternProperties"] {
        if let Some(value) = whole.get(kept) {
            document[kept] = value.clone();
        }
    }
    let mut stays = required(&whole);
    stays.extend(fixed.into_iter().map(str::to_owned));
    admit_removals(&mut document, &stays);
    document
}

/// Describes a JSON patch (RFC 6902): of all its operations those that fit every record, field by field.
pub(super) fn of_json_patches(collection: &Collection) -> Value {
    let name = &collection.name;
    let whole = reference(name, "request");
    let document = rebased(collection.schema.document().clone(), &format!("{name}.request"));
    let required = required(&document);
    let none = Map::new();
    let properties = document.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let own = |field: &&String| {
        !collection.schema.is_server_s(field) && !collection.settings.readonly.contains(field)
    };
    let mut operations =
        vec![operation("test", json!({ "const": "/id" }), Some(json!({ "type": "string" })))];
    for field in properties.keys().filter(own) {
        let path = json!({ "const": format!("/{}", process::json::escape(field)) });
        let value = json!({ "$ref": format!("{}/properties/{}", whole["$ref"].as_str().unwrap_or_default(), process::json::escape(field)) });
        for verb in ["add", "replace", "test"] {
            operations.push(operation(verb, path.clone(), Some(value.clone())));
        }
        if !required.contains(field) {
            operations.push(operation("remove", path, None));
        }
    }
    json!({
        "type": "array",
        "maxItems": 20,
        "description": "All operations of RFC 6902 are taken, on any path; those described here fit every record. One that does not fit \
                        the record as it is, a failed `test` for one, is 409.",
        "items": { "anyOf": operations },
    })
}

/// Has the fields that are not required take null, which removes them; in members that are objects likewise, since a merge patch
/// merges them too.
fn admit_removals(document: &mut Value, required: &[String]) {
    // Null for what is not there removes nothing, whatever its name.
    let nullable = |form: &mut Value| {
        *form = match form.take() {
            Value::Bool(false) => json!({ "type": "null" }),
            form => json!({ "anyOf": [form, { "type": "null" }] }),
        };
    };
    if let Some(others) = document.get_mut("additionalProperties") {
        nullable(others);
    }
    if let Some(forms) = document.get_mut("patternProperties").and_then(Value::as_object_mut) {
        forms.values_mut().for_each(nullable);
    }
    let Some(properties) = document.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (field, form) in properties {
        let inner = self::required(form);
        if let Some(members) = form.as_object_mut() {
            members.remove("required");
        }
        admit_removals(form, &inner);
        if !required.contains(field) {
            nullable(form);
        }
    }
}

fn operation(verb: &str, path: Value, value: Option<Value>) -> Value {
    let mut properties = json!({ "op": { "const": verb }, "path": path });
    let mut required = vec!["op", "path"];
    if let Some(value) = value {
        properties["value"] = value;
        required.push("value");
    }
    json!({ "type": "object", "required": required, "properties": properties })
}

fn required(document: &Value) -> Vec<String> {
    let required = document.get("required").and_then(Value::as_array).into_iter().flatten();
    required.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn is_set_once(collection: &Collection, field: &Value) -> bool {
    collection.settings.readonly.iter().any(|name| field == name)
}
