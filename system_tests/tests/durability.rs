//! What was acknowledged stays, whatever is killed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
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
    // A service that never answers the first delivery: the worker dies in the middle of it.
    let deliveries = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&deliveries);
    let router = Router::new().fallback(move || {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if number == 0 {
                std::future::pending::<()>().await;
            }
            "delivered"
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    // What is appended to the config file begins within [worker]; a short lease, so that the job comes back soon.
    let extra = format!("lease = \"1s\"\n[services.slow]\ninstances = [\"{address}\"]\n");
    let mut house = House::start_with(Layout::Unfolded, &extra).await;
    let admin = house.administrator().await;
    let database = Client::new(format!("http://127.0.0.1:{}", house.ports.database));

    let job = json!({"kind": "http", "payload": {"service": "slow", "path": "/"}});
    let accepted = admin.post("/queues/default/jobs", &job).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let path = accepted.field("location").to_owned();
    let id = accepted.json()["id"].clone();
    wait_until("the first attempt is under way", || async { deliveries.load(Ordering::Relaxed) == 1 }).await;
    let first = database.post("/v1/jobs/get", &id).await.json();
    assert_eq!((&first["state"], &first["attempt"]), (&json!("leased"), &json!(1)), "{first}");
    house.kill("worker");
    house.start_role("worker");

    wait_until("another worker finishes the job", || async {
        admin.get(&path).await.json()["state"] == "succeeded"
    })
    .await;
    let done = admin.get(&path).await.json();
    assert_eq!(done["attempt"], 2, "{done}");
    let late = json!({"lease_token": first["lease_token"], "result": "late"});
    let refused = admin.post(&format!("{path}:ack"), &late).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "lease-lost"));
    assert_eq!(admin.get(&path).await.json()["result"], done["result"], "the late result changed nothing");
}
