//! Request bodies checked against the JSON Schemas that services publish.
//!
//! The service checks again; the gateway only spares it what cannot pass. So whatever is not known here
//! passes through.

use std::collections::HashMap;

use http::{HeaderMap, Method};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use process::problem::{Fault, Problem, kinds};
use process::{coding, json};
use serde::Deserialize;
use serde_json::Value;

use crate::refusal::Refusal;

/// The most faults one answer lists.
const FAULT_LIMIT: usize = 20;

/// The longest text of one fault, in bytes; a fault quotes the value, which may be long.
const DETAIL_LIMIT: usize = 300;

/// The schemas of one service, by the path of the collection.
#[derive(Debug)]
pub(crate) struct Schemas(HashMap<String, Form>);

/// What the records of one collection are like.
#[derive(Debug)]
pub(crate) struct Form {
    validator: Validator,
    /// The fields of which no fault repeats anything, and which the service completes where a PUT leaves them out.
    sensitive: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    collections: HashMap<String, Collection>,
}

#[derive(Deserialize)]
struct Collection {
    schema: Value,
    #[serde(default)]
    sensitive: Vec<String>,
}

/// What a request's body must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check<'s> {
    /// A record that matches the schema.
    Record(&'s Form),
    /// The same, in the place of a record that the sender has not seen whole.
    Replacement(&'s Form),
    /// Any JSON object, since a merge patch (RFC 7396) is a part of a record.
    Object,
}

impl Schemas {
    /// Reads what a service publishes.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let compile = |(path, collection): (String, Collection)| {
            let validator = jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&collection.schema)
                .map_err(|error| format!("the schema of {path} is not valid: {error}"))?;
            Ok((path, Form { validator, sensitive: collection.sensitive }))
        };
        document.collections.into_iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Finds what a request's body must be; `None` when that is the service's business alone.
    ///
    /// A body in a coding cannot be read here, so where it would be checked it is refused.
    pub(crate) fn find_check(
        &self,
        method: &Method,
        path: &str,
        fields: &HeaderMap,
    ) -> Result<Option<Check<'_>>, Refusal> {
        let check = if is_json(fields) { self.find_by_target(method, path) } else { None };
        if check.is_some() && coding::is_coded(fields) {
            return Err(coding::refusal().into());
        }
        Ok(check)
    }

    fn find_by_target(&self, method: &Method, path: &str) -> Option<Check<'_>> {
        if *method == Method::POST {
            return self.0.get(path).map(Check::Record);
        }
        let (collection, id) = path.rsplit_once('/')?;
        let form = self.0.get(collection).filter(|_| !id.is_empty())?;
        match *method {
            Method::PUT => Some(Check::Replacement(form)),
            Method::PATCH => Some(Check::Object),
            _ => None,
        }
    }
}

/// Checks a body.
pub(crate) fn check_body(check: Check<'_>, body: &[u8]) -> Result<(), Refusal> {
    let value = json::parse(body, json::DEEPEST)?;
    let faults = match check {
        Check::Object if value.is_object() => return Ok(()),
        Check::Object => {
            vec![Fault { pointer: String::new(), detail: "a merge patch is a JSON object".to_owned() }]
        }
        // With what, only the service knows.
        Check::Replacement(form) if form.is_completed(&value) => return Ok(()),
        Check::Record(form) | Check::Replacement(form) if form.validator.is_valid(&value) => return Ok(()),
        Check::Record(form) | Check::Replacement(form) => form.find_faults(&value),
    };
    Err(Problem::new(kinds::INVALID_BODY).errors(faults).into())
}

impl Form {
    /// Tells whether the service adds to a record what it has of it, since its sender may not see that.
    fn is_completed(&self, sent: &Value) -> bool {
        sent.as_object().is_some_and(|sent| self.sensitive.iter().any(|name| !sent.contains_key(name)))
    }

    fn find_faults(&self, value: &Value) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for fault in self.validator.iter_errors(value).flat_map(|error| self.faults_of(&error)) {
            if faults.len() == FAULT_LIMIT {
                break;
            }
            // All that is wrong within a sensitive field is one fault.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        faults
    }

