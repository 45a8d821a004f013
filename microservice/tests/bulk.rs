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
    let large = import(&house, &format!("{}\n", "x".repeat(300_000))).await;
    assert_eq!(large[0]["problem"]["status"], 413);
    house.stop().await;
}
