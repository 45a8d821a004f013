//! JSON Schemas of collections: loading them, and saying where a record does not follow one.

use std::collections::BTreeMap;

use database::find::field::ID;
use database::find::{Field, Kind};
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use process::json::escape;
use process::problem::Fault;
use serde_json::{Map, Value, json};

use crate::config;

/// The schemas within the program.
const BUILT_IN: [(&str, &str); 2] = [
    ("products", include_str!("../schemas/products.json")),
    ("orders", include_str!("../schemas/orders.json")),
];

/// The fields every representation carries, which no client sets.
pub(crate) const RESERVED: [&str; 3] = ["id", "created_at", "updated_at"];

/// The field that deleted records carry besides, where deletions are soft.
pub(crate) const DELETED_AT: &str = "deleted_at";

/// The most faults one answer lists; beyond it a person reads none.
const FAULT_LIMIT: usize = 50;

/// The longest text of one fault in characters; a fault quotes the value, which may be a whole body.
const DETAIL_LIMIT: usize = 200;

/// A schema ready to validate.
#[derive(Debug)]
pub(crate) struct Schema {
    document: Value,
    validator: Validator,
    /// The fields only the house sets, with what they begin as.
    server_fields: BTreeMap<String, Value>,
    /// The fields that are computed where a client leaves them out.
    defaults: Vec<String>,
    /// The fields whose values no fault repeats.
    sensitive: Vec<String>,
}

/// Tells whether a name is of a schema within the program.
pub(crate) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
}

impl Schema {
    /// Loads and compiles the schema of a collection; the error is one line for the person at the terminal.
    pub(crate) fn load(collection: &config::Collection) -> Result<Self, String> {
        let Some(name) = &collection.schema else {
            return Self::compile(json!({ "type": "object" }), collection);
        };
        let text = match BUILT_IN.iter().find(|(built_in, _)| built_in == name) {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?,
        };
        let document = serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        Self::compile(document, collection).map_err(|error| format!("{name}: {error}"))
    }