    /// Turns one error into faults that repeat nothing of a sensitive field, not even which of its members it is about.
    fn faults_of(&self, error: &ValidationError<'_>) -> Vec<Fault> {
        let place = error.instance_path().as_str();
        let top = place.get(1..).and_then(|rest| rest.split('/').next());
        match (top, error.kind()) {
            _ if self.sensitive.is_empty() => faults_of(error),
            (Some(top), _) if self.sensitive.iter().any(|name| json::escape(name) == top) => {
                let detail = "the schema does not allow this value".to_owned();
                vec![Fault { pointer: format!("/{top}"), detail }]
            }
            (Some(_), _)
            | (
                None,
                ValidationErrorKind::Required { .. }
                | ValidationErrorKind::AdditionalProperties { .. }
                | ValidationErrorKind::UnevaluatedProperties { .. },
            ) => faults_of(error),
            // About the whole record, of which the text would repeat all.
            (None, _) => vec![Fault { pointer: String::new(), detail: shorten(error.masked().to_string()) }],
        }
    }
}

/// Turns one error of the validator into faults that point at the field itself, also at a missing one.
///
/// The services say it in the same words, so that a client need not know who checked.
fn faults_of(error: &ValidationError<'_>) -> Vec<Fault> {
    let place = error.instance_path().as_str();
    let at = |name: &str, detail: &str| {
        // RFC 6901 §3.
        let name = name.replace('~', "~0").replace('/', "~1");
        Fault { pointer: format!("{place}/{name}"), detail: detail.to_owned() }
    };
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            vec![at(property.as_str().unwrap_or_default(), "this field is required")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().map(|name| at(name, "there is no such field")).collect()
        }
        _ => vec![Fault { pointer: place.to_owned(), detail: shorten(error.to_string()) }],
    }
}

/// Tells whether a body is JSON by its media type; without one it is taken to be.
fn is_json(fields: &HeaderMap) -> bool {
    let Some(media_type) = process::media_type(fields).map(str::to_ascii_lowercase) else { return true };
    // A JSON Patch (RFC 6902) is an array of operations, which no schema of a record describes.
    media_type == "application/json"
        || (media_type.ends_with("+json") && media_type != "application/json-patch+json")
}

