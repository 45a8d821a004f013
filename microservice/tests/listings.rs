//! Listings at the edge: filters, orders, cursors and unique fields over a real database.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use house::{Answer, Engine, House};
use http::Method;
use microservice::Config;
use serde_json::{Value, json};

on_both_engines! {
    products_are_found_by_what_they_are_and_come_in_the_asked_order
    a_walk_by_price_sees_every_product_once_while_others_are_made
    a_cursor_is_good_for_its_question_with_every_instance_and_for_no_other
    what_cannot_be_asked_is_refused_with_what_and_where
    a_collection_that_scans_answers_filters_on_any_field
    a_unique_field_is_refused_a_second_time_and_named
}

const PRODUCTS: &str = "/catalog/products";
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

async fn catalog(engine: Engine, change: impl FnOnce(&mut Config)) -> House {
    let mut house = House::start(engine, change).await;
    house.start_service("catalog").await;
    house
}

async fn make(house: &House, products: &[Value]) {
    for product in products {
        assert_eq!(house.post("catalog", PRODUCTS, product).await.status, 201);
    }
}

/// Gives one field of each item.
fn column(answer: &Answer, name: &str) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"].as_array().unwrap().iter().map(|item| item[name].clone()).collect()
}

async fn lamps(engine: Engine) -> House {
    let house = catalog(engine, |_| {}).await;
    let lamp =
        |name: &str, price: f64, category: Value| json!({"name": name, "price": price, "category": category});
    let lamps = [
        lamp("Abel", 10.0, json!("desk")),
        lamp("abba", 30.0, json!("desk")),
        lamp("Zoë, big (new)", 20.0, json!("floor")),
        json!({"name": "Bo", "price": 20}),
    ];
    make(&house, &lamps).await;
    house
}

async fn products_are_found_by_what_they_are_and_come_in_the_asked_order(engine: Engine) {
    let house = lamps(engine).await;
    let cases = [
        ("price=gte.20&order=-price", json!(["abba", "Bo", "Zoë, big (new)"])),
        ("name=like.Ab*", json!(["Abel"])),
        ("category=is.null", json!(["Bo"])),
        ("or=(price.lt.15,category.eq.floor)&order=name", json!(["Abel", "Zoë, big (new)"])),
        ("category=eq.desk&order=-price", json!(["abba", "Abel"])),
        ("or=(name.eq.%22Zo%C3%AB,+big+(new)%22,name.eq.Bo)&order=-name", json!(["Zoë, big (new)", "Bo"])),
        ("price=in.(10,30)&order=price", json!(["Abel", "abba"])),
        ("category=not.eq.desk&price=eq.20.0&order=name", json!(["Bo", "Zoë, big (new)"])),
        ("price=gt.1000", json!([])),
    ];
    for (query, expected) in cases {
        let answer = house.get("catalog", &format!("{PRODUCTS}?{query}")).await;
        assert_eq!(json!(column(&answer, "name")), expected, "{query}");
    }
    let cut = house.get("catalog", &format!("{PRODUCTS}?fields=price,updated_at&order=price&limit=1")).await;
    let item = &cut.json()["items"][0];
    let names: Vec<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((names, &item["price"]), (vec!["id", "price", "updated_at"], &json!(10.0)));
    house.stop().await;
}

async fn a_walk_by_price_sees_every_product_once_while_others_are_made(engine: Engine) {
    let house = catalog(engine, |_| {}).await;
    let products: Vec<Value> = (0..9).map(|n| json!({"name": format!("p{n}"), "price": n % 3})).collect();
    make(&house, &products).await;
    let first = format!("{PRODUCTS}?price=gte.0&order=-price&limit=2&count=exact");
    let mut answer = house.get("catalog", &first).await;
    assert_eq!(answer.json()["count"], json!({"value": 9, "exact": true}));
    let mut seen = column(&answer, "name");
    while let Some(next) = answer.json()["next"].as_str() {
        let link = answer.field("link").to_owned();
        let path = link.trim_start_matches('<').trim_end_matches(">; rel=\"next\"");
        assert_eq!(path, format!("{first}&cursor={next}"));
        make(&house, &[json!({"name": "late", "price": 2}), json!({"name": "late", "price": 1})]).await;
        answer = house.get("catalog", path).await;
        seen.extend(column(&answer, "name"));
    }
    seen.retain(|name| name != "late");
    let mut sorted: Vec<_> = seen.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    sorted.sort();
    assert_eq!(sorted, (0..9).map(|n| format!("p{n}")).collect::<Vec<_>>());
    house.stop().await;
}

