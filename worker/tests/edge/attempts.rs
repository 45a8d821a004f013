//! What can happen to a running attempt: panic, overstay, a cut network, a shutdown.

use std::time::Duration;

use serde_json::json;

use crate::house::{House, database_at, json_of, quick, until};
use crate::probe::{Event, probe};
use crate::relay::Relay;

#[tokio::test]
async fn a_panicking_attempt_is_a_failed_one_and_tells_nothing_internal() {
    let mut house = House::start().await;
    let (kind, _watch) = probe();
    let worker = house.worker(&quick(), kind);
    let dead = worker.final_job(&worker.probe("panic").await).await;
    assert_eq!((&dead["state"], &dead["attempt"]), (&json!("dead"), &json!(5)));
    assert!(!dead["error"].as_str().unwrap().contains("secret"), "{dead}");
    let next = worker.final_job(&worker.probe("succeed").await).await;
    assert_eq!(next["state"], "succeeded", "the worker goes on");
}

#[tokio::test]
async fn an_attempt_that_overstays_is_stopped_and_counts_as_failed() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let config = worker::Config { attempt_timeout: Duration::from_millis(50), ..quick() };
    let worker = house.worker(&config, kind);
    let job = json!({"kind": "probe", "max_attempts": 1});
    let id = crate::house::id_of(&worker.enqueue("default", &job).await);
    let dead = worker.final_job(&id).await;
    assert_eq!(dead["state"], "dead");
    assert_eq!(dead["error"], "the attempt did not end within 50ms");
    watch.started().await;
    assert_eq!(watch.next().await, Event::Stopped);
}

#[tokio::test]
async fn a_heartbeat_keeps_the_lease_and_tells_the_progress() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let config = quick();
    let worker = house.worker(&config, kind);
    let id = worker.probe("wait").await;
    watch.started().await;
    until("a heartbeat", async || worker.job(&id).await["progress"] == 0.5).await;
    // Longer than the lease; a lapsed one would start a second attempt.
    tokio::time::sleep(config.lease * 2).await;
    watch.let_end(1);
    let ended = worker.final_job(&id).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)));
}

#[tokio::test]
async fn a_worker_cut_off_from_the_database_stops_its_attempt_and_another_one_takes_over() {
    let mut house = House::start().await;
    let relay = Relay::start(house.database_address).await;
    let (first_kind, mut first_watch) = probe();
    let first = house.worker_with(&quick(), first_kind, database_at(relay.address));
    let id = first.probe("wait").await;
    assert_eq!(first_watch.started().await, 1);

    let (second_kind, mut second_watch) = probe();
    let second = house.worker(&quick(), second_kind);
    relay.cut();
    assert_eq!(first_watch.next().await, Event::Stopped, "it cannot know whether the job is still its own");
    assert_eq!(second_watch.started().await, 2);
    second_watch.let_end(1);
    assert_eq!(second.final_job(&id).await["state"], "succeeded");
    until("the first is degraded", async || first.get("/health").await.status == 503).await;
    assert_eq!(json_of(&first.get("/health").await)["state"], "degraded");
    let away = first.get(&format!("/jobs/{id}")).await;
    assert_eq!(away.status, 503);
    assert!(away.fields.contains_key("retry-after"));

    second.stop();
    relay.mend();
    until("the first is ready", async || first.get("/health").await.status == 200).await;
    let next = first.probe("succeed").await;
    assert_eq!(first.final_job(&next).await["state"], "succeeded");
}

#[tokio::test]
async fn an_end_is_written_once_the_database_is_back() {
    let mut house = House::start().await;
    let relay = Relay::start(house.database_address).await;
    let (kind, mut watch) = probe();
    let config = worker::Config { lease: Duration::from_secs(10), ..quick() };
    let worker = house.worker_with(&config, kind, database_at(relay.address));
    let id = worker.probe("wait").await;
    watch.started().await;
    relay.cut();
    watch.let_end(1);
    until("the worker notices", async || worker.get("/health").await.status == 503).await;
    relay.mend();
    let ended = worker.final_job(&id).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)));
}

#[tokio::test]
async fn no_more_jobs_run_at_a_time_than_there_are_places() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let worker = house.worker(&worker::Config { concurrency: 2, ..quick() }, kind);
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(worker.probe("wait").await);
    }
    for _ in 0..6 {
        watch.started().await;
        watch.let_end(1);
    }
    for id in ids {
        assert_eq!(worker.final_job(&id).await["state"], "succeeded");
    }
    assert!(watch.most() <= 2, "{}", watch.most());
}

#[tokio::test]
async fn a_stopping_worker_finishes_what_ends_in_time_and_puts_the_rest_back() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let worker = house.worker(&quick(), kind);
    let (one, other) = (worker.probe("wait").await, worker.probe("wait").await);
    watch.started().await;
    watch.started().await;
    worker.stop();
    watch.let_end(1);
    house.role_ended().await;
    assert_eq!(watch.next().await, Event::Stopped);
    let jobs = [house.database.job(&one).await.unwrap(), house.database.job(&other).await.unwrap()];
    let done = jobs.iter().find(|job| job.state == database::JobState::Succeeded).expect("one ended in time");
    let back = jobs.iter().find(|job| job.id != done.id).unwrap();
    assert_eq!((back.state, back.attempt), (database::JobState::Ready, 1));
    assert_eq!(back.error.as_deref(), Some("the worker stopped before the attempt ended"));
}
