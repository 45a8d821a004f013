//! Five gateways behind the balancer: sharing, dying, slowing down.

use std::time::Duration;

use rustix::process::Signal;
use system_tests::{Callers, Client, House, Layout, wait_until};

/// How many callers load the house at once.
const CALLERS: usize = 8;

/// Loads the house with GETs until stopped, and counts what came back.
fn load(client: &Client) -> Callers {
    let client = client.clone();
    Callers::start(CALLERS, move |_| {
        let client = client.clone();
        async move {
            match client.try_send("GET", "/catalog/products?limit=1", &[], "").await {
                Ok(reply) if reply.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }
    })
}

/// Gives how many requests each gateway was given, in the order of the configuration.
async fn requests_per_gateway(house: &House) -> Vec<u64> {
    let reply = house.admin().get("/v1/backends").await.json();
    let backends = reply["backends"].as_array().expect("backends").clone();
    let find = |port: u16| {
        let address = format!("127.0.0.1:{port}");
        let entry = backends.iter().find(|backend| backend["address"] == address.as_str());
        entry.expect("every gateway is listed")["requests"].as_u64().expect("a count")
    };
    house.ports.gateways.iter().map(|port| find(*port)).collect()
}

#[tokio::test]
async fn five_gateways_share_the_traffic() {
    let house = House::start(Layout::Folded).await;
    let load = load(&house.client());
    // A first slow answer of a gateway weighs on it for a second or two, so the share evens out with time.
    wait_until("every gateway gets its share", || async {
        let before = requests_per_gateway(&house).await;
        load.answer(1000).await;
        let after = requests_per_gateway(&house).await;
        // An even share is 200 of 1000; half of that still says that nobody starves.
        before.iter().zip(&after).all(|(before, after)| after - before >= 100)
    })
    .await;
    assert_eq!(load.finish().await, Vec::<String>::new());
    let backends = house.admin().get("/v1/backends").await.json();
    for key in [
        "address",
        "state",
        "in_flight",
        "ewma_ms",
        "p50_ms",
        "p90_ms",
        "p99_ms",
        "requests",
        "errors",
        "availability",
    ] {
        assert!(backends["backends"][0].get(key).is_some(), "{key} is missing in {backends}");
    }
}

#[tokio::test]
async fn a_gateway_killed_under_load_costs_no_idempotent_request_and_leaves_the_rotation() {
    let mut house = House::start(Layout::Unfolded).await;
    let load = load(&house.client());
    load.answer(500).await;
    house.kill("gateway 3");
    load.answer(1000).await;
    let admin = house.admin();
    let killed = format!("127.0.0.1:{}", house.ports.gateways[2]);
    let state = async || {
        let backends = admin.get("/v1/backends").await.json();
        let entries = backends["backends"].as_array().expect("backends").clone();
        let entry = entries.into_iter().find(|backend| backend["address"] == killed.as_str());
        entry.expect("it is still listed")["state"].clone()
    };
    wait_until("the killed gateway is out", || async { state().await == "down" }).await;
    house.start_role("gateway 3");
    wait_until("the new gateway is in", || async { state().await == "up" }).await;
    load.answer(500).await;
    assert_eq!(load.finish().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_slowed_gateway_gets_less_traffic() {
    let house = House::start(Layout::Unfolded).await;
    let load = load(&house.client());
    load.answer(500).await;
    let before = requests_per_gateway(&house).await;
    // Stopped for most of the time: every answer of gateway 1 takes tens of milliseconds.
    for _ in 0..40 {
        house.signal("gateway 1", Signal::STOP);
        tokio::time::sleep(Duration::from_millis(40)).await;
        house.signal("gateway 1", Signal::CONT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let after = requests_per_gateway(&house).await;
    assert_eq!(load.finish().await, Vec::<String>::new());
    let gained: Vec<u64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    let least_of_others = gained[1..].iter().min().expect("four others");
    assert!(gained[0] * 2 < *least_of_others, "{gained:?}");
}
