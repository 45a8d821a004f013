//! A database that becomes smaller is backed up as any other.

use std::collections::BTreeMap;
use std::time::Duration;

use database::backup::{Mode, Recovery, Target};
use database::{Config, Engine, Retention};
use rusqlite::Connection;

use crate::harness::{all_shipped, config, contents, delete, put, restored, shipping, status, transact};

/// How many pages the file of a database has; nobody has it open.
fn pages(data: &std::path::Path) -> u64 {
    std::fs::metadata(data.join("sixfold.db")).unwrap().len() / 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_of_before_amid_and_after_giving_space_back_holds_the_same() {
    let (data, destination) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let backed = config(destination.path(), Mode::Async);
    let retention = Retention { every: Duration::from_millis(20), ..Retention::default() };
    let engine = Engine::open(&Config { retention, ..backed.clone() }, data.path()).unwrap();
    shipping(&engine).await;
    let mut model = BTreeMap::new();
    for batch in 0..24 {
        let ids = batch * 50..(batch + 1) * 50;
        model.extend(ids.clone().map(|id| (format!("{id:05}"), u64::from(id))));
        transact(&engine, ids.map(|id| put(id, u64::from(id), 12_000)).collect()).await.unwrap();
    }
    let (full, all) = (status(&engine).committed, model.clone());
    for batch in 0..11 {
        let ids = batch * 100..(batch + 1) * 100;
        ids.clone().for_each(|id| assert!(model.remove(&format!("{id:05}")).is_some()));
        transact(&engine, ids.map(delete).collect()).await.unwrap();
    }
    let deleted = status(&engine).committed;
    let reader = Connection::open(data.path().join("sixfold.db")).unwrap();
    let count = |name| -> u32 { reader.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
    crate::harness::until("fewer pages", || count("freelist_count") <= 1024).await;
    drop(reader);
    let given_back = status(&engine).committed;
    assert!(given_back > deleted + 10, "in small steps: {deleted} to {given_back}");
    transact(&engine, (0..20).map(|id| put(id, 7, 12_000)).collect()).await.unwrap();
    let after = {
        let mut after = model.clone();
        after.extend((0..20).map(|id| (format!("{id:05}"), 7)));
        after
    };
    all_shipped(&engine).await;
    engine.close();

    assert_eq!(restored(&backed, Target::Commit(full)).await, all);
    for commit in [deleted, deleted + (given_back - deleted) / 2, given_back] {
        assert_eq!(restored(&backed, Target::Commit(commit)).await, model, "commit {commit}");
    }
    let recovery = Recovery::open(&backed.backup).unwrap();
    let restore = async |target, force| {
        recovery.restore(target, data.path(), force, |_| (), &|_| ()).await.unwrap();
        pages(data.path())
    };
    let (large, small) = (restore(Target::Commit(full), true).await, restore(Target::Latest, true).await);
    assert!(small * 2 < large, "{small} pages, and {large} before");
    assert_eq!(contents(data.path()).await, after);
    let scratch = tempfile::tempdir().unwrap();
    let found = recovery.inspect(true, &scratch.path().join("s"), |_| (), &|_| ()).await.unwrap();
    assert_eq!(found.faults, []);
}
