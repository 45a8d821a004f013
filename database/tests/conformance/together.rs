//! Several who read, write and work at the same time, through handles like those of several processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use database::job::Retry;
use database::{Database, Error, NewJob, Operation, Precondition, Query, Transaction};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{House, add_job, claim, delete, enqueue, fail, get, put, succeed, transact, write};

crate::on_every_handle! {
    a_follower_misses_no_change_of_many_writers
    pages_stay_whole_while_others_write
    no_job_is_leased_twice_at_a_time
    of_writers_with_the_same_version_one_wins_whoever_they_ask
    a_write_through_one_handle_wakes_those_at_the_other
    namespaces_are_apart_in_everything
}

const WRITERS: usize = 16;

/// A wait no test should need.
const LONG: Duration = Duration::from_secs(20);

/// One handle or the other.
fn handle(house: &House, number: usize) -> Database {
    if number.is_multiple_of(2) { house.database.clone() } else { house.other.clone() }
}

async fn a_follower_misses_no_change_of_many_writers(house: &House) {
    const EACH: usize = 20;
    let mut followers = JoinSet::new();
    for follower in 0..2 {
        let database = handle(house, follower);
        followers.spawn(async move {
            let (mut seen, mut after) = (Vec::new(), 0);
            while seen.len() < WRITERS * EACH * 2 {
                let changes = database.changes(None, after, 7, LONG).await.unwrap();
                assert!(!changes.is_empty(), "after {} changes no more came", seen.len());
                assert!(changes[0].sequence > after, "{} after {after}", changes[0].sequence);
                assert!(changes.is_sorted_by(|one, next| one.sequence < next.sequence));
                after = changes[changes.len() - 1].sequence;
                seen.extend(changes.into_iter().map(|change| (change.sequence, change.id)));
            }
            seen
        });
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let database = handle(house, writer);
        writers.spawn(async move {
            let mut written = Vec::new();
            for number in 0..EACH {
                let id = format!("{writer} {number}");
                let operations = vec![
                    put(&id, json!({"n": number}), Precondition::Absent),
                    put("shared", json!({"by": writer}), Precondition::None),
                ];
                written.push((transact(&database, operations).await.unwrap().sequence, "shared".to_owned()));
            }
            written
        });
    }
    let written: BTreeMap<u64, String> = writers.join_all().await.into_iter().flatten().collect();
    for seen in followers.join_all().await {
        let all: BTreeMap<u64, String> = seen.into_iter().collect();
        assert_eq!(all.len(), WRITERS * EACH * 2, "each change once");
        for (sequence, id) in &written {
            assert_eq!(all.get(sequence), Some(id));
        }
    }
}

