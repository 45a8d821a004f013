//! The examples of RFC 6902, appendix A, and what it says must be refused.

use serde_json::json;

use super::*;

const LIMIT: u64 = 1 << 16;

fn patched(document: Value, patch: Value) -> Result<Value, String> {
    let patch = JsonPatch::read(&patch).map_err(|fault| fault.pointer)?;
    patch.apply(&document, LIMIT).map_err(|unfit| match unfit {
        Unfit::TestFailed(fault) => format!("test {}", fault.pointer),
        Unfit::Misplaced(fault) => fault.pointer,
        Unfit::TooLarge => "large".to_owned(),
        Unfit::TooDeep(fault) => format!("deep {}", fault.pointer),
    })
}

#[test]
fn the_examples_of_rfc_6902_appendix_a_hold() {
    let at = |place: &str| Err(place.to_owned());
    let cases = [
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            Ok(json!({"baz": "qux", "foo": "bar"})),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            Ok(json!({"foo": ["bar", "qux", "baz"]})),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "remove", "path": "/baz"}]),
            Ok(json!({"foo": "bar"})),
        ),
        (
            json!({"foo": ["bar", "qux", "baz"]}),
            json!([{"op": "remove", "path": "/foo/1"}]),
            Ok(json!({"foo": ["bar", "baz"]})),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
            Ok(json!({"baz": "boo", "foo": "bar"})),
        ),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            Ok(json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}})),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            Ok(json!({"foo": ["all", "cows", "eat", "grass"]})),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]),
            Ok(json!({"baz": "qux", "foo": ["a", 2, "c"]})),
        ),
        (json!({"baz": "qux"}), json!([{"op": "test", "path": "/baz", "value": "bar"}]), at("test /0")),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
            Ok(json!({"foo": "bar", "child": {"grandchild": {}}})),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]),
            Ok(json!({"foo": "bar", "baz": "qux"})),
        ),
        (json!({"foo": "bar"}), json!([{"op": "add", "path": "/baz/bat", "value": "qux"}]), at("/0")),
        (
            json!({"/": 9, "~1": 10}),
            json!([{"op": "test", "path": "/~01", "value": 10}]),
            Ok(json!({"/": 9, "~1": 10})),
        ),
        (json!({"/": 9, "~1": 10}), json!([{"op": "test", "path": "/~01", "value": "10"}]), at("test /0")),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
            Ok(json!({"foo": ["bar", ["abc", "def"]]})),
        ),
    ];
    for (document, patch, expected) in cases {
        assert_eq!(patched(document.clone(), patch.clone()), expected, "{document} with {patch}");
    }
}

#[test]
fn what_is_no_patch_is_refused_where_it_is_wrong() {
    let ok = json!({"op": "test", "path": "", "value": {"a": [1]}});
    let cases = [
        (json!({}), ""),
        (json!([ok, {"op": "sing", "path": "/a"}]), "/1"),
        (json!([ok, {"op": "add", "path": "/a"}]), "/1"),
        (json!([{"op": "remove", "path": "a"}]), "/0"),
        (json!([{"op": "remove", "path": "/a~2"}]), "/0"),
        (json!([1]), "/0"),
        (json!([ok, {"op": "remove", "path": "/b"}]), "/1"),
        (json!([{"op": "remove", "path": ""}]), "/0"),
        (json!([{"op": "replace", "path": "/a/1", "value": 1}]), "/0"),
        (json!([{"op": "add", "path": "/a/2", "value": 1}]), "/0"),
        (json!([{"op": "add", "path": "/a/00", "value": 1}]), "/0"),
        (json!([{"op": "add", "path": "/a/+1", "value": 1}]), "/0"),
        (json!([{"op": "add", "path": "/a/0/x", "value": 1}]), "/0"),
        (json!([{"op": "move", "from": "/a", "path": "/a/0"}]), "/0"),
        (json!([{"op": "move", "from": "/b", "path": "/c"}]), "/0"),
        (json!([{"op": "copy", "from": "/b", "path": "/c"}]), "/0"),
    ];
    for (patch, place) in cases {
        assert_eq!(patched(json!({"a": [1]}), patch.clone()), Err(place.to_owned()), "{patch}");
    }
    assert!(JsonPatch::read(&Value::Array(vec![ok; OPERATION_LIMIT + 1])).is_err());
}

