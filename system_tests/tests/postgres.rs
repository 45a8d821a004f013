//! What was acknowledged stays, whatever is killed: our process, or the PostgreSQL server beneath it.
//!
//! The ledger is here, outside both. Each write is a transaction of two records and a job, so that half of
//! one would show. `SIXFOLD_FAULT_RUNS` says how often each fault happens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use system_tests::postgres::Server;
use system_tests::{Client, Process, free_port, wait_until};
use tokio::task::JoinSet;

/// How often a fault happens in `make test`.
const RUNS: usize = 3;

/// Writes that must be acknowledged between two faults.
const BETWEEN: usize = 100;

const WRITERS: usize = 8;

/// What became of each write that was asked for, by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Done,
    NotDone,
    /// No answer, or one that leaves it open.
    Unknown,
}

type Ledger = Arc<Mutex<BTreeMap<String, Told>>>;

#[tokio::test]
async fn every_acknowledged_write_outlives_our_killed_process() {
    let server = Server::start();
    let mut bench = Bench::start(&server);
    bench.wait_until_it_answers().await;
    let writing = bench.write();
    for _ in 0..runs() {
        writing.wait_for_more().await;
        bench.kill_and_start_again();
    }
    writing.wait_for_more().await;
    let ledger = writing.stop().await;
    bench.check(&ledger).await;
}

#[tokio::test]
async fn every_acknowledged_write_outlives_a_crashed_postgres() {
    let server = Server::start();
    let bench = Bench::start(&server);
    bench.wait_until_it_answers().await;
    let writing = bench.write();
    for _ in 0..runs() {
        writing.wait_for_more().await;
        server.crash();
        server.start_again();
    }
    writing.wait_for_more().await;
    let ledger = writing.stop().await;
    let unknown = ledger.values().filter(|told| **told == Told::Unknown).count();
    println!("{} writes, {unknown} of them in doubt, {} crashes", ledger.len(), runs());
    bench.check(&ledger).await;
}

fn runs() -> usize {
    std::env::var("SIXFOLD_FAULT_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

/// A database role before a server.
struct Bench {
    process: Option<Process>,
    client: Client,
    folder: tempfile::TempDir,
}

impl Bench {
    fn start(server: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (port, url, data) = (free_port(), server.url(), folder.path().join("data"));
        let config = format!(
            "[process]\ndata = \"{}\"\nadmin = \"127.0.0.1:{}\"\n\
             [database]\nlisten = \"127.0.0.1:{port}\"\nurl = \"{url}\"\n",
            data.display(),
            free_port(),
        );
        std::fs::write(folder.path().join("sixfold.toml"), config).expect("the config file");
        let process = Some(spawn(folder.path()));
        Self { process, client: Client::new(format!("http://127.0.0.1:{port}")), folder }
    }

    fn kill_and_start_again(&mut self) {
        // Dropped, the process is killed as `kill -9` does.
        self.process = None;
        self.process = Some(spawn(self.folder.path()));
    }

    async fn wait_until_it_answers(&self) {
        wait_until("the database role answers", || async {
            let reply = self.client.try_send("GET", "/health", &[], "").await;
            matches!(reply, Ok(reply) if reply.status == 200)
        })
        .await;
    }

    fn write(&self) -> Writing {
        let (ledger, stop) = (Ledger::default(), Arc::new(AtomicBool::new(false)));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, ledger, stop) = (self.client.clone(), Arc::clone(&ledger), Arc::clone(&stop));
            writers.spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("{writer}-{number}");
                    let told = write(&client, &name).await;
                    ledger.lock().expect("the ledger").insert(name, told);
                    if told != Told::Done {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                }
            });
        }
        Writing { ledger, stop, writers }
    }

    /// Compares what is stored with what was told.
    async fn check(&self, ledger: &BTreeMap<String, Told>) {
        let stored = self.list("one").await;
        let others = self.list("two").await;
        let jobs = self.jobs().await;
        assert_eq!(
            stored.keys().collect::<Vec<_>>(),
            others.keys().collect::<Vec<_>>(),
            "no half of a transaction"
        );
        assert_eq!(stored.len(), jobs, "a job for each");
        for (name, told) in ledger {
            match told {
                Told::Done => assert!(stored.contains_key(name), "{name} was acknowledged and is gone"),
                Told::NotDone => assert!(!stored.contains_key(name), "{name} was refused and is there"),
                Told::Unknown => {}
            }
        }
        self.check_changes(stored.len() * 2).await;
    }

    /// The log holds each change once, without a gap.
    async fn check_changes(&self, expected: usize) {
        let mut after = 0;
        loop {
            let reply = self.client.get(&format!("/v1/changes?after={after}&limit=1000")).await;
            let changes = reply.json().as_array().cloned().expect("changes");
            if changes.is_empty() {
                break;
            }
            for change in changes {
                after += 1;
                assert_eq!(change["sequence"], after, "{change}");
            }
        }
        assert_eq!(after as usize, expected);
    }

    async fn list(&self, collection: &str) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        let mut after = Value::Null;
        loop {
            let query = json!({"query": "list", "collection": collection, "after": after, "limit": 1000});
            let page = self.client.post("/v1/query?namespace=shop", &query).await.json();
            for record in page["records"].as_array().expect("records") {
                found.insert(record["id"].as_str().expect("a name").to_owned(), record["data"].clone());
            }
            after = page["next"].clone();
            if after.is_null() {
                return found;
            }
        }
    }

    async fn jobs(&self) -> usize {
        let queues = self.client.post("/v1/queues", &Value::Null).await.json();
        queues[0]["ready"].as_u64().unwrap_or(0) as usize
    }
}

fn spawn(folder: &Path) -> Process {
    let config = folder.join("sixfold.toml").display().to_string();
    Process::start(folder, "database", &["database", "--config", &config])
}

/// Writes two records and a job in one transaction.
async fn write(client: &Client, name: &str) -> Told {
    let put = |collection| json!({"op": "put", "collection": collection, "id": name, "data": {"name": name}});
    let job = json!({"op": "enqueue", "job": {"queue": "mail", "kind": "send"}});
    let body = json!({"namespace": "shop", "operations": [put("one"), put("two"), job]}).to_string();
    match client.try_send("POST", "/v1/transact", &[("content-type", "application/json")], body).await {
        Ok(reply) if reply.status == 200 => Told::Done,
        Ok(reply) if reply.status == 503 => Told::NotDone,
        Ok(reply) => {
            assert_eq!(reply.json()["error"], "unknown", "{reply:?}");
            Told::Unknown
        }
        Err(error) if error.is_safe_to_repeat() => Told::NotDone,
        Err(_) => Told::Unknown,
    }
}

/// Writers under way.
struct Writing {
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    writers: JoinSet<()>,
}

impl Writing {
    fn acknowledged(&self) -> usize {
        self.ledger.lock().expect("the ledger").values().filter(|told| **told == Told::Done).count()
    }

    async fn wait_for_more(&self) {
        let before = self.acknowledged();
        wait_until("writes are acknowledged", || async { self.acknowledged() >= before + BETWEEN }).await;
    }

    async fn stop(mut self) -> BTreeMap<String, Told> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("a writer ends");
        }
        std::mem::take(&mut *self.ledger.lock().expect("the ledger"))
    }
}
