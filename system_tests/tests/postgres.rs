//! What was acknowledged stays, whatever is killed: our process, or the PostgreSQL server beneath it.
//!
//! `SIXFOLD_FAULT_RUNS` says how often each fault happens.

use std::sync::Arc;

use system_tests::postgres::Server;
use system_tests::promises::{Contents, Ledger, Told, Writers, judge};
use system_tests::{Database, wait_until};

/// How often a fault happens in `make test`.
const RUNS: usize = 3;

/// Writes that must be acknowledged between two faults.
const BETWEEN: usize = 100;

const WRITERS: usize = 8;

/// What the callers' transactions are named by.
const PREFIX: &str = "w";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_outlives_our_killed_process() {
    let server = Server::start();
    let bench = Bench::new(&server);
    let mut process = bench.database.start().await;
    let writers = bench.write();
    for _ in 0..runs() {
        bench.wait_for_more().await;
        // Dropped, the process is killed as `kill -9` does.
        drop(process);
        process = bench.database.spawn(&[]);
    }
    bench.wait_for_more().await;
    writers.stop().await;
    bench.check("kills").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_outlives_a_crashed_postgres() {
    let server = Server::start();
    let bench = Bench::new(&server);
    let _process = bench.database.start().await;
    let writers = bench.write();
    for _ in 0..runs() {
        bench.wait_for_more().await;
        server.crash();
        server.start_again();
    }
    bench.wait_for_more().await;
    writers.stop().await;
    bench.check("crashes").await;
}

fn runs() -> usize {
    std::env::var("SIXFOLD_FAULT_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number"))
}

/// A database role before a server, and what its callers were told.
struct Bench {
    database: Database,
    ledger: Arc<Ledger>,
}

impl Bench {
    fn new(server: &Server) -> Self {
        let database = Database::new(&format!("url = \"{}\"\n", server.url()));
        let ledger = Arc::new(Ledger::create(&database.folder().join("ledger")));
        Self { database, ledger }
    }

    fn write(&self) -> Writers {
        Writers::start(self.database.client(), &self.ledger, 0..WRITERS, PREFIX, || 0)
    }

    async fn wait_for_more(&self) {
        let before = self.ledger.acknowledged();
        wait_until("writes are acknowledged", || async { self.ledger.acknowledged() >= before + BETWEEN })
            .await;
    }

    /// Compares what is stored with what was told.
    async fn check(&self, faults: &str) {
        let told = self.ledger.entries(PREFIX);
        let unknown = told.values().filter(|entry| entry.told == Told::Unknown).count();
        println!("{} writes, {unknown} of them in doubt, {} {faults}", told.len(), runs());
        let contents = Contents::read(self.database.client(), PREFIX, 0).await.expect("it can be read");
        judge(&contents, &told, 0).assert_kept(faults);
    }
}