async fn a_cursor_is_good_for_its_question_with_every_instance_and_for_no_other(engine: Engine) {
    let mut house = lamps(engine).await;
    let page = house.get("catalog", &format!("{PRODUCTS}?order=price&limit=1")).await.json();
    let cursor = page["next"].as_str().unwrap();
    // Another instance of the service, which shares nothing with the first but the database.
    house.start_service("catalog").await;
    let ok =
        house.get("catalog", &format!("{PRODUCTS}?order=price&limit=5&fields=name&cursor={cursor}")).await;
    assert_eq!(column(&ok, "name").len(), 3);
    for query in ["order=-price", "order=price&price=gt.0", ""] {
        let refused = house.get("catalog", &format!("{PRODUCTS}?{query}&cursor={cursor}")).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "stale-cursor"), "{query}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("`cursor`"));
    }
    house.stop().await;
}

async fn what_cannot_be_asked_is_refused_with_what_and_where(engine: Engine) {
    let house = lamps(engine).await;
    let cases = [
        ("price=gte.ten", 400, "`price`"),
        ("colour=eq.red", 422, "`colour`"),
        ("order=stock", 422, "`stock`"),
        ("or=(price.eq.1", 400, "character"),
        ("limit=0", 400, "`limit`"),
        ("a'%20OR%201=eq.1", 400, "not the name of a field"),
    ];
    for (query, status, named) in cases {
        let refused = house.get("catalog", &format!("{PRODUCTS}?{query}")).await;
        assert_eq!(refused.status, status, "{query}: {refused:?}");
        refused.problem();
        assert!(refused.json()["detail"].as_str().unwrap().contains(named), "{refused:?}");
    }
    house.stop().await;
}

async fn a_collection_that_scans_answers_filters_on_any_field(engine: Engine) {
    let house = catalog(engine, |config| {
        let products = config.services.get_mut("catalog").unwrap().collections.get_mut("products").unwrap();
        products.scan = true;
    })
    .await;
    make(
        &house,
        &[json!({"name": "a", "price": 1, "colour": {"shade": "red"}}), json!({"name": "b", "price": 1})],
    )
    .await;
    let found = house.get("catalog", &format!("{PRODUCTS}?colour.shade=eq.red")).await;
    assert_eq!(column(&found, "name"), ["a"]);
    house.stop().await;
}

async fn a_unique_field_is_refused_a_second_time_and_named(engine: Engine) {
    let house = catalog(engine, |config| {
        let products = config.services.get_mut("catalog").unwrap().collections.get_mut("products").unwrap();
        // Without a schema nothing but the index bounds a text.
        products.schema = None;
        products.indexes = vec!["category:text".to_owned()];
        products.unique = vec!["name:text".to_owned()];
    })
    .await;
    let lamp = json!({"name": "Lamp", "price": 1});
    make(&house, std::slice::from_ref(&lamp)).await;
    let refused = house.post("catalog", PRODUCTS, &lamp).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "not-unique"), "{refused:?}");
    assert_eq!(refused.pointers(), ["/name"]);
    let other = house.post("catalog", PRODUCTS, &json!({"name": "Other", "price": 1})).await;
    let path = other.field("location").to_owned();
    let patched = house.send("catalog", Method::PATCH, &path, &[MERGE], r#"{"name": "Lamp"}"#).await;
    assert_eq!(patched.problem(), "not-unique");
    assert_eq!(house.get("catalog", &path).await.json()["name"], "Other");
    let long = json!({ "category": "ä".repeat(600) }).to_string();
    let patched = house.send("catalog", Method::PATCH, &path, &[MERGE], &long).await;
    assert_eq!(
        (patched.status.as_u16(), patched.pointers()),
        (422, vec!["/category".to_owned()]),
        "{patched:?}"
    );
    house.stop().await;
}