#[test]
fn an_operation_that_has_a_member_twice_is_refused() {
    let place = |text: &str| find_repeated(text.as_bytes()).map(|fault| fault.pointer);
    // A.13.
    let patch = r#"[{ "op": "add", "path": "/baz", "value": "qux", "op": "remove" }]"#;
    assert_eq!(place(patch).as_deref(), Some("/0"));
    let escaped = r#"[{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/b", "\u0070ath": "/c"}]"#;
    assert_eq!(place(escaped).as_deref(), Some("/1"));
    let within = r#"[{"op": "add", "path": "/a", "value": {"op": 1, "path": 2}}]"#;
    for text in [within, "[]", "[1]", "{}", "1"] {
        assert_eq!(place(text), None, "{text}");
    }
}

#[test]
fn numbers_are_tested_by_value() {
    let test = |one: Value, other: Value| {
        patched(json!({ "n": one }), json!([{"op": "test", "path": "/n", "value": other}])).is_ok()
    };
    assert!(test(json!(1), json!(1.0)) && test(json!([{"a": 2.0}]), json!([{"a": 2}])));
    assert!(!test(json!(1), json!(2)) && !test(json!(1), json!("1")));
    assert!(test(json!(u64::MAX), json!(u64::MAX)) && test(json!(0), json!(-0.0)));
    let large = 9_007_199_254_740_993_i64;
    assert!(!test(json!(large), json!(large - 1)) && !test(json!(large), json!((large - 1) as f64)));
    assert!(!test(json!(u64::MAX), json!(u64::MAX - 1)) && !test(json!(u64::MAX), json!(u64::MAX as f64)));
}

#[test]
fn a_short_patch_cannot_grow_without_end() {
    let copies: Vec<Value> =
        (0..60).map(|n| json!({"op": "copy", "from": "", "path": format!("/x{n}")})).collect();
    assert_eq!(patched(json!({"a": "0123456789"}), Value::Array(copies)), Err("large".to_owned()));
}

#[test]
fn a_short_patch_cannot_nest_deeper_than_a_record_may_be() {
    let copies = |number| vec![json!({"op": "copy", "from": "/a", "path": "/a/a"}); number];
    let document = json!({"a": {}});
    assert!(patched(document.clone(), copies(98).into()).is_ok());
    for number in [99, 100, 900] {
        assert_eq!(patched(document.clone(), copies(number).into()), Err("deep /98".to_owned()));
    }
    // A thousand operations can each put what is there a hundred levels deeper.
    let deep = (0..97).fold(json!({}), |inner, _| json!({ "b": inner }));
    let path = format!("/c{}", "/b".repeat(99));
    for (operation, pointer) in [
        (json!({"op": "add", "path": path, "value": {"d": 1}}), "/1"),
        (json!({"op": "replace", "path": format!("/c{}", "/b".repeat(97)), "value": [[[1]]]}), "/1"),
        (json!({"op": "move", "from": "/a", "path": path}), "/1"),
    ] {
        let patch = json!([{"op": "add", "path": "/c", "value": {"b": deep}}, operation]);
        assert_eq!(patched(document.clone(), patch), Err(format!("deep {pointer}")), "{operation}");
    }
}

#[test]
fn a_patch_that_does_not_apply_changes_nothing() {
    let document = json!({"a": 1});
    let patch = json!([{"op": "add", "path": "/b", "value": 2}, {"op": "remove", "path": "/c"}]);
    assert_eq!(patched(document.clone(), patch), Err("/1".to_owned()));
    assert_eq!(document, json!({"a": 1}));
}