    fn compile(document: Value, collection: &config::Collection) -> Result<Self, String> {
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&document)
            .map_err(|error| error.to_string())?;
        let mut server_fields = collection.server_fields.clone();
        server_fields.extend(collection.owner.clone().map(|owner| (owner, Value::from(""))));
        if collection.soft_delete {
            server_fields.insert(DELETED_AT.to_owned(), Value::from(""));
        }
        let defaults = collection.defaults.keys().cloned().collect();
        Ok(Self { document, validator, server_fields, defaults, sensitive: collection.sensitive.clone() })
    }

    /// Gives the schema as it was written.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Gives the schema of what a client sends: what is computed where it is missing is not required.
    pub(crate) fn of_requests(&self) -> Value {
        let mut document = self.document.clone();
        if let Some(Value::Array(required)) = document.get_mut("required") {
            required.retain(|name| !self.defaults.iter().any(|default| name == default));
        }
        document
    }

    /// Gives the schema of a body with the fields of the server, which a client may send back as it read them; whether they are
    /// unchanged, only the service knows.
    pub(crate) fn of_bodies(&self) -> Value {
        let mut document = self.of_requests();
        let Some(object) = document.as_object_mut() else { return document };
        if let Some(most) = object.get("maxProperties").and_then(Value::as_u64) {
            // It counts the fields of the client.
            object.insert(
                "maxProperties".to_owned(),
                most.saturating_add(self.own_fields().count() as u64).into(),
            );
        }
        let properties = object.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.extend(self.own_fields().map(|name| (name.to_owned(), Value::Bool(true))));
        }
        document
    }

    /// Tells whether only the server sets a field.
    pub(crate) fn is_server_s(&self, name: &str) -> bool {
        self.server_fields.contains_key(name)
    }

    /// Names the fields that no client sets: those of every representation, and those that only the server sets.
    pub(crate) fn own_fields(&self) -> impl Iterator<Item = &str> {
        RESERVED.into_iter().chain(self.server_fields())
    }

    /// Names the fields that only the server sets.
    pub(crate) fn server_fields(&self) -> impl Iterator<Item = &str> {
        self.server_fields.keys().map(String::as_str)
    }

    /// Tells the type of a field's values, where the schema or a field of the server's shows it.
    pub(crate) fn kind_of(&self, field: &Field) -> Option<Kind> {
        if field.is_of_record() {
            return Some(if field.as_str() == ID { Kind::Text } else { Kind::Number });
        }
        let mut place = Some(&self.document);
        for name in field.names() {
            place = place.and_then(|place| place.get("properties")?.get(name));
        }
        match place {
            Some(place) => kind_of_schema(place),
            None => kind_of_value(self.server_fields.get(field.as_str())?),
        }
    }

    /// Finds everything that is wrong with what a client sent as a record, without what it sent back of the server's; nothing when
    /// it is valid.
    pub(crate) fn find_faults(&self, data: &Value) -> Vec<Fault> {
        let owned = |name: &str| RESERVED.contains(&name) || self.server_fields.contains_key(name);
        let fields = data.as_object().into_iter().flat_map(Map::keys).filter(|name| owned(name));
        let mut faults: Vec<Fault> = fields
            .map(|name| Fault {
                pointer: format!("/{}", escape(name)),
                detail: "only the server sets this field".to_owned(),
            })
            .collect();
        for error in self.validator.iter_errors(data) {
            for fault in self.faults_of(&error) {
                // A field of the server's is named once, also where the schema refuses it too.
                if faults.len() < FAULT_LIMIT && faults.iter().all(|known| known.pointer != fault.pointer) {
                    faults.push(fault);
                }
            }
        }
        faults
    }

    /// Says why the schema never allows a field this value, wherever within it; `None` where it may, also beside others.
    pub(crate) fn refusal_of(&self, name: &str, value: &Value) -> Option<String> {
        let record = json!({ name: value });
        let place = format!("/{}", escape(name));
        let is_of_field = |path: &str| {
            path.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut errors = self.validator.iter_errors(&record).filter(|error| {
            // `false` keeps clients from sending what the server sets.
            is_of_field(error.instance_path().as_str())
                && !matches!(error.kind(), ValidationErrorKind::FalseSchema)
        });
        errors.next().map(|error| cut(error.to_string()))
    }

    /// Turns an error of the validator into faults that repeat nothing of a sensitive field: those within one point at
    /// the field as a whole, since names of members may tell something too.
    fn faults_of(&self, error: &jsonschema::ValidationError<'_>) -> Vec<Fault> {
        if self.sensitive.is_empty() {
            return faults_of(error);
        }
        let place = error.instance_path().as_str();
        let top = place.get(1..).and_then(|rest| rest.split('/').next());
        match top {
            Some(top) if !self.sensitive.iter().any(|name| escape(name) == top) => faults_of(error),
            Some(top) => {
                let detail = "the schema does not allow this value".to_owned();
                vec![Fault { pointer: format!("/{top}"), detail }]
            }
            // About the whole record, of which the text would repeat all.
            None => match error.kind() {
                ValidationErrorKind::Required { .. }
                | ValidationErrorKind::AdditionalProperties { .. }
                | ValidationErrorKind::UnevaluatedProperties { .. } => faults_of(error),
                _ => vec![Fault { pointer: String::new(), detail: cut(error.masked().to_string()) }],
            },
        }
    }

    /// Names the fields that answers leave out unless they are asked for.
    pub(crate) fn sensitive_fields(&self) -> &[String] {
        &self.sensitive
    }
}

/// Tells the type that a schema gives; null beside it changes nothing.
fn kind_of_schema(schema: &Value) -> Option<Kind> {
    let of_type = |name: &Value| match name.as_str()? {
        "string" => Some(Kind::Text),
        "number" | "integer" => Some(Kind::Number),
        "boolean" => Some(Kind::Boolean),
        _ => None,
    };
    match schema.get("type") {
        Some(Value::Array(types)) => {
            let kinds: Vec<Kind> = types.iter().filter(|name| *name != "null").filter_map(of_type).collect();
            kinds.first().copied().filter(|first| kinds.iter().all(|kind| kind == first))
        }
        Some(name) => of_type(name),
        None => {
            let values = schema.get("enum").and_then(Value::as_array);
            schema.get("const").or_else(|| values?.first()).and_then(kind_of_value)
        }
    }
}

fn kind_of_value(value: &Value) -> Option<Kind> {
    match value {
        Value::String(_) => Some(Kind::Text),
        Value::Number(_) => Some(Kind::Number),
        Value::Bool(_) => Some(Kind::Boolean),
        _ => None,
    }
}

/// Turns one error of the validator into faults that point at the field itself, also at a missing one.
fn faults_of(error: &jsonschema::ValidationError<'_>) -> Vec<Fault> {
    let place = error.instance_path().as_str();
    let fault = |pointer: String, detail: String| Fault { pointer, detail };
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![fault(format!("{place}/{}", escape(name)), "this field is required".to_owned())]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| fault(format!("{place}/{}", escape(name)), "there is no such field".to_owned()))
            .collect(),
        _ => vec![fault(place.to_owned(), cut(error.to_string()))],
    }
}

