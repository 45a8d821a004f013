//! Records by the line: export and import.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use house::{Answer, Engine, House};
use http::Method;
use serde_json::{Value, json};

on_both_engines! {
    what_is_imported_is_exported_in_the_asked_order_and_goes_back_in
    a_line_that_is_refused_is_told_and_the_others_are_imported
    a_line_that_is_too_long_is_told_and_the_import_goes_on
    an_import_under_a_key_repeats_nothing_and_goes_on_where_it_was_cut
}

const PRODUCTS: &str = "/catalog/products";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

async fn catalog(engine: Engine) -> House {
    let mut house = House::start(engine, |config| {
        let products = config.services.get_mut("catalog").unwrap().collections.get_mut("products").unwrap();
        products.unique = vec!["name".to_owned()];
    })
    .await;
    house.start_service("catalog").await;
    house
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(
        (answer.status.as_u16(), answer.field("content-type")),
        (200, "application/x-ndjson"),
        "{answer:?}"
    );
    let text = std::str::from_utf8(&answer.text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn import(house: &House, body: &str) -> Vec<Value> {
    lines(&house.send("catalog", Method::POST, PRODUCTS, &[NDJSON], body).await)
}

async fn export(house: &House, query: &str) -> Answer {
    let accept = [("accept", "application/x-ndjson")];
    house.send("catalog", Method::GET, &format!("{PRODUCTS}?{query}"), &accept, "").await
}

async fn what_is_imported_is_exported_in_the_asked_order_and_goes_back_in(engine: Engine) {
    let house = catalog(engine).await;
    let records =
        (0..450).map(|n| json!({"id": format!("r{n}"), "name": format!("n{n}"), "price": 1000 - n}));
    let body: Vec<String> = records.map(|record| record.to_string()).collect();
    let told = import(&house, &(body.join("\n") + "\n\n")).await;
    let last = json!({"line": 451, "imported": 450, "refused": 0, "done": true});
    assert_eq!(told.last(), Some(&last));
    assert_eq!(told.len(), 5, "progress is told after each hundred");
    let exported = export(&house, "order=price").await;
    let found = lines(&exported);
    assert_eq!((found.len(), &found[0]["id"], &found[449]["id"]), (450, &json!("r449"), &json!("r0")));
    let counted = export(&house, "price=lt.560&fields=name&count=exact").await;
    assert_eq!((lines(&counted).len(), counted.field("sixfold-count")), (9, "9"));
    assert_eq!(exported.field("sixfold-count"), "");
    let other = catalog(engine).await;
    let text = std::str::from_utf8(&exported.text).unwrap();
    assert_eq!(import(&other, text).await.last().unwrap()["imported"], 450);
    other.stop().await;
    house.stop().await;
}

async fn a_line_that_is_refused_is_told_and_the_others_are_imported(engine: Engine) {
    let house = catalog(engine).await;
    let body = [
        r#"{"name": "a", "price": 1}"#,
        "{",
        r#"{"name": "b"}"#,
        r#"{"name": "a", "price": 2}"#,
        r#"{"id": "c/d", "name": "c", "price": 1}"#,
        r#"{"id": "d", "name": "d", "price": 1}"#,
        r#"{"id": "d", "name": "e", "price": 1}"#,
        "[]",
    ];
    let told = import(&house, &body.join("\n")).await;
    let mut refused: Vec<(u64, u64)> = told
        .iter()
        .filter(|line| line["problem"].is_object())
        .map(|line| (line["line"].as_u64().unwrap(), line["problem"]["status"].as_u64().unwrap()))
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, [(2, 400), (3, 422), (4, 409), (5, 422), (7, 409), (8, 422)]);
    assert_eq!(told.last().unwrap(), &json!({"line": 8, "imported": 2, "refused": 6, "done": true}));
    assert_eq!(lines(&export(&house, "").await).len(), 2);
    let refused = export(&house, "colour=eq.red").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "not-indexed"));
    house.stop().await;
}

async fn a_line_that_is_too_long_is_told_and_the_import_goes_on(engine: Engine) {
    let house = catalog(engine).await;
    let record = |name: &str| json!({"name": name, "price": 1}).to_string();
    for (round, length) in [300_000, 3_000_000].into_iter().enumerate() {
        let long = format!("{{\"name\": \"{}\"}}", "x".repeat(length));
        let body =
            [record(&format!("a{round}")), long.clone(), record(&format!("b{round}")), long].join("\n");
        let told = import(&house, &body).await;
        let refused: Vec<_> = told
            .iter()
            .filter(|line| line["problem"].is_object())
            .map(|line| (line["line"].clone(), line["problem"]["status"].clone()))
            .collect();
        assert_eq!(refused, [(json!(2), json!(413)), (json!(4), json!(413))]);
        assert_eq!(told.last().unwrap(), &json!({"line": 4, "imported": 2, "refused": 2, "done": true}));
    }
    house.stop().await;
}

async fn an_import_under_a_key_repeats_nothing_and_goes_on_where_it_was_cut(engine: Engine) {
    let house = catalog(engine).await;
    let record = |n: usize| json!({"name": format!("n{n}"), "price": n}).to_string();
    let send = async |key: &str, body: &str| {
        let fields = [NDJSON, ("idempotency-key", key)];
        lines(&house.send("catalog", Method::POST, PRODUCTS, &fields, body).await)
    };
    let lines_of = |range: std::ops::Range<usize>| range.map(record).collect::<Vec<_>>().join("\n");
    let end = |told: &[Value]| told.last().unwrap().clone();
    let cut = send("k", &lines_of(0..150)).await;
    assert_eq!(end(&cut), json!({"line": 150, "imported": 150, "repeated": 0, "refused": 0, "done": true}));
    for (imported, repeated) in [(100, 150), (0, 250)] {
        let told = send("k", &lines_of(0..250)).await;
        let expected = json!({
            "line": 250, "imported": imported, "repeated": repeated, "refused": 0, "done": true
        });
        assert_eq!(end(&told), expected);
    }
    // Another line under its number is no repetition; one that was refused can be mended.
    let other = send("k", &record(900)).await;
    assert_eq!((&other[0]["line"], &other[0]["problem"]["status"]), (&json!(1), &json!(422)));
    assert!(other[0]["problem"]["type"].as_str().unwrap().ends_with("key-reused"), "{other:?}");
    let body = |second: String| [record(300), second, record(301)].join("\n");
    assert_eq!(end(&send("l", &body("{}".to_owned())).await)["imported"], 2);
    let mended = send("l", &body(record(302))).await;
    assert_eq!(end(&mended), json!({"line": 3, "imported": 1, "repeated": 2, "refused": 0, "done": true}));
    assert_eq!(lines(&export(&house, "").await).len(), 250 + 3);
    let fields = [NDJSON, ("idempotency-key", "")];
    let refused = house.send("catalog", Method::POST, PRODUCTS, &fields, &record(1)).await;
    assert_eq!(refused.status, 400, "an empty key is none");
    house.stop().await;
}
