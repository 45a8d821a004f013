//! What was acknowledged stays, whatever is killed.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use system_tests::{Client, House, Layout, wait_until};
use tokio::task::JoinSet;

/// How often the database is killed.
const KILLS: usize = 5;

#[tokio::test]
async fn every_acknowledged_write_outlives_a_killed_database() {
    let mut house = House::start(Layout::Unfolded).await;
    let admin = house.administrator().await;
    // The ledger lies outside the system: what a client was told is there.
    let ledger = Arc::new(Mutex::new(Vec::<(String, Value)>::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (admin, ledger, stop) = (admin.clone(), Arc::clone(&ledger), Arc::clone(&stop));
        writers.spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let product = json!({"name": format!("writer {writer} number {number}"), "price": number});
                let fields = [("content-type", "application/json")];
                let reply = admin.try_send("POST", "/catalog/products", &fields, product.to_string()).await;
                if let Ok(reply) = reply
                    && reply.status == 201
                {
                    let path = reply.field("location").to_owned();
                    ledger.lock().expect("the ledger").push((path, product));
                }
            }
        });
    }
    for _ in 0..KILLS {
        let written = ledger.lock().expect("the ledger").len();
        wait_until("writes are acknowledged", || async {
            ledger.lock().expect("the ledger").len() >= written + 40
        })
        .await;
        house.kill("database");
        house.start_role("database");
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer ends");
    }
    let client = house.client();
    wait_until("the database answers again", || async {
        client.get("/catalog/products?limit=1").await.status == 200
    })
    .await;
    let ledger = std::mem::take(&mut *ledger.lock().expect("the ledger"));
    assert!(ledger.len() >= KILLS * 40);
    for (path, product) in ledger {
        let mut stored = client.get(&path).await;
        while stored.status == 503 {
            // A gateway whose circuit opened while the database was away gives it a few seconds more.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stored = client.get(&path).await;
        }
        assert_eq!(stored.status, 200, "{path} was acknowledged and is gone: {stored:?}");
        assert_eq!(stored.json()["name"], product["name"], "{path}");
    }
}

#[tokio::test]
async fn a_job_whose_worker_is_killed_runs_again_and_the_old_lease_is_refused() {
    // Two-second leases, so that the killed worker's job comes back soon.
    let mut house = House::start_with(Layout::Unfolded, "").await;
    let admin = house.administrator().await;
    let database = Client::new(format!("http://127.0.0.1:{}", house.ports.database));

    // A job for a queue the worker does not serve: this test is the worker that dies.
    let job = json!({"kind": "report", "payload": {"service": "catalog", "collection": "products", "group_by": "name"}});
    let accepted = admin.post("/queues/elsewhere/jobs", &job).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.json()["id"].as_str().expect("an id").to_owned();
    let claim = json!({"command": "claim", "queues": ["elsewhere"], "limit": 1, "lease_ms": 200});
    let first = database.post("/v1/jobs/command", &claim).await.json();
    assert_eq!(first[0]["id"], id.as_str(), "{first}");

    // The lease runs out unheard; the next claim begins a second attempt.
    let second = Arc::new(Mutex::new(Value::Null));
    wait_until("the job can be claimed again", || async {
        let claimed = database.post("/v1/jobs/command", &claim).await.json();
        let found = claimed[0]["id"] == id.as_str();
        if found {
            *second.lock().expect("the claim") = claimed;
        }
        found
    })
    .await;
    let second = second.lock().expect("the claim").clone();
    assert_eq!(second[0]["attempt"], 2, "{second}");
    assert!(second[0]["lease_token"].as_u64() > first[0]["lease_token"].as_u64(), "{second}");
    let late =
        json!({"command": "succeed", "id": id, "lease_token": first[0]["lease_token"], "result": "late"});
    let refused = database.post("/v1/jobs/command", &late).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]), (409, &json!("lease_lost")));

    // And with the real worker: killed in the middle of an attempt, another one finishes it.
    house.kill("worker");
    house.start_role("worker");
    let order = admin.post("/orders/orders", &json!({"product_id": "p", "quantity": 1})).await;
    assert_eq!(order.status, 201, "{order:?}");
    let path = order.field("location").to_owned();
    wait_until("the new worker confirms the order", || async {
        admin.get(&path).await.json()["status"] == "confirmed"
    })
    .await;
}