/// Cuts a text off where a person would stop reading.
fn cut(mut detail: String) -> String {
    if let Some((end, _)) = detail.char_indices().nth(DETAIL_LIMIT) {
        detail.truncate(end);
        detail.push('…');
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn schema(service: &str, collection: &str) -> Schema {
        Schema::load(&Config::default().services[service].collections[collection]).unwrap()
    }

    fn pointers(schema: &Schema, data: Value) -> Vec<String> {
        let mut pointers: Vec<_> = schema.find_faults(&data).into_iter().map(|fault| fault.pointer).collect();
        pointers.sort();
        pointers
    }

    #[test]
    fn a_product_has_a_name_and_a_price_and_may_have_more() {
        let products = schema("catalog", "products");
        assert_eq!(pointers(&products, json!({"name": "Lamp", "price": 0, "watts": 5})), [""; 0]);
        assert_eq!(pointers(&products, json!({})), ["/name", "/price"]);
        assert_eq!(pointers(&products, json!({"name": 1, "price": -1})), ["/name", "/price"]);
        assert_eq!(pointers(&products, json!({"name": "a", "price": 1, "tags": ["x", 2]})), ["/tags/1"]);
        assert_eq!(pointers(&products, json!([])), [""]);
    }

    #[test]
    fn an_order_s_status_and_what_names_a_record_are_the_server_s() {
        let orders = schema("orders", "orders");
        assert_eq!(pointers(&orders, json!({"product_id": "p", "quantity": 1})), [""; 0]);
        let sent = json!({"product_id": "p", "quantity": 1, "status": "confirmed", "id": "x", "a/b": 1});
        assert_eq!(pointers(&orders, sent), ["/a~1b", "/id", "/status"]);
        assert_eq!(pointers(&orders, json!({"product_id": "p", "quantity": 0})), ["/quantity"]);
        assert_eq!(pointers(&orders, json!({"product_id": "p", "quantity": 1.5})), ["/quantity"]);
    }

    #[test]
    fn a_gateway_lets_pass_what_a_service_answered() {
        let sent_back = json!({"product_id": "p", "quantity": 1, "status": "pending", "id": "x",
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z"});
        let is_valid =
            |schema: &Schema, data: &Value| jsonschema::draft202012::is_valid(&schema.of_bodies(), data);
        let orders = schema("orders", "orders");
        assert!(is_valid(&orders, &sent_back));
        assert!(!is_valid(&orders, &json!({"product_id": "p", "quantity": 1, "price": 1})));
        let document = json!({"maxProperties": 1, "properties": {"status": false}});
        let mut settings = config::Collection::default();
        settings.server_fields.insert("status".to_owned(), json!("new"));
        let small = Schema::compile(document, &settings).unwrap();
        let record = json!({"a": 1, "status": "new", "id": "x", "created_at": "t", "updated_at": "t"});
        assert!(is_valid(&small, &record));
        assert!(!is_valid(&small, &json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6})));
    }

    #[test]
    fn the_type_of_a_field_is_the_schema_s_or_that_of_what_it_begins_as() {
        let document = json!({"properties": {
            "a": {"type": ["null", "integer", "number"]}, "b": {"properties": {"c": {"enum": ["x", "y"]}}},
            "d": {"type": ["string", "number"]}, "e": {"const": true}, "f": {"type": "array"},
        }});
        let schema = Schema::compile(document, &config::Collection::default()).unwrap();
        let kind = |schema: &Schema, name: &str| schema.kind_of(&Field::new(name).unwrap());
        let cases = [
            ("a", Some(Kind::Number)),
            ("b.c", Some(Kind::Text)),
            ("e", Some(Kind::Boolean)),
            ("id", Some(Kind::Text)),
            ("created_at", Some(Kind::Number)),
            ("b", None),
            ("d", None),
            ("f", None),
            ("a.b", None),
            ("z", None),
        ];
        for (name, expected) in cases {
            assert_eq!(kind(&schema, name), expected, "{name}");
        }
        assert_eq!(kind(&self::schema("orders", "orders"), "status"), Some(Kind::Text));
    }

    #[test]
    fn a_fault_quotes_no_more_than_a_line() {
        let products = schema("catalog", "products");
        let faults = products.find_faults(&json!({"name": "n".repeat(100_000), "price": 1}));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].detail.chars().count() <= DETAIL_LIMIT + 1);
    }
}
