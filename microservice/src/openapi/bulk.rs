//! Records by the line: the export and the import of a collection.

use serde_json::{Value, json};

use crate::collection::NDJSON;

/// Adds to a listing that it can be asked for as lines.
pub(super) fn add_export(listing: &mut Value) {
    listing["responses"]["200"]["content"][NDJSON] = json!({ "schema": {
        "type": "string",
        "description": "Every record that matches, one a line, for `Accept: application/x-ndjson`; `limit` does not count here, and `count` is told in the field `Sixfold-Count`.",
    } });
}

/// Adds to a creation that records are taken as lines, and what is told of them.
pub(super) fn add_import(creation: &mut Value) {
    creation["requestBody"]["content"][NDJSON] = json!({ "schema": {
        "type": "string",
        "description": "A record a line, under the line's `id` if it has one; what only the server sets is passed over.",
    } });
    creation["responses"]["200"] = json!({
        "description": "How the import goes, as it goes.",
        "content": { NDJSON: { "schema": {
            "type": "string",
            "description": "A line for each line that was refused, `{\"line\",\"problem\"}`, and one for each hundred \
                            that were dealt with, `{\"line\",\"imported\",\"refused\"}`, under an `Idempotency-Key` with `\"repeated\"`; the last has `\"done\":true`.",
        } } },
    });
}
