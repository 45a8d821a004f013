//! Reading a payload so that its faults can be named by JSON Pointer.

use process::problem::Fault;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads JSON as what is expected; a fault carries its JSON Pointer (RFC 6901).
pub(crate) fn read_payload<T: DeserializeOwned>(payload: Value) -> Result<T, Vec<Fault>> {
    if !payload.is_object() {
        return Err(fault_at("", "a JSON object is expected"));
    }
    serde_path_to_error::deserialize(payload).map_err(|error| {
        vec![Fault { pointer: process::json::pointer_of(error.path()), detail: error.inner().to_string() }]
    })
}

/// A fault at one member of a payload.
pub(crate) fn fault_at(pointer: &str, detail: impl Into<String>) -> Vec<Fault> {
    vec![Fault { pointer: pointer.to_owned(), detail: detail.into() }]
}

/// Says what is wrong with a payload in one line.
pub(super) fn describe(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_is_named_by_its_pointer() {
        let faults = read_payload::<BTreeMap<String, Vec<u8>>>(json!({"a/b": [1, "two"]})).unwrap_err();
        assert_eq!(faults[0].pointer, "/a~1b/1");
        assert!(describe(&faults).starts_with("/a~1b/1: "));
    }

    #[test]
    fn a_list_is_not_taken_for_the_members_in_their_order() {
        #[derive(Debug, serde::Deserialize)]
        struct Pair {
            _one: u8,
            _two: u8,
        }
        assert_eq!(read_payload::<Pair>(json!([1, 2])).unwrap_err()[0].detail, "a JSON object is expected");
    }
}
