//! JSON Merge Patch (RFC 7396).

use serde_json::{Map, Value};

/// Applies a patch to an object, as §2 says: null removes, an object merges, anything else replaces.
pub(crate) fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, change) in patch {
        match change {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(inner) => {
                let place = target.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                if let Value::Object(place) = place {
                    merge(place, inner);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn merged(target: Value, patch: Value) -> Value {
        let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else { panic!("objects") };
        merge(&mut target, patch);
        Value::Object(target)
    }

    #[test]
    fn the_samples_of_rfc_7396_appendix_a_hold() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
            (json!({"a":"foo"}), json!({"a":{"b":1}}), json!({"a":{"b":1}})),
        ];
        for (target, patch, expected) in cases {
            assert_eq!(merged(target.clone(), patch.clone()), expected, "{target} with {patch}");
        }
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from), "[a-c]".prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect()))
        });
        proptest::collection::btree_map("[a-d]", value, 0..4).prop_map(|e| e.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_patch_applied_twice_is_a_patch_applied_once(mut target in object(), patch in object()) {
            merge(&mut target, patch.clone());
            let once = target.clone();
            merge(&mut target, patch);
            prop_assert_eq!(target, once);
        }

        #[test]
        fn a_patch_changes_only_the_fields_it_names(target in object(), patch in object()) {
            let mut after = target.clone();
            merge(&mut after, patch.clone());
            for (name, value) in target.iter().filter(|(name, _)| !patch.contains_key(*name)) {
                prop_assert_eq!(after.get(name), Some(value));
            }
            for name in patch.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name) {
                prop_assert!(!after.contains_key(name));
            }
        }
    }
}
