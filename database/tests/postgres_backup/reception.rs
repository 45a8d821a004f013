//! The receiver: it is started again without a gap, and ends with us.

use std::path::Path;
use std::time::Duration;

use database::backup::postgres::Target;
use database::backup::{self, Standing};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Bench, all_received, put, status, until};

/// Finds our pg_receivewal: the one that writes to this destination.
fn receiver(destination: &Path) -> Option<i32> {
    let destination = destination.to_string_lossy().into_owned();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let is_ours =
            words[0].ends_with("pg_receivewal") && words.iter().any(|word| word.starts_with(&destination));
        is_ours.then_some(pid)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_receiver_comes_back_without_a_gap() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(backup::Mode::Async)).await;
    let mut expected = std::collections::BTreeMap::new();
    for round in 0..5u32 {
        for number in 0..20 {
            put(&engine, round * 100 + number, 1).await.unwrap();
            expected.insert(format!("{:05}", round * 100 + number), 1);
        }
        let pid = receiver(bench.destination.path()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        put(&engine, 9000 + round, 2).await.unwrap();
        expected.insert(format!("{:05}", 9000 + round), 2);
        // Over the ends of segments.
        bench.server.ask("SELECT pg_switch_wal()");
        until("another one", || receiver(bench.destination.path()).is_some_and(|other| other != pid)).await;
    }
    until("it goes on", || status(&engine).standing == Standing::Shipping).await;
    all_received(&bench, &engine).await;
    assert!(status(&engine).receiver_starts >= 6, "{:?}", status(&engine));
    let found = bench.inspected(&bench.recovery()).await;
    assert_eq!((found.generations, found.faults), (1, vec![]));
    assert_eq!(bench.restored(Target::Latest).await, expected);
    engine.close();
    assert_eq!(receiver(bench.destination.path()), None, "it ends with us");
    let slot = bench.server.ask("SELECT slot_name, active FROM pg_replication_slots");
    assert_eq!(slot, "sixfold|f", "the server keeps what comes while we are away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reception_goes_on_after_our_restart_and_begins_anew_without_its_slot() {
    let bench = Bench::new();
    let config = bench.config(backup::Mode::Async);
    let engine = bench.open(&config).await;
    let first = status(&engine).generation;
    engine.close();
    bench.server.ask("SELECT pg_switch_wal()");
    let engine = bench.open(&config).await;
    assert_eq!(status(&engine).generation, first);
    put(&engine, 1, 1).await.unwrap();
    engine.close();
    bench.server.ask("SELECT pg_drop_replication_slot('sixfold')");
    let engine = bench.open(&config).await;
    assert_ne!(status(&engine).generation, first);
    put(&engine, 2, 2).await.unwrap();
    all_received(&bench, &engine).await;
    let both = [("00001".to_owned(), 1), ("00002".to_owned(), 2)];
    assert_eq!(bench.restored(Target::Latest).await, both.into());
    assert_eq!(bench.recovery().list().unwrap().len(), 2);
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_is_told_with_how_far_it_is_behind_and_started_again_without_a_gap() {
    let bench = Bench::new();
    let mut config = bench.config(backup::Mode::Async);
    config.backup.timeout = Duration::from_secs(2);
    let engine = bench.open(&config).await;
    put(&engine, 1, 1).await.unwrap();
    all_received(&bench, &engine).await;
    let pid = receiver(bench.destination.path()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    put(&engine, 2, 2).await.unwrap();
    until("it is noticed", || matches!(status(&engine).standing, Standing::Stalled { .. })).await;
    let seen = status(&engine);
    assert!(seen.lag_bytes > 0 && seen.lag_seconds >= 1.0, "{seen:?}");
    let Standing::Stalled { reason } = seen.standing else { unreachable!() };
    let behind = format!("behind by {} bytes", seen.lag_bytes);
    assert!(reason.contains("is connected and has confirmed nothing for 2 s"), "{reason}");
    assert!(reason.contains(&behind), "{reason}");
    let figures = String::from_utf8(process::metrics::render()).unwrap();
    let is_told = |line: &str| figures.lines().any(|told| told == line);
    assert!(is_told("sixfold_backup_reachable 0"), "{figures}");
    assert!(is_told(&format!("sixfold_backup_lag_bytes {}", seen.lag_bytes)), "{figures}");
    // It does not go on by itself, so another one does.
    until("another one", || receiver(bench.destination.path()).is_some_and(|other| other != pid)).await;
    until("it goes on", || status(&engine).standing == Standing::Shipping).await;
    all_received(&bench, &engine).await;
    engine.close();
    let both = [("00001".to_owned(), 1), ("00002".to_owned(), 2)];
    assert_eq!(bench.restored(Target::Latest).await, both.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_answer_is_told_and_holds_up_neither_writes_nor_the_end() {
    let bench = Bench::new();
    let mut config = bench.config(backup::Mode::Async);
    config.backup.timeout = Duration::from_secs(1);
    let engine = bench.open(&config).await;
    let generation = status(&engine).generation.unwrap();
    // Opening a pipe for which there is no reader waits, as a share does whose server is away.
    let pipe = bench.destination.path().join("postgresql").join(generation).join("received.new");
    until("the pipe", || mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).is_ok()).await;
    put(&engine, 1, 1).await.unwrap();
    until("it is noticed", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    let Standing::Unreachable { reason } = status(&engine).standing else { unreachable!() };
    assert!(reason.contains("the destination does not answer within 1s"), "{reason}");
    put(&engine, 2, 2).await.unwrap();
    engine.close();
}
