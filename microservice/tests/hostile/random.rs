//! Requests put together at random from what such requests are made of.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::house::Engine;
use crate::wire::send;
use crate::{JSON, LOANS, MERGE, NDJSON, NOTES, PATCH, end, library};

/// How often each request is made of other parts, unless `SIXFOLD_HOSTILE_ROUNDS` says otherwise.
const ROUNDS: u32 = 150;

pub(crate) async fn random_requests_are_never_a_fault_of_the_server(engine: Engine) {
    let house = library(engine).await;
    let rounds = std::env::var("SIXFOLD_HOSTILE_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut runner = TestRunner::deterministic();
    let part = prop::sample::select(vec![
        "due",
        "title",
        "public",
        "updated_at",
        "id",
        "card",
        "place.shelf",
        "or",
        "and",
        "not",
        "order",
        "limit",
        "cursor",
        "fields",
        "count",
        "deleted",
        "=",
        "&",
        "(",
        ")",
        ",",
        ".",
        "eq",
        "neq",
        "gt",
        "lte",
        "in",
        "like",
        "is",
        "null",
        "true",
        "-",
        "*",
        "%22",
        "%00",
        "%ED%A0%80",
        "%F4%8F%BF%BF",
        "%",
        "+",
        "1",
        "1e308",
        "-0",
        "9999999999999999999",
        "exact",
        "2026-01-01T00:00:00Z",
    ]);
    let queries = prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,6}|\u{0}|[\u{d7ff}\u{e000}\u{10ffff}]{0,2}".prop_map(Value::from),
    ];
    let values = leaf.prop_recursive(4, 24, 4, |inner| {
        let name = "title|due|isbn|place|tags|id|op|path|from|value|operations|collection|data|\\PC{0,3}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4).prop_map(|members| json!(members)),
        ]
    });
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let mut sample = move || {
        let (query, value) = (queries.new_tree(&mut runner).unwrap(), values.new_tree(&mut runner).unwrap());
        (query.current(), value.current().to_string(), bytes.new_tree(&mut runner).unwrap().current())
    };
    for _ in 0..rounds {
        let (query, value, bytes) = sample();
        for target in [format!("{LOANS}?{query}"), format!("{NOTES}?{query}"), format!("{LOANS}/a?{query}")] {
            send(&house, "GET", &target, "", b"").await.is_well_said(&target);
        }
        for (method, path, fields) in [
            ("POST", LOANS, JSON),
            ("PUT", "/library/loans/b", JSON),
            ("PATCH", "/library/loans/a", MERGE),
            ("PATCH", "/library/loans/a", PATCH),
            ("POST", NOTES, JSON),
            ("POST", "/library/_batch", JSON),
            ("POST", NOTES, NDJSON),
        ] {
            send(&house, method, path, fields, value.as_bytes())
                .await
                .is_well_said(&format!("{method} {path} {value}"));
            send(&house, method, path, fields, &bytes)
                .await
                .is_well_said(&format!("{method} {path} {bytes:?}"));
        }
    }
    end(house).await;
}
