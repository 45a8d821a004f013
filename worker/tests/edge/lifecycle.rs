//! From the queue to the end: waiting, delay, retries, death, cancellation.

use jiff::Timestamp;
use serde_json::json;

use crate::house::{House, id_of, json_of, quick};
use crate::probe::{Event, probe};

fn time(value: &serde_json::Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_job_runs_and_whoever_waits_for_it_is_told_its_result() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let worker = house.worker(&quick(), kind);
    let answer = worker.post("/queues/default/jobs", &json!({"kind": "probe"})).await;
    assert_eq!(answer.status, 202);
    let job = json_of(&answer);
    assert_eq!(answer.fields["location"], format!("/jobs/{}", id_of(&job)));
    assert_eq!((&job["queue"], &job["kind"]), (&json!("default"), &json!("probe")));
    assert_eq!((&job["attempt"], &job["result"], &job["error"]), (&json!(0), &json!(null), &json!(null)));

    watch.started().await;
    let waiting = worker.get(&format!("/jobs/{}?wait=50ms", id_of(&job))).await;
    assert_eq!(json_of(&waiting)["state"], "leased", "a wait that is over answers with what there is");
    watch.let_end(1);
    let ended = worker.final_job(&id_of(&job)).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(ended["result"], json!({"waited": true}));
}

#[tokio::test]
async fn an_attempt_continues_the_trace_of_the_request_that_enqueued_it() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let worker = house.worker(&quick(), kind);
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace_id}-00f067aa0ba902b7-01");
    let body = r#"{"kind":"probe","payload":{"do":"succeed"}}"#;
    let fields = [("traceparent", traceparent.as_str())];
    let answer = worker.send(http::Method::POST, "/queues/default/jobs", &fields, body).await;
    assert_eq!(answer.fields["x-request-id"], trace_id);
    assert_eq!(json_of(&answer)["trace_id"], trace_id);
    assert_eq!(watch.next().await, Event::Started { attempt: 1, trace_id: trace_id.to_owned() });
}

#[tokio::test]
async fn a_delayed_job_does_not_run_before_its_time() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let worker = house.worker(&quick(), kind);
    let later = json!({"kind": "probe", "payload": {"do": "succeed"}, "delay": "1h"});
    let soon = json!({"kind": "probe", "payload": {"do": "succeed"}, "delay": "300ms"});
    let later = worker.enqueue("default", &later).await;
    let soon = worker.enqueue("default", &soon).await;
    assert_eq!((&later["state"], &soon["state"]), (&json!("scheduled"), &json!("scheduled")));
    let ended = worker.final_job(&id_of(&soon)).await;
    assert_eq!(ended["state"], "succeeded");
    assert!(time(&ended["updated_at"]) >= time(&soon["run_at"]), "{ended}");
    watch.started().await;
    assert!(watch.is_quiet(), "only the one that was due has run");
    assert_eq!(worker.job(&id_of(&later)).await["state"], "scheduled");
}

#[tokio::test]
async fn a_failing_job_is_tried_again_until_it_is_dead_and_may_be_retried_by_hand() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let worker = house.worker(&quick(), kind);
    let job = json!({"kind": "probe", "payload": {"do": "fail"}, "max_attempts": 3});
    let id = id_of(&worker.enqueue("default", &job).await);
    let dead = worker.final_job(&id).await;
    assert_eq!((&dead["state"], &dead["attempt"]), (&json!("dead"), &json!(3)));
    assert_eq!(dead["error"], "told to fail");
    for attempt in 1..=3 {
        assert_eq!(watch.started().await, attempt);
    }
    assert_eq!(worker.post(&format!("/jobs/{id}:retry"), &json!({})).await.status, 200);
    assert_eq!(watch.started().await, 1, "attempts start afresh");
}

#[tokio::test]
async fn a_failure_that_would_happen_again_is_not_repeated() {
    let mut house = House::start().await;
    let (kind, _watch) = probe();
    let worker = house.worker(&quick(), kind);
    let dead = worker.final_job(&worker.probe("never").await).await;
    assert_eq!((&dead["state"], &dead["attempt"]), (&json!("dead"), &json!(1)));
}

#[tokio::test]
async fn canceling_a_running_job_stops_its_attempt() {
    let mut house = House::start().await;
    let (kind, mut watch) = probe();
    let worker = house.worker(&quick(), kind);
    let id = worker.probe("wait").await;
    watch.started().await;
    let canceled = worker.post(&format!("/jobs/{id}:cancel"), &json!({})).await;
    assert_eq!((canceled.status.as_u16(), &json_of(&canceled)["state"]), (200, &json!("canceled")));
    assert_eq!(watch.next().await, Event::Stopped);
    assert_eq!(worker.job(&id).await["state"], "canceled");
    let again = worker.post(&format!("/jobs/{id}:cancel"), &json!({})).await;
    assert_eq!(again.status, 409, "{again:?}");
}

#[tokio::test]
async fn a_job_of_a_kind_nobody_knows_dies_and_says_so() {
    let mut house = House::start().await;
    let (kind, _watch) = probe();
    let worker = house.worker(&quick(), kind);
    // Past the API, as a service enqueues in its own transaction.
    let mut job = database::NewJob::new("default", "reprot", json!({}));
    job.max_attempts = Some(2);
    let operations = vec![database::Operation::Enqueue { job }];
    let transaction = database::Transaction { namespace: "catalog".into(), operations };
    let committed = house.database.transact(transaction).await.unwrap();
    let Some(database::Outcome::Enqueued { job }) = committed.outcomes.first() else {
        panic!("{committed:?}")
    };
    let dead = worker.final_job(&job.id).await;
    assert_eq!((&dead["state"], &dead["attempt"]), (&json!("dead"), &json!(2)));
    assert_eq!(dead["error"], "this worker has no kind `reprot`");
}
