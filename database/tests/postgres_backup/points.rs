//! Every moment restores: by time, by place, by transaction, and the latest.

use std::collections::BTreeMap;
use std::time::Duration;

use database::backup::Mode;
use database::backup::postgres::{Lsn, Target};
use database::{Config, Engine};
use jiff::Timestamp;
use rand::Rng;
use system_tests::postgres::{Server, folder_in_memory};

use crate::harness::{Bench, all_received, put, recovery, status, until};

/// The states a server went through: a time, a place and the transaction after which it held each.
type History = Vec<(Timestamp, Lsn, u64, BTreeMap<String, u64>)>;

async fn write(bench: &Bench, engine: &Engine, model: &mut BTreeMap<String, u64>, history: &mut History) {
    for _ in 0..20 {
        let (id, value) = (rand::rng().random_range(0..30), rand::rng().random_range(0..1000));
        put(engine, id, value).await.unwrap();
        model.insert(format!("{id:05}"), value);
        // What another process asks the server for is of after the write and before the next.
        let said = bench.server.ask(
            "SELECT clock_timestamp() AT TIME ZONE 'UTC', pg_current_wal_lsn(), \
             (SELECT max(xmin::text::bigint) FROM sixfold.records)",
        );
        let said: Vec<&str> = said.split('|').collect();
        let time = format!("{}Z", said[0].replace(' ', "T")).parse().unwrap();
        history.push((time, said[1].parse().unwrap(), said[2].parse().unwrap(), model.clone()));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_restores_to_what_the_server_then_held() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(Mode::Async)).await;
    let (mut model, mut history) = (BTreeMap::new(), History::new());
    write(&bench, &engine, &mut model, &mut history).await;
    let base = engine.store_base().await.unwrap();
    assert!(base.size_bytes > 1 << 20, "{base:?}");
    write(&bench, &engine, &mut model, &mut history).await;
    all_received(&bench, &engine).await;
    let runs: usize =
        std::env::var("SIXFOLD_BACKUP_POINTS").map_or(1, |text| text.parse::<usize>().unwrap() / 10);
    for _ in 0..runs {
        let state = || history[rand::rng().random_range(0..history.len())].clone();
        let (time, _, _, expected) = state();
        assert_eq!(bench.restored(Target::Time(time)).await, expected, "at {time}");
        let (_, place, _, expected) = state();
        assert_eq!(bench.restored(Target::Lsn(place)).await, expected, "at {place}");
        let (_, _, transaction, expected) = state();
        assert_eq!(bench.restored(Target::Transaction(transaction)).await, expected, "after {transaction}");
    }
    let before = Target::Time(history[0].0 - Duration::from_secs(3600));
    let folder = tempfile::tempdir().unwrap();
    let early = bench.recovery().restore(before, &folder.path().join("x"), |_| (), &|_| ()).await;
    assert!(early.unwrap_err().to_string().contains("before the oldest base"));
    engine.close();
    // The server's last words were received too: what is restored is what was acknowledged.
    assert_eq!(bench.restored(Target::Latest).await, model);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_the_log_does_not_cover_is_refused_with_the_last_one_that_it_does() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(Mode::Async)).await;
    put(&engine, 1, 1).await.unwrap();
    let early = Timestamp::now();
    engine.store_base().await.unwrap();
    // In segments after that base's start, which a restore of before does not look at.
    put(&engine, 2, 2).await.unwrap();
    all_received(&bench, &engine).await;
    let quiet = Timestamp::now();
    engine.close();
    let end: Lsn = bench.server.ask("SELECT restart_lsn FROM pg_replication_slots").parse().unwrap();
    let (one, two) = (("00001".to_owned(), 1), ("00002".to_owned(), 2));
    assert_eq!(
        bench.restored(Target::Time(early)).await,
        [one.clone()].into(),
        "a later base ends no earlier"
    );
    // Recovery alone would take both for a failure, since nothing follows.
    assert_eq!(bench.restored(Target::Time(quiet)).await, [one.clone(), two.clone()].into());
    assert_eq!(bench.restored(Target::Lsn(end)).await, [one, two].into());

    let to = bench.data.path().join("restored");
    let refusal = async |config: &Config, target| {
        let refused = recovery(config).restore(target, &to, |_| (), &|_| ()).await.unwrap_err().to_string();
        assert!(!to.exists(), "{refused}");
        let (place, rest) =
            refused.split_once("the log ends with ").expect(&refused).1.split_once("; ").unwrap();
        let covered =
            rest.split_once("known to be covered is ").expect(&refused).1.split_once(';').unwrap().0;
        (place.parse::<Lsn>().unwrap(), covered.parse::<Timestamp>().unwrap(), refused.clone())
    };
    let mut config = bench.config(Mode::Async);
    let late = quiet + Duration::from_secs(3600);
    let segment = 16 << 20;
    let beyond = Lsn(end.0 + 4096);
    assert_eq!(beyond.0 / segment, end.0 / segment, "it is in the last segment");
    for target in [Target::Time(late), Target::Lsn(beyond)] {
        let (place, covered, refused) = refusal(&config, target).await;
        assert_eq!(place, end, "{refused}");
        assert!(quiet <= covered && covered <= Timestamp::now(), "{refused}");
    }
    // Without the program that reads the log, by what was noted of it.
    let few = bench.data.path().join("few");
    std::fs::create_dir(&few).unwrap();
    config.backup.postgres.tools = Some(few);
    for target in [Target::Time(late), Target::Lsn(beyond)] {
        assert_eq!(refusal(&config, target).await.0, end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restored_to_a_moment_is_backed_up_and_restored_to_later_ones() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(Mode::Async)).await;
    put(&engine, 1, 1).await.unwrap();
    all_received(&bench, &engine).await;
    let moment = Timestamp::now();
    put(&engine, 2, 2).await.unwrap();
    all_received(&bench, &engine).await;
    engine.close();
    let folder = folder_in_memory();
    let to = folder.path().join("restored");
    bench.recovery().restore(Target::Time(moment), &to, |_| (), &|_| ()).await.unwrap();
    let server = Server::start_restored(bench.destination.path(), |data| {
        assert!(std::process::Command::new("mv").arg(&to).arg(data).status().unwrap().success());
    });
    let config = Config { url: server.url().parse().unwrap(), ..bench.config(Mode::Async) };
    let engine = bench.open(&config).await;
    put(&engine, 3, 3).await.unwrap();
    let place: Lsn = server.ask("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    put(&engine, 4, 4).await.unwrap();
    let end: Lsn = server.ask("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    until("what was written", || status(&engine).received >= end).await;
    engine.close();
    // Its base has the moment in its settings at which its own recovery stopped.
    let held = |ids: &[u64]| ids.iter().map(|id| (format!("{id:05}"), *id)).collect::<BTreeMap<_, _>>();
    assert_eq!(bench.restored(Target::Latest).await, held(&[1, 3, 4]));
    assert_eq!(bench.restored(Target::Lsn(place)).await, held(&[1, 3]));
}
