//! A restored server never gives out again what was given out before.

use std::path::Path;
use std::time::Duration;

use database::backup::Mode;
use database::backup::postgres::Target;
use database::{Config, Database, Engine, Error, Job, JobCommand, NewJob, Operation, Query, Transaction};
use serde_json::json;
use system_tests::postgres::{Server, folder_in_memory};

use crate::harness::{Bench, all_received, put};

async fn claim(engine: &Engine) -> Job {
    let claim =
        JobCommand::Claim { queues: vec!["mail".into()], limit: 1, lease_ms: 60_000, wait_ms: 20_000 };
    engine.command(&claim).await.unwrap().remove(0)
}

async fn latest(engine: &Engine) -> u64 {
    engine.query("shop", &Query::Latest).await.unwrap().sequence.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_repeats_no_version_and_no_token_and_followers_list_again() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(Mode::Async)).await;
    let operations = vec![Operation::Enqueue { job: NewJob::new("mail", "send", json!({})) }];
    engine.transact(Transaction { namespace: "shop".into(), operations }).await.unwrap();
    put(&engine, 1, 1).await.unwrap();
    all_received(&bench, &engine).await;
    let place = bench.server.ask("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    // What happens from here on is lost, and was seen.
    let lost_lease = claim(&engine).await;
    put(&engine, 1, 2).await.unwrap();
    let lost = latest(&engine).await;
    all_received(&bench, &engine).await;
    engine.close();

    let folder = folder_in_memory();
    let to = folder.path().join("restored");
    bench.recovery().restore(Target::Lsn(place), &to, |_| (), &|_| ()).await.unwrap();
    let server = Server::start_restored(bench.destination.path(), |data| {
        let moved = std::process::Command::new("mv").arg(&to).arg(data).status().unwrap();
        assert!(moved.success());
    });
    let config = Config { url: server.url().parse().unwrap(), ..Config::default() };
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    // Without a word from anybody, and at the latest with the first write.
    let began = std::time::Instant::now();
    let from = loop {
        assert!(began.elapsed() < Duration::from_secs(20), "versions do not go on past {lost}");
        match latest(&engine).await {
            from if from > lost => break from,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let database = Database::Local(engine.clone());
    let followed = database.changes(Some("shop"), lost, 10, Duration::ZERO).await;
    assert_eq!(followed, Err(Error::ChangesGone { from }));
    put(&engine, 1, 3).await.unwrap();
    assert_eq!(latest(&engine).await, from + 1, "it goes on from there, once");
    let lease = claim(&engine).await;
    assert_eq!(lease.id, lost_lease.id);
    assert!(lease.lease_token > lost_lease.lease_token, "{lease:?} after {lost_lease:?}");
    engine.close();
    // The same server again has nothing to move.
    let engine = Engine::open(&config, Path::new("none")).unwrap();
    assert_eq!(latest(&engine).await, from + 1);
    put(&engine, 1, 4).await.unwrap();
    assert_eq!(latest(&engine).await, from + 2);
    engine.close();
}