async fn pages_stay_whole_while_others_write(house: &House) {
    const STABLE: usize = 40;
    let stable: Vec<Operation> =
        (0..STABLE).map(|n| put(&format!("{n:02} stays"), json!({}), Precondition::None)).collect();
    transact(house, stable).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (database, stop) = (handle(house, writer), Arc::clone(&stop));
        writers.spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = format!("{:02} comes and goes {writer}", (number * 7) % STABLE);
                transact(&database, vec![put(&id, json!({}), Precondition::None)]).await.unwrap();
                let stays = format!("{:02} stays", (number * 11) % STABLE);
                transact(&database, vec![put(&stays, json!({"n": number}), Precondition::Present)])
                    .await
                    .unwrap();
                transact(&database, vec![delete(&id, Precondition::None)]).await.unwrap();
            }
        });
    }
    for round in 0..5 {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let query = Query::List { collection: "things".into(), after, limit: 3 };
            let page = handle(house, round).query("shop", &query).await.unwrap();
            found.extend(page.records.into_iter().map(|record| record.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(found.is_sorted_by(|one, next| one < next), "in order, none twice");
        let stays = found.iter().filter(|id| id.ends_with("stays")).count();
        assert_eq!(stays, STABLE, "round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
}

async fn no_job_is_leased_twice_at_a_time(house: &House) {
    const JOBS: usize = 30;
    for _ in 0..JOBS {
        add_job(house, NewJob { max_attempts: Some(10), ..NewJob::new("mail", "send", json!({})) }).await;
    }
    let held = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let done = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for worker in 0..8 {
        let (database, held, done) = (handle(house, worker), Arc::clone(&held), Arc::clone(&done));
        workers.spawn(async move {
            let mut tokens = Vec::new();
            while done.load(Ordering::Relaxed) < JOBS {
                let Some(job) = claim(&database, "mail", 20_000, 100).await else { continue };
                let holder = held.lock().unwrap().insert(job.id.clone(), job.lease_token);
                assert_eq!(holder, None, "job {} is leased to two", job.id);
                tokens.push((job.id.clone(), job.lease_token));
                // From here on another may have it.
                held.lock().unwrap().remove(&job.id);
                if job.attempt < 3 {
                    fail(&database, &job, Retry::AfterMs(0)).await.unwrap();
                } else {
                    succeed(&database, &job).await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokens
        });
    }
    let tokens: Vec<_> = workers.join_all().await.concat();
    assert_eq!(tokens.len(), JOBS * 3);
    let distinct: BTreeSet<_> = tokens.into_iter().collect();
    assert_eq!(distinct.len(), JOBS * 3, "no token was given twice");
}

async fn of_writers_with_the_same_version_one_wins_whoever_they_ask(house: &House) {
    let mut version = write(house, put("a", json!({}), Precondition::None)).await.version;
    for round in 0..4 {
        let mut writers = JoinSet::new();
        for writer in 0..64 {
            let database = handle(house, writer);
            let operation = put("a", json!({"by": writer}), Precondition::Version(version));
            writers.spawn(async move { transact(&database, vec![operation]).await });
        }
        let results = writers.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
        for error in results.into_iter().filter_map(Result::err) {
            assert!(matches!(error, Error::PreconditionFailed { .. }), "{error:?}");
        }
        version = get(house, "a").await.unwrap().version;
    }
}

async fn a_write_through_one_handle_wakes_those_at_the_other(house: &House) {
    let started = std::time::Instant::now();
    let writing = async {
        // Whether the others wait already or not, they must not wait to the end.
        tokio::time::sleep(Duration::from_millis(300)).await;
        transact(&house.other, vec![put("a", json!({}), Precondition::None), enqueue("mail")]).await.unwrap();
    };
    let wait_ms = u64::try_from(LONG.as_millis()).unwrap();
    let (of_shop, of_any, job, ()) = tokio::join!(
        house.changes(Some("shop"), 0, 10, LONG),
        house.changes(None, 0, 10, LONG),
        claim(house, "mail", 20_000, wait_ms),
        writing
    );
    assert_eq!((of_shop.unwrap().len(), of_any.unwrap().len()), (1, 1));
    let job = job.unwrap();
    let (ended, _) = tokio::join!(house.job_when_final(&job.id, LONG), succeed(&house.other, &job));
    assert!(ended.unwrap().state.is_final());
    assert!(started.elapsed() < LONG, "a wait ended by itself");
}

async fn namespaces_are_apart_in_everything(house: &House) {
    let other = |operations| Transaction { namespace: "other".into(), operations };
    let mine = write(house, put("a", json!({"n": 1}), Precondition::None)).await;
    for operation in [
        put("a", json!({}), Precondition::Present),
        put("a", json!({}), Precondition::Version(mine.version)),
        delete("a", Precondition::None),
    ] {
        house.transact(other(vec![operation])).await.unwrap_err();
    }
    house.transact(other(vec![put("b", json!({}), Precondition::None), enqueue("mail")])).await.unwrap();
    let list = Query::List { collection: "things".into(), after: None, limit: 10 };
    let ids = |page: database::Page| page.records.into_iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!(ids(house.query("shop", &list).await.unwrap()), ["a"]);
    assert_eq!(ids(house.query("other", &list).await.unwrap()), ["b"]);
    assert_eq!(ids(house.query("third", &list).await.unwrap()), [""; 0]);
    let changes = house.changes(Some("other"), 0, 10, Duration::ZERO).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.id.as_str()).collect::<Vec<_>>(), ["b"]);
    for (namespace, count) in [("shop", 0), ("other", 1)] {
        let filter = database::job::JobFilter { namespace: Some(namespace.into()), ..Default::default() };
        assert_eq!(house.jobs(&filter).await.unwrap().jobs.len(), count, "{namespace}");
    }
}
