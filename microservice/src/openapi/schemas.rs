//! A collection's JSON Schema as what is sent and what is answered.

use database::find::Field;
use database::find::field::{CREATED_AT, ID, UPDATED_AT};
use database::find::filter::TEXT_LIMIT;
use serde_json::{Map, Value, json};

use crate::schema::{RESERVED, Schema};

/// The most bytes of a character in UTF-8.
const LONGEST_CHARACTER: u64 = 4;

/// Describes what a client sends as a record: what only the server sets at most as it was answered, and of texts that an index has
/// as many characters as it takes. A `maxProperties` counts the fields of the client alone.
pub(super) fn of_requests(name: &str, form: &str, schema: &Schema, indexed: &[Field]) -> Value {
    let mut document = rebased(schema.of_requests(), &format!("{name}.{form}"));
    bound_texts(&mut document, indexed);
    mark_read_only(&mut document, schema.own_fields());
    document
}

/// Describes what is answered: the fields of the server beside those of the client.
pub(super) fn of_records(name: &str, schema: &Schema) -> Value {
    let mut document = rebased(schema.document().clone(), &format!("{name}.record"));
    let Some(object) = document.as_object_mut() else { return json!({ "type": "object" }) };
    // It counts the fields a client sends.
    object.remove("maxProperties");
    if !schema.sensitive_fields().is_empty() {
        // It is answered without them.
        object.remove("minProperties");
        object.remove("dependentRequired");
        if let Some(required) = object.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !schema.sensitive_fields().iter().any(|sensitive| name == sensitive));
        }
    }
    let required = object.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.extend(RESERVED.map(Value::from));
    }
    mark_read_only(&mut document, schema.own_fields());
    document
}

/// Says of declared texts that an index has how long they may be. The bound is one of bytes, which a schema has no word for:
/// of texts in ASCII it is the number of characters, and what it is of others is said.
pub(super) fn bound_texts(document: &mut Value, indexed: &[Field]) {
    for field in indexed {
        let mut place = Some(&mut *document);
        for name in field.names() {
            place = place.and_then(|place| place.get_mut("properties")?.get_mut(name));
        }
        let Some(form) = place.and_then(Value::as_object_mut) else { continue };
        let declared = form.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if declared > TEXT_LIMIT as u64 / LONGEST_CHARACTER {
            form.insert("maxLength".to_owned(), declared.min(TEXT_LIMIT as u64).into());
            form.entry("description")
                .or_insert_with(|| format!("An index has it: at most {TEXT_LIMIT} bytes in UTF-8.").into());
        }
    }
}

/// Describes a problem document.
pub(super) fn problem() -> Value {
    let fault = json!({
        "type": "object",
        "required": ["pointer", "detail"],
        "properties": { "pointer": { "type": "string" }, "detail": { "type": "string" } },
    });
    json!({
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "errors": { "type": "array", "items": fault },
            "trace_id": { "type": "string" },
        },
    })
}

/// Says of fields that a client does not set them, and that it can send them back as they were answered.
pub(super) fn mark_read_only<'a>(document: &mut Value, fields: impl Iterator<Item = &'a str>) {
    let Some(object) = document.as_object_mut() else { return };
    let properties = properties(object);
    for field in fields {
        let mut form = match (field, properties.remove(field)) {
            (ID, _) => json!({ "type": "string" }),
            (CREATED_AT | UPDATED_AT, _) => json!({ "type": "string", "format": "date-time" }),
            (_, Some(declared @ Value::Object(_))) => declared,
            // `false` keeps clients from sending what the server sets and answers.
            _ => json!({}),
        };
        form["readOnly"] = true.into();
        properties.insert(field.to_owned(), form);
    }
}

/// Gives the properties of a schema; what is no object becomes an empty one.
fn properties(object: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let found = match object.remove("properties") {
        Some(Value::Object(found)) => found,
        _ => Map::new(),
    };
    let place = object.entry("properties").or_insert(Value::Null);
    *place = Value::Object(found);
    let Value::Object(properties) = place else { unreachable!("an object was put there") };
    properties
}

/// Has references within a schema point to where it lies among the components.
pub(super) fn rebased(mut schema: Value, component: &str) -> Value {
    fn rebase(schema: &mut Value, base: &str) {
        match schema {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(target) if name == "$ref" && target.starts_with('#') => {
                            *target = format!("{base}{}", &target[1..]);
                        }
                        value => rebase(value, base),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, base)),
            _ => {}
        }
    }
    rebase(&mut schema, &format!("#/components/schemas/{component}"));
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
        members.remove("$id");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_reference_within_a_schema_finds_its_target_among_the_components() {
        let schema =
            json!({"$id": "x", "properties": {"a": {"$ref": "#/$defs/b"}, "c": {"$ref": "https://x/y"}}});
        let expected = json!({"properties": {"a": {"$ref": "#/components/schemas/t.record/$defs/b"}, "c": {"$ref": "https://x/y"}}});
        assert_eq!(rebased(schema, "t.record"), expected);
    }

    #[test]
    fn a_text_that_an_index_has_is_bounded_by_what_that_takes() {
        let mut document = json!({"properties": {
            "tag": {"type": "string"}, "long": {"type": "string", "maxLength": 5000},
            "short": {"type": "string", "maxLength": 100}, "other": {"type": "string"},
            "place": {"properties": {"shelf": {"type": "string"}}},
        }});
        let indexed = ["tag", "long", "short", "place.shelf", "none", "no.place"];
        bound_texts(&mut document, &indexed.map(|name| Field::new(name).unwrap()));
        let most = |pointer: &str| document.pointer(pointer).unwrap()["maxLength"].as_u64();
        let properties = &document["properties"];
        assert_eq!(most("/properties/tag"), Some(1024));
        assert!(properties["tag"]["description"].as_str().unwrap().contains("1024 bytes"));
        assert_eq!((most("/properties/long"), most("/properties/short")), (Some(1024), Some(100)));
        assert_eq!(most("/properties/place/properties/shelf"), Some(1024));
        assert_eq!(most("/properties/other"), None);
        assert_eq!(properties.as_object().unwrap().len(), 5, "what is not declared stays so");
    }

    #[test]
    fn what_only_the_server_sets_is_answered_and_may_be_sent_back() {
        let orders = config::Config::default().services["orders"].collections["orders"].clone();
        let schema = Schema::load(&orders).unwrap();
        let (sent, answered) =
            (of_requests("orders", "request", &schema, &[]), of_records("orders", &schema));
        let time = json!({"type": "string", "format": "date-time", "readOnly": true});
        for document in [&sent, &answered] {
            let properties = &document["properties"];
            assert_eq!(properties["status"], json!({"readOnly": true}));
            assert_eq!(properties["id"], json!({"type": "string", "readOnly": true}));
            assert_eq!((&properties["created_at"], &properties["updated_at"]), (&time, &time));
            assert_eq!(properties["note"].get("readOnly"), None);
        }
        let record = json!({"id": "a", "product_id": "p", "quantity": 1, "status": "pending",
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z"});
        assert!(jsonschema::draft202012::is_valid(&sent, &record), "what is answered fits what is sent");
        assert_eq!(sent["required"], json!(["product_id", "quantity"]));
        assert_eq!(answered["required"], json!(["product_id", "quantity", "id", "created_at", "updated_at"]));
    }
}
