//! What was acknowledged can be restored though the machine is gone: the process is killed at random moments, and its data
//! folder destroyed. The ledger of what was acknowledged lies outside.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng;
use serde_json::json;
use system_tests::{Database, wait_until};
use tokio::task::JoinSet;

/// The callers that write at the same time.
const WRITERS: usize = 8;

/// How often the database is killed; more in `make soak`.
fn rounds() -> usize {
    std::env::var("SIXFOLD_BACKUP_KILLS").map_or(6, |text| text.parse().expect("a number"))
}

/// What was acknowledged: the record's name, and when.
type Ledger = Arc<Mutex<Vec<(String, Instant)>>>;

/// A database role with a backup.
struct Backed(Database);

impl Backed {
    fn new(mode: &str) -> Self {
        Self(Database::new(&format!(
            "checkpoint = \"256KiB\"\n\
             [database.backup]\ndestination = \"file:{{machine}}/destination\"\nmode = \"{mode}\"\n"
        )))
    }

    /// Writes from many callers until it is told to stop; what is acknowledged goes into the ledger.
    fn write(&self, round: usize, ledger: &Ledger, stop: &Arc<AtomicBool>) -> JoinSet<()> {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, ledger, stop) = (self.0.client().clone(), Arc::clone(ledger), Arc::clone(stop));
            writers.spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("{round}-{writer}-{number}");
                    let data = json!({"filler": "x".repeat(300)});
                    let put = json!({"op": "put", "collection": "things", "id": id, "data": data});
                    let body = json!({"namespace": "shop", "operations": [put]}).to_string();
                    let fields = [("content-type", "application/json")];
                    let reply = client.try_send("POST", "/v1/transact", &fields, body).await;
                    match reply.map(|reply| reply.status.as_u16()) {
                        Ok(200) => ledger.lock().expect("the ledger").push((id, Instant::now())),
                        Ok(400) => panic!("the request is not as the role wants it"),
                        // It is being killed, or just was.
                        _ => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            });
        }
        writers
    }

    /// Writes for a random time, then kills the process; gives the moment of the kill.
    async fn write_and_kill(&self, round: usize, ledger: &Ledger) -> Instant {
        let mut process = self.0.start().await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = self.write(round, ledger, &stop);
        let before = ledger.lock().expect("the ledger").len();
        wait_until("writes are acknowledged", || async { ledger.lock().expect("the ledger").len() > before })
            .await;
        let pause = rand::rng().random_range(50..800);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        process.signal(rustix::process::Signal::KILL);
        let killed = Instant::now();
        process.end().await;
        stop.store(true, Ordering::Relaxed);
        while let Some(writer) = writers.join_next().await {
            writer.expect("a writer ends");
        }
        killed
    }

    /// Gives which of the ledger's records are not there.
    async fn missing(&self, ledger: &Ledger) -> Vec<(String, Instant)> {
        let _process = self.0.start().await;
        let ledger = ledger.lock().expect("the ledger").clone();
        let mut missing = Vec::new();
        for (id, at) in ledger {
            let get = json!({"query": "get", "collection": "things", "id": id});
            let page = self.0.client().post("/v1/query?namespace=shop", &get).await;
            assert_eq!(page.status, 200, "{page:?}");
            if page.json()["records"].as_array().is_none_or(Vec::is_empty) {
                missing.push((id, at));
            }
        }
        missing
    }
}

fn destroy(data: &Path) {
    std::fs::remove_dir_all(data).expect("the data folder goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_sync_every_acknowledged_write_outlives_the_data_folder() {
    let database = Backed::new("sync");
    let ledger = Ledger::default();
    for round in 0..rounds() {
        database.write_and_kill(round, &ledger).await;
        // Sometimes the process comes back to its folder, and the chain goes on; the last time never.
        if round + 1 == rounds() || rand::rng().random_bool(0.5) {
            destroy(&database.0.data());
            database.0.run(&["database", "restore", "--at", "latest"]);
        }
    }
    let missing = database.missing(&ledger).await;
    let acknowledged = ledger.lock().expect("the ledger").len();
    println!("{} kills, {acknowledged} acknowledged, {} missing", rounds(), missing.len());
    assert!(
        missing.is_empty(),
        "{} of {acknowledged} are gone: {:?}",
        missing.len(),
        &missing[..missing.len().min(5)]
    );
    let verified = database.0.run(&["database", "backup", "verify", "--deep"]);
    assert!(verified.contains("all whole"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_async_a_lost_machine_loses_a_second_at_most() {
    let database = Backed::new("async");
    let mut longest = Duration::ZERO;
    for round in 0..rounds().div_ceil(2) {
        // Each round is judged alone: what one lost is not the next one's.
        let ledger = Ledger::default();
        let killed = database.write_and_kill(round, &ledger).await;
        destroy(&database.0.data());
        database.0.run(&["database", "restore", "--at", "latest"]);
        for (id, at) in database.missing(&ledger).await {
            let lost = killed.saturating_duration_since(at);
            assert!(
                lost <= Duration::from_secs(1),
                "{id} was acknowledged {lost:?} before the kill and is gone"
            );
            longest = longest.max(lost);
        }
    }
    println!("the oldest write that was lost had been acknowledged {longest:?} before the kill");
}