fn shorten(mut text: String) -> String {
    if text.len() > DETAIL_LIMIT {
        let end = (0..=DETAIL_LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use http::header;
    use serde_json::json;

    use super::*;

    fn schemas() -> Schemas {
        let document = json!({"collections": {"/catalog/products": {"schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "price": {"type": "number", "minimum": 0}},
            "required": ["name", "price"],
        }, "more": "is passed over"}}});
        Schemas::parse(document.to_string().as_bytes()).unwrap()
    }

    fn check(method: Method, path: &str, body: &str) -> Result<(), Box<http::Response<bytes::Bytes>>> {
        let schemas = schemas();
        match schemas.find_check(&method, path, &HeaderMap::new()).unwrap() {
            None => Ok(()),
            Some(check) => {
                check_body(check, body.as_bytes()).map_err(|refusal| Box::new(refusal.to_response()))
            }
        }
    }

    #[test]
    fn each_fault_is_named_by_its_pointer() {
        let refused = check(Method::POST, "/catalog/products", r#"{"name": 1, "price": -1}"#).unwrap_err();
        assert_eq!(refused.status(), 422);
        let document: Value = serde_json::from_slice(refused.body()).unwrap();
        let mut pointers: Vec<&str> = document["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/name", "/price"]);
    }

    #[test]
    fn a_missing_and_an_unknown_field_are_pointed_at_as_the_service_does() {
        let schema = json!({
            "type": "object",
            "properties": {
                "product_id": {"type": "string"},
                "notes": {"type": "object", "additionalProperties": false, "required": ["a/b"]},
            },
            "required": ["product_id"],
            "additionalProperties": false,
        });
        let document = json!({"collections": {"/orders/orders": {"schema": schema}}}).to_string();
        let schemas = Schemas::parse(document.as_bytes()).unwrap();
        let check = schemas.find_check(&Method::POST, "/orders/orders", &HeaderMap::new()).unwrap().unwrap();
        let sent = json!({"status": "confirmed", "x~y": 1, "notes": {}}).to_string();
        let refused = check_body(check, sent.as_bytes()).unwrap_err().to_response();
        let document: Value = serde_json::from_slice(refused.body()).unwrap();
        let mut faults: Vec<(&str, &str)> = document["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| (fault["pointer"].as_str().unwrap(), fault["detail"].as_str().unwrap()))
            .collect();
        faults.sort_unstable();
        let (required, unknown) = ("this field is required", "there is no such field");
        let expected =
            [("/notes/a~1b", required), ("/product_id", required), ("/status", unknown), ("/x~0y", unknown)];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_checked_body_in_a_coding_is_an_unsupported_media_type() {
        let schemas = schemas();
        let find = |method, path, coding: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
            schemas.find_check(&method, path, &fields).map(|check| check.is_some())
        };
        for coding in ["gzip", "identity, br", "nonsense"] {
            for (method, path) in
                [(Method::POST, "/catalog/products"), (Method::PATCH, "/catalog/products/1")]
            {
                let refused = find(method, path, coding).unwrap_err().to_response();
                assert_eq!(refused.status(), 415, "{coding}");
                assert_eq!(refused.headers()["accept-encoding"], "identity");
            }
        }
        assert!(find(Method::POST, "/catalog/products", "Identity").unwrap());
        assert!(!find(Method::POST, "/catalog/others", "gzip").unwrap(), "not checked here");
        assert!(!find(Method::DELETE, "/catalog/products/1", "gzip").unwrap());
    }

    #[test]
    fn a_record_is_checked_whole_and_a_patch_only_for_being_an_object() {
        let good = r#"{"name": "tea", "price": 3}"#;
        assert!(check(Method::POST, "/catalog/products", good).is_ok());
        assert!(check(Method::PUT, "/catalog/products/1", good).is_ok());
        assert!(check(Method::PUT, "/catalog/products/1", "{}").is_err());
        assert!(check(Method::PATCH, "/catalog/products/1", "{}").is_ok());
        assert!(check(Method::PATCH, "/catalog/products/1", "[]").is_err());
        assert_eq!(check(Method::POST, "/catalog/products", "{").unwrap_err().status(), 400);
    }

    #[test]
    fn what_is_not_known_passes_through() {
        for (method, path) in [
            (Method::POST, "/catalog/products/1"),
            (Method::POST, "/catalog/others"),
            (Method::DELETE, "/catalog/products/1"),
            (Method::PUT, "/catalog/products/"),
            (Method::PUT, "/catalog/products/1/more"),
        ] {
            assert!(check(method.clone(), path, "nonsense").is_ok(), "{method} {path}");
        }
        let mut fields = HeaderMap::new();
        for media_type in ["text/csv", "application/json-patch+json"] {
            fields.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
            assert!(schemas().find_check(&Method::POST, "/catalog/products", &fields).unwrap().is_none());
        }
        fields.insert(header::CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        assert!(schemas().find_check(&Method::POST, "/catalog/products", &fields).unwrap().is_some());
    }

    #[test]
    fn of_a_sensitive_field_nothing_is_repeated_and_a_replacement_need_not_have_it() {
        let schema = json!({
            "properties": {
                "card": {"type": "object", "properties": {"pin": {"maximum": 9999}, "owner": {"type": "string"}}},
                "n": {"type": "number"},
            },
            "required": ["card", "n"],
            "maxProperties": 2,
        });
        let document = json!({"collections": {"/shop/cards": {"schema": schema, "sensitive": ["card"]}}});
        let schemas = Schemas::parse(document.to_string().as_bytes()).unwrap();
        let check = |method: Method, path: &str, body: &Value| {
            let check = schemas.find_check(&method, path, &HeaderMap::new()).unwrap().unwrap();
            check_body(check, body.to_string().as_bytes()).map_err(|refusal| Box::new(refusal.to_response()))
        };
        let (collection, record) = ("/shop/cards", "/shop/cards/1");
        for sent in [
            json!({"card": 4_242_424_242_u64, "n": 1}),
            json!({"card": {"pin": 4_242_424_242_u64, "owner": 42_424_242}, "n": 1}),
            json!({"card": {"pin": 1, "owner": "4242424242"}, "n": 1, "more": 1}),
        ] {
            for (method, path) in [(Method::POST, collection), (Method::PUT, record)] {
                let refused = check(method, path, &sent).unwrap_err();
                let text = String::from_utf8_lossy(refused.body()).into_owned();
                assert!(refused.status() == 422 && !text.contains("424242"), "{text}");
                let document: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(document["errors"].as_array().unwrap().len(), 1, "{text}");
            }
        }
        assert_eq!(check(Method::POST, collection, &json!({"n": 1})).unwrap_err().status(), 422);
        assert!(check(Method::PUT, record, &json!({"n": 1})).is_ok(), "the service has the card");
        let others = check(Method::POST, collection, &json!({"card": {}, "n": "text"})).unwrap_err();
        assert!(String::from_utf8_lossy(others.body()).contains("text"), "of other fields it is said");
    }

    #[test]
    fn a_long_value_is_not_quoted_whole() {
        let body = json!({"name": ["é".repeat(10_000)], "price": 1}).to_string();
        assert!(check(Method::POST, "/catalog/products", &body).unwrap_err().body().len() < 1000);
    }

    #[test]
    fn a_schema_that_is_not_one_is_refused() {
        assert!(Schemas::parse(br#"{"collections": {"/a": {"schema": {"type": "nonsense"}}}}"#).is_err());
    }
}
