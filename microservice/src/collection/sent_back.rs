//! The fields of the server in what a client sends as a record: what it was answered it can send back.
//!
//! Nothing of it is stored. The times are passed over whatever they are, since they say how old the client's copy is. All else
//! must be as the record has it: who sends another owner or status means to change it, and is told that it cannot.

use database::find::field::{CREATED_AT, ID, UPDATED_AT};
use serde_json::{Map, Value};

use super::Collection;
use crate::json_patch::equals;

/// When a record was made and last changed, as every representation says.
pub(super) const TIMES: [&str; 2] = [CREATED_AT, UPDATED_AT];

/// Takes out of what a client sent what it may send back of a record under this name whose fields of the server are these; what is
/// left of them the schema refuses.
pub(super) fn take_out(
    collection: &Collection,
    id: &str,
    own: &Map<String, Value>,
    data: &mut Map<String, Value>,
) {
    data.retain(|name, sent| match name.as_str() {
        ID => *sent != *id,
        name if TIMES.contains(&name) => false,
        name if collection.schema.is_server_s(name) => !own.get(name).is_some_and(|own| equals(sent, own)),
        _ => true,
    });
}
