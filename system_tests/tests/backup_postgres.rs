//! With the backup of a PostgreSQL server in mode `sync`, what was acknowledged can be restored though the server's machine
//! is gone: all its processes are killed at a random moment under writes, and its data folder is destroyed. What lies at
//! the destination is all that is left. Our own process is killed too, which must leave no receiver behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rustix::process::Signal;
use system_tests::postgres::{Server, folder_in_memory};
use system_tests::promises::{Contents, Ledger, Writers, judge};
use system_tests::{Database, wait_until};

/// The callers that write at the same time.
const WRITERS: usize = 8;

/// Writes that must be acknowledged before a server is lost.
const BEFORE: usize = 50;

/// How often the server is lost; more in `make soak`.
fn rounds() -> usize {
    std::env::var("SIXFOLD_SERVERS_LOST").map_or(2, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_mode_sync_every_acknowledged_write_outlives_the_server_and_its_data_folder() {
    let (server, destination) = (Server::start_in_memory(), folder_in_memory());
    // From the start: then even the schema's commits wait for the receiver, which must be there first.
    server.ask("ALTER SYSTEM SET synchronous_standby_names = 'sixfold'");
    server.ask("SELECT pg_reload_conf()");
    let database = Database::new(&format!(
        "url = \"{}\"\n[database.backup]\ndestination = \"file:{}\"\nmode = \"sync\"\n",
        server.url(),
        destination.path().display()
    ));
    let ledger = Arc::new(Ledger::create(&database.folder().join("ledger")));
    let mut process = database.start().await;
    for round in 1..=rounds() {
        let prefix = format!("s{round:04}-");
        let writers = Writers::start(database.client(), &ledger, 0..WRITERS, &prefix, || 0);
        wait_for_more(&ledger, BEFORE).await;
        process.signal(Signal::KILL);
        process.end().await;
        process = database.start().await;
        wait_for_more(&ledger, BEFORE).await;
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..500))).await;
        server.lose();
        writers.stop().await;
        let restore = |data: &Path| {
            let to = data.to_string_lossy();
            let said = database.run(&["database", "restore", "--at", "latest", "--to", &to]);
            assert!(said.contains("pg_ctl start -D"), "{said}");
        };
        server.start_again_restored(destination.path(), restore);
        database.wait_until_ready().await;
        let contents = Contents::read_restored(database.client(), "").await.expect("its contents");
        let verdict = judge(&contents, &ledger.entries(""), 0);
        verdict.assert_kept(&format!("round {round}"));
        println!("round {round}: {} acknowledged so far, {} there", ledger.acknowledged(), verdict.present);
    }
    let figures = database.admin().get("/metrics").await;
    let figures = String::from_utf8_lossy(&figures.body).into_owned();
    for line in
        ["sixfold_backup_reachable 1", "sixfold_backup_synchronous 1", "sixfold_backup_retained_bytes "]
    {
        assert!(figures.contains(line), "{line} is missing in {figures}");
    }
    process.signal(Signal::TERM);
    assert!(process.end().await.success());
    let verified = database.run(&["database", "backup", "verify", "--deep"]);
    assert!(verified.contains("all whole"), "{verified}");
}

async fn wait_for_more(ledger: &Ledger, more: usize) {
    let before = ledger.acknowledged();
    wait_until("writes are acknowledged", || async { ledger.acknowledged() >= before + more }).await;
}
