//! A server that was restored, or took over, and has the slot: the generation goes on where the log does, and only there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use database::backup::postgres::Target;
use database::backup::{Mode, Standing};
use database::{Config, Engine};
use jiff::Timestamp;
use system_tests::postgres::{Server, folder_in_memory};

use crate::harness::{Bench, all_received, put, status, until};

const MAKE_SLOT: &str = "SELECT pg_create_physical_replication_slot('sixfold', true)";

/// What is written by its number.
fn written(ids: &[u32]) -> BTreeMap<String, u64> {
    ids.iter().map(|id| (format!("{id:05}"), u64::from(*id))).collect()
}

/// Has the backup of one server go on with another one.
fn config_of(bench: &Bench, server: &Server) -> Config {
    Config { url: server.url().parse().unwrap(), ..bench.config(Mode::Async) }
}

async fn write(engine: &Engine, id: u32) {
    put(engine, id, id.into()).await.unwrap();
}

/// Waits until what a server holds is at the destination.
async fn received_from(server: &Server, engine: &Engine) {
    let written = server.ask("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    until("what was written", || status(engine).received >= written).await;
}

/// The folders of generations.
fn generations(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.destination.path().join("postgresql")).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// Starts a server on a moment of the backup.
async fn restored(bench: &Bench, target: Target) -> Server {
    let folder = folder_in_memory();
    let to = folder.path().join("restored");
    bench.recovery().restore(target, &to, |_| (), &|_| ()).await.unwrap();
    Server::start_restored(bench.destination.path(), |data| {
        assert!(std::process::Command::new("mv").arg(&to).arg(data).status().unwrap().success());
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_to_a_time_with_the_slot_made_ahead_gets_a_generation_of_its_own() {
    // Before the segment being received, where the old generation could not go on, and within it, where it would.
    for segments in [2, 0] {
        let bench = Bench::new();
        let engine = bench.open(&bench.config(Mode::Async)).await;
        let first = status(&engine).generation.unwrap();
        write(&engine, 1).await;
        all_received(&bench, &engine).await;
        let moment = Timestamp::now();
        for _ in 0..segments {
            write(&engine, 2).await;
            bench.server.ask("SELECT pg_switch_wal()");
        }
        write(&engine, 2).await;
        all_received(&bench, &engine).await;
        let lost = Timestamp::now();
        write(&engine, 3).await;
        all_received(&bench, &engine).await;
        engine.close();

        let server = restored(&bench, Target::Time(moment)).await;
        server.ask(MAKE_SLOT);
        let engine = bench.open(&config_of(&bench, &server)).await;
        assert_ne!(status(&engine).generation.unwrap(), first);
        write(&engine, 4).await;
        received_from(&server, &engine).await;
        engine.close();
        // What only the server before held is still there, at its time.
        assert_eq!(bench.restored(Target::Time(lost)).await, written(&[1, 2]));
        assert_eq!(bench.restored(Target::Latest).await, written(&[1, 4]));
        let found = bench.inspected(&bench.recovery()).await;
        assert_eq!((found.generations, found.faults), (2, vec![]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_restored_from_one_moment_do_not_share_a_generation() {
    let bench = Bench::new();
    let engine = bench.open(&bench.config(Mode::Async)).await;
    write(&engine, 1).await;
    all_received(&bench, &engine).await;
    let (moment, old) = (Timestamp::now(), bench.destination.path().join("postgresql"));
    write(&engine, 2).await;
    all_received(&bench, &engine).await;
    let later = Timestamp::now();
    write(&engine, 3).await;
    all_received(&bench, &engine).await;
    engine.close();
    // Both are in a timeline 2.
    let one = restored(&bench, Target::Time(moment)).await;
    let two = restored(&bench, Target::Time(later)).await;
    let mut seen = Vec::new();
    for (server, id) in [(&one, 4), (&two, 5)] {
        server.ask(MAKE_SLOT);
        assert!(server.ask("SELECT pg_walfile_name(pg_current_wal_lsn())").starts_with("00000002"));
        let engine = bench.open(&config_of(&bench, server)).await;
        seen.push(status(&engine).generation.unwrap());
        write(&engine, id).await;
        received_from(server, &engine).await;
        engine.close();
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(std::fs::read_dir(old).unwrap().count(), 3);
    assert_eq!(bench.restored(Target::Latest).await, written(&[1, 2, 5]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_had_everything_goes_on_with_the_generation_and_one_that_had_not_begins_another() {
    for has_all in [true, false] {
        let bench = Bench::new();
        let engine = bench.open(&bench.config(Mode::Async)).await;
        let first = status(&engine).generation.unwrap();
        write(&engine, 1).await;
        let standby = bench.server.start_standby();
        standby.ask(MAKE_SLOT);
        write(&engine, 2).await;
        let place = bench.server.ask("SELECT pg_current_wal_flush_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{place}'::pg_lsn");
        until("the standby is there", || standby.ask(&replayed) == "t").await;
        if !has_all {
            standby.crash();
            write(&engine, 3).await;
        }
        all_received(&bench, &engine).await;
        let moment = Timestamp::now();
        if !has_all {
            write(&engine, 3).await;
            all_received(&bench, &engine).await;
        }
        engine.close();
        if has_all {
            let end = bench.server.ask("SELECT pg_current_wal_flush_lsn()");
            let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
            until("the standby has all", || standby.ask(&replayed) == "t").await;
        }
        bench.server.lose();
        if !has_all {
            standby.start_again();
        }
        standby.promote();

        let engine = bench.open(&config_of(&bench, &standby)).await;
        assert_eq!(status(&engine).generation.unwrap() == first, has_all);
        write(&engine, 4).await;
        received_from(&standby, &engine).await;
        // Over a restart too, in the timeline that was taken over.
        let second = status(&engine).generation;
        engine.close();
        let engine = bench.open(&config_of(&bench, &standby)).await;
        assert_eq!(status(&engine).generation, second);
        write(&engine, 5).await;
        received_from(&standby, &engine).await;
        engine.close();
        let held = if has_all { written(&[1, 2]) } else { written(&[1, 2, 3]) };
        assert_eq!(bench.restored(Target::Time(moment)).await, held);
        assert_eq!(bench.restored(Target::Latest).await, written(&[1, 2, 4, 5]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_cannot_be_begun_leaves_no_slot_and_begins_once_it_can() {
    let bench = Bench::new();
    let folder = bench.destination.path().join("postgresql");
    // Nothing is there yet, and nothing can be made there.
    std::os::unix::fs::symlink(Path::new("nowhere/else"), &folder).unwrap();
    let engine = Engine::open(&bench.config(Mode::Async), bench.data.path()).unwrap();
    until("the alarm", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    assert_eq!(bench.server.ask("SELECT count(*) FROM pg_replication_slots"), "0");
    std::fs::remove_file(&folder).unwrap();
    until("it goes", || status(&engine).standing == Standing::Shipping).await;
    engine.close();
    assert_eq!(generations(&bench).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_of_which_nothing_was_received_is_the_one_that_begins() {
    let bench = Bench::new();
    let config = bench.config(Mode::Async);
    let engine = bench.open(&config).await;
    write(&engine, 1).await;
    engine.close();
    let [old] = &generations(&bench)[..] else { panic!("one") };
    let mut made = vec![old.clone()];
    // As a kill leaves it: before the slot of the one before was dropped, before its own was made, and after.
    for (round, slot) in ["", "SELECT pg_drop_replication_slot('sixfold')", ""].into_iter().enumerate() {
        let new = old.with_file_name(format!("29991231T00000{round}000000Z-00000000"));
        for part in ["wal", "base"] {
            std::fs::create_dir_all(new.join(part)).unwrap();
        }
        std::fs::copy(old.join("generation.json"), new.join("generation.json")).unwrap();
        if !slot.is_empty() {
            bench.server.ask(slot);
        }
        // What the server did meanwhile may be gone, with its slot.
        bench.server.ask("SELECT pg_switch_wal()");
        bench.server.ask("CHECKPOINT");
        let engine = bench.open(&config).await;
        assert_eq!(Some(status(&engine).generation.unwrap().as_ref()), new.file_name().unwrap().to_str());
        write(&engine, 10 + u32::try_from(round).unwrap()).await;
        all_received(&bench, &engine).await;
        engine.close();
        made.push(new);
        assert_eq!(generations(&bench), made);
    }
    assert_eq!(bench.restored(Target::Latest).await, written(&[1, 10, 11, 12]));
    assert_eq!(bench.inspected(&bench.recovery()).await.faults, []);
}
