//! Servers that must not be touched, that lack something, and whose commits do not wait.

use std::path::Path;

use database::backup::postgres::Target;
use database::backup::{Mode, Standing};
use database::{Config, Engine, Error};

use crate::harness::{Bench, all_received, contents, put, recovery, status, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_archives_already_is_left_alone() {
    let bench = Bench::new();
    bench.server.ask("ALTER SYSTEM SET archive_mode = 'on'");
    bench.server.ask("ALTER SYSTEM SET archive_command = 'test secret != %p'");
    bench.server.crash();
    bench.server.start_again();
    let engine = Engine::open(&bench.config(Mode::Async), bench.data.path()).unwrap();
    until("it keeps off", || matches!(status(&engine).standing, Standing::KeptOff { .. })).await;
    let Standing::KeptOff { reason } = status(&engine).standing else { unreachable!() };
    assert!(reason.contains("archive_command") && !reason.contains("secret"), "{reason}");
    put(&engine, 1, 1).await.unwrap();
    assert_eq!(bench.server.ask("SELECT count(*) FROM pg_replication_slots"), "0", "no slot is made");
    assert_eq!(std::fs::read_dir(bench.destination.path()).unwrap().count(), 0);
    assert!(engine.store_base().await.is_err());
    engine.close();
    let engine = Engine::open(&bench.config(Mode::Sync), bench.data.path()).unwrap();
    until("it is said", || matches!(status(&engine).standing, Standing::NotSynchronous { .. })).await;
    assert!(put(&engine, 2, 2).await.is_err(), "nobody keeps what the mode promises");
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_away_is_an_alarm_and_goes_on_without_a_gap_once_it_is_back() {
    let bench = Bench::new();
    let (folder, away) = (bench.destination.path().join("share"), bench.destination.path().join("away"));
    let mut config = bench.config(Mode::Async);
    config.backup.destination = Some(format!("file:{}", folder.display()));
    let engine = Engine::open(&config, bench.data.path()).unwrap();
    until("the alarm", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    let Standing::Unreachable { reason } = status(&engine).standing else { unreachable!() };
    assert!(reason.contains("is not there"), "{reason}");
    assert!(!folder.exists(), "a share that is not mounted is not made");
    std::fs::create_dir(&folder).unwrap();
    until("it goes", || status(&engine).standing == Standing::Shipping).await;
    let first = status(&engine).generation;
    std::fs::rename(&folder, &away).unwrap();
    for number in 0..3 {
        put(&engine, number, 1).await.unwrap();
        bench.server.ask("SELECT pg_switch_wal()");
    }
    until("the alarm", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    std::fs::rename(&away, &folder).unwrap();
    until("it goes", || status(&engine).standing == Standing::Shipping).await;
    assert_eq!(status(&engine).generation, first);
    all_received(&bench, &engine).await;
    engine.close();
    assert_eq!(bench.inspected(&recovery(&config)).await.faults, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_received_into_an_empty_folder_in_the_destination_s_place() {
    let bench = Bench::new();
    let (folder, away) = (bench.destination.path().join("share"), bench.destination.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let mut config = bench.config(Mode::Async);
    config.backup.destination = Some(format!("file:{}", folder.display()));
    let mut engine = bench.open(&config).await;
    let first = status(&engine).generation;
    // While the process runs, and when it starts.
    for number in 0..2 {
        if number == 1 {
            engine.close();
        }
        std::fs::rename(&folder, &away).unwrap();
        std::fs::create_dir(&folder).unwrap();
        if number == 1 {
            engine = Engine::open(&config, bench.data.path()).unwrap();
        }
        put(&engine, number, 1).await.unwrap();
        bench.server.ask("SELECT pg_switch_wal()");
        // pg_receivewal may meet it first, and says only what file is missing.
        until("the alarm", || match status(&engine).standing {
            Standing::Unreachable { reason } => reason.contains("not the destination that was used before"),
            _ => false,
        })
        .await;
        assert!(engine.store_base().await.is_err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        let slot = bench.server.ask("SELECT count(*) FROM pg_stat_replication");
        assert_eq!(slot, "0", "nobody receives");
        std::fs::remove_dir(&folder).unwrap();
        std::fs::rename(&away, &folder).unwrap();
        until("it goes", || status(&engine).standing == Standing::Shipping).await;
        assert_eq!(status(&engine).generation, first);
    }
    all_received(&bench, &engine).await;
    engine.close();
    let faults = async || bench.inspected(&recovery(&config)).await.faults;
    assert_eq!(faults().await, []);
    std::fs::write(folder.join("sixfold-destination"), "nothing").unwrap();
    let named = faults().await;
    assert!(named.len() == 1 && named[0].0 == "sixfold-destination", "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_replicate_is_told_what_to_grant_and_then_it_goes() {
    let bench = Bench::new();
    bench.server.ask("CREATE ROLE clerk LOGIN PASSWORD 'secret word'");
    bench.server.ask("CREATE SCHEMA sixfold AUTHORIZATION clerk");
    let url = bench.server.url().replace("sixfold:p%40ss%20word", "clerk:secret%20word");
    let config = Config { url: url.parse().unwrap(), ..bench.config(Mode::Async) };
    let engine = Engine::open(&config, bench.data.path()).unwrap();
    until("it is said", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    let Standing::Unreachable { reason } = status(&engine).standing else { unreachable!() };
    assert!(reason.contains("ALTER ROLE \"clerk\" REPLICATION"), "{reason}");
    put(&engine, 1, 1).await.unwrap();
    bench.server.ask("ALTER ROLE clerk REPLICATION");
    until("it goes", || status(&engine).standing == Standing::Shipping).await;
    let report = engine.drill().await.unwrap();
    assert_eq!(report.fault, None);
    // Where a process's environment can be read its password can, so that is the same user's; lines are everybody's.
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains("secret word"));
    }
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_programs_are_named_with_what_to_install() {
    let bench = Bench::new();
    let mut config = bench.config(Mode::Async);
    config.backup.postgres.tools = Some(bench.data.path().to_owned());
    let engine = Engine::open(&config, bench.data.path()).unwrap();
    until("it is said", || matches!(status(&engine).standing, Standing::Unreachable { .. })).await;
    let Standing::Unreachable { reason } = status(&engine).standing else { unreachable!() };
    assert!(reason.contains("pg_receivewal") && reason.contains("install postgresql-client-"), "{reason}");
    assert_eq!(
        bench.server.ask("SELECT count(*) FROM pg_replication_slots"),
        "0",
        "no slot without a reader"
    );
    engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_sync_nothing_is_written_until_the_server_s_commits_wait() {
    let bench = Bench::new();
    let engine = Engine::open(&bench.config(Mode::Sync), bench.data.path()).unwrap();
    until("it is said", || matches!(status(&engine).standing, Standing::NotSynchronous { .. })).await;
    let Standing::NotSynchronous { reason } = status(&engine).standing else { unreachable!() };
    assert!(reason.contains("synchronous_standby_names = 'sixfold'"), "{reason}");
    let shows_writable = || {
        let figures = String::from_utf8(process::metrics::render()).unwrap();
        figures.lines().any(|line| line == "sixfold_database_writable 1")
    };
    until("the figure, though nobody wrote", || !shows_writable()).await;
    let refused = put(&engine, 1, 1).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    // One of two is not enough: the other's word would do.
    bench.server.ask("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (sixfold, other)'");
    bench.server.ask("SELECT pg_reload_conf()");
    let names_both =
        |standing| matches!(standing, Standing::NotSynchronous { reason } if reason.contains("it is 'ANY 1"));
    until("it is looked at", || names_both(status(&engine).standing)).await;
    assert!(put(&engine, 1, 1).await.is_err());
    bench.server.ask("ALTER SYSTEM SET synchronous_standby_names = 'sixfold'");
    bench.server.ask("SELECT pg_reload_conf()");
    until("it goes", || status(&engine).standing == Standing::Shipping).await;
    assert!(status(&engine).is_synchronous);
    until("the figure", shows_writable).await;
    put(&engine, 1, 1).await.unwrap();
    // At once, without waiting for anything more: what was answered is at the destination.
    let expected = std::collections::BTreeMap::from([("00001".to_owned(), 1)]);
    assert_eq!(bench.restored(Target::Latest).await, expected);
    bench.server.ask("ALTER SYSTEM RESET synchronous_standby_names");
    bench.server.ask("SELECT pg_reload_conf()");
    until("it is noticed", || matches!(status(&engine).standing, Standing::NotSynchronous { .. })).await;
    assert!(put(&engine, 2, 2).await.is_err());
    engine.close();
    assert_eq!(contents(&bench.server.url()).await, expected);
    assert!(Path::new(bench.destination.path()).join("postgresql").is_dir());
}
