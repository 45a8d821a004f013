//! A gateway tells balancers it trusts how busy it is.

use load_balancer::load::{LOAD_FIELD, parse_load};
use serde_json::json;

use super::House;

#[tokio::test]
async fn a_trusted_balancer_hears_of_the_load_and_nobody_else_does() {
    let house = House::start(json!({})).await;
    let probed = house.get("/health", &[]).await;
    let load = parse_load(probed.fields[LOAD_FIELD].as_bytes()).unwrap();
    assert_eq!((load.in_flight, load.latency_ns), (0, 0), "a probe is no load");
    let answered = house.get("/nowhere", &[]).await;
    assert!(parse_load(answered.fields[LOAD_FIELD].as_bytes()).is_some());
    let probed = house.get("/health", &[]).await;
    assert!(parse_load(probed.fields[LOAD_FIELD].as_bytes()).unwrap().latency_ns > 0);
    house.stop().await;
    let house = House::start(json!({"trusted_proxies": []})).await;
    assert!(!house.get("/health", &[]).await.fields.contains_key(LOAD_FIELD));
    house.stop().await;
}
