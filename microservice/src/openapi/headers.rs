//! The fields of requests that say on which condition, and how often, something is done.

use serde_json::{Value, json};

use super::patterns;
use crate::collection::Collection;

/// Describes the version a change is meant for. Where a record can be made as well, which has no version yet, it is
/// demanded of the other requests alone, and a schema has no word for that.
pub(super) fn if_match(collection: &Collection, may_create: bool) -> Value {
    let demanded = collection.settings.require_if_match;
    let required = demanded && !may_create;
    let without = match (demanded, may_create) {
        (true, false) => "; 428 `precondition-required` without it",
        (true, true) => "; 428 `precondition-required` without it, but with `If-None-Match: *`",
        (false, _) => "",
    };
    let meaning = format!(
        "The ETag of the record as it was read, several of them, or `*` for any: 412 `precondition-failed` when it has \
         another by now{without}."
    );
    let mut parameter = header("If-Match", &meaning, tags());
    if required {
        parameter["required"] = true.into();
    }
    parameter
}

/// Describes the version of a deleted record.
pub(super) fn if_restored() -> Value {
    let meaning = "The ETag of the deleted record, several of them, or `*` for any: 412 `precondition-failed` when it has \
                   another by now.";
    header("If-Match", meaning, tags())
}

/// Describes which versions a reader has.
pub(super) fn if_none_match() -> Value {
    let meaning =
        "The ETag of the record as the client has it, or several of them: 304 while it has one of those.";
    header("If-None-Match", meaning, tags())
}

/// Describes that a record is to be made and not replaced.
pub(super) fn if_absent() -> Value {
    let meaning = "`*` makes the record: 412 `precondition-failed` when there is one. With ETags one that has none of \
                   them is replaced.";
    header("If-None-Match", meaning, tags())
}

/// Describes the key under which a request happens once; `more` is said besides.
pub(super) fn idempotency_key(more: &str) -> Value {
    let meaning = format!(
        "What the client made up for this request, such as a UUID: the same request again within 24 hours is answered as \
         the first time, and does nothing. 409 `key-in-use` while the first is under way, 422 `key-reused` for another \
         request.{more}"
    );
    header("Idempotency-Key", &meaning, json!({ "type": "string", "pattern": patterns::KEY }))
}

/// Describes entity tags, or `*`. As one pattern Schemathesis, which knows the fields, makes values that do not fit it.
fn tags() -> Value {
    json!({ "anyOf": [{ "const": "*" }, { "type": "string", "pattern": patterns::TAGS }] })
}

fn header(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": schema })
}
