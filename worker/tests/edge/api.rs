//! The queue API: what it refuses, what it lists, and leases for workers outside.

use http::Method;
use process::{ClusterToken, Secret};
use serde_json::{Value, json};
use worker::{Config, Kinds};

use crate::house::{House, id_of, json_of, quick, until};
use crate::probe::probe;

fn problem(name: &str) -> Value {
    json!(format!("urn:sixfold:problem:{name}"))
}

#[tokio::test]
async fn an_invalid_job_is_refused_with_the_place_of_its_fault() {
    let mut house = House::start().await;
    let worker = built_in(&mut house);
    let report = json!({"service": "catalog", "collection": "products", "group_by": "name"});
    let cases = [
        (json!({"payload": report}), ""),
        (json!({"kind": "a kind", "payload": {}}), "/kind"),
        (json!({"kind": "reprot", "payload": report}), "/kind"),
        (json!({"kind": "report", "payload": {"service": "catalog"}}), "/payload"),
        (json!({"kind": "report", "payload": {"service": 5}}), "/payload/service"),
        (
            json!({"kind": "report", "payload": {"service": "accounts", "collection": "users", "group_by": "x"}}),
            "/payload/service",
        ),
        (json!({"kind": "report", "payload": report, "delay": 30}), "/delay"),
        (
            json!({"kind": "report", "payload": report, "delay": "1s", "run_at": "2030-01-01T00:00:00Z"}),
            "/delay",
        ),
        (json!({"kind": "report", "payload": report, "max_attempts": 0}), "/max_attempts"),
        (json!({"kind": "http", "payload": {"service": "nobody", "path": "/"}}), "/payload/service"),
    ];
    for (job, pointer) in cases {
        let answer = worker.post("/queues/default/jobs", &job).await;
        let document = json_of(&answer);
        assert_eq!((answer.status.as_u16(), &document["type"]), (422, &problem("invalid-body")), "{job}");
        assert_eq!(document["errors"][0]["pointer"], pointer, "{document}");
    }
    let figures = json_of(&worker.get("/queues").await);
    assert!(
        figures["queues"].as_array().unwrap().iter().all(|queue| queue["queue"] != "default"),
        "{figures}"
    );
}

#[tokio::test]
async fn a_request_that_means_nothing_is_answered_with_a_problem() {
    let mut house = House::start().await;
    let worker = built_in(&mut house);
    let absent = "/jobs/0190a6f0-0000-7000-8000-000000000000";
    let big = format!("\"{}\"", "x".repeat(2 << 20));
    let cases = [
        (Method::POST, "/queues/default/jobs".to_owned(), "{", 400, "malformed-request"),
        (Method::POST, "/queues/default/jobs".to_owned(), big.as_str(), 413, "body-too-large"),
        (Method::GET, absent.to_owned(), "", 404, "not-found"),
        (Method::GET, "/jobs/7".to_owned(), "", 404, "not-found"),
        (Method::GET, format!("{absent}?wait=5"), "", 400, "malformed-request"),
        (Method::GET, format!("{absent}?wiat=5s"), "", 400, "malformed-request"),
        (Method::GET, "/queues/default/jobs?state=lost".to_owned(), "", 400, "malformed-request"),
        (Method::GET, "/queues/default/jobs?after=zzz".to_owned(), "", 400, "malformed-request"),
        (Method::GET, "/queues/default/jobs?limit=0".to_owned(), "", 400, "malformed-request"),
        (Method::POST, format!("{absent}:cancel"), "", 404, "not-found"),
        (Method::POST, format!("{absent}:explode"), "", 404, "not-found"),
        (Method::POST, absent.to_owned(), "", 404, "not-found"),
        (Method::DELETE, absent.to_owned(), "", 405, "method-not-allowed"),
        (Method::GET, "/nothing".to_owned(), "", 404, "not-found"),
    ];
    for (method, path, body, status, name) in cases {
        let answer = worker.send(method, &path, &[], body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {answer:?}");
        assert_eq!(json_of(&answer)["type"], problem(name), "{path}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("deserialize") && !text.contains("variant"), "{text}");
    }
}

#[tokio::test]
async fn a_number_that_is_out_of_range_is_told_with_its_place() {
    let mut house = House::start().await;
    let worker = built_in(&mut house);
    let absent = "/jobs/0190a6f0-0000-7000-8000-000000000000";
    let cases = [
        (
            "/queues/outside/jobs".to_owned(),
            r#"{"kind": "x", "payload": {"a/b": [0, 1e400]}}"#,
            "/payload/a~1b/1",
        ),
        ("/queues/outside:lease".to_owned(), r#"{"limit": 1e400}"#, "/limit"),
        (format!("{absent}:ack"), r#"{"lease_token": 1, "result": -1e400}"#, "/result"),
        (format!("{absent}:extend"), r#"{"lease_token": 1, "progress": 1e999}"#, "/progress"),
    ];
    for (path, body, pointer) in cases {
        let answer = worker.send(Method::POST, &path, &[], body).await;
        let document = json_of(&answer);
        assert_eq!(
            (answer.status.as_u16(), &document["type"]),
            (400, &problem("malformed-request")),
            "{body}"
        );
        assert!(document["detail"].as_str().unwrap().starts_with("a number is out of range: "), "{document}");
        assert_eq!(document["errors"][0]["pointer"], pointer, "{document}");
    }
}

#[tokio::test]
async fn a_body_in_a_coding_is_refused_by_every_action() {
    let mut house = House::start().await;
    let worker = built_in(&mut house);
    let absent = "/jobs/0190a6f0-0000-7000-8000-000000000000";
    for path in
        ["/queues/outside/jobs", "/queues/outside:lease", &format!("{absent}:ack"), &format!("{absent}:fail")]
    {
        let body = "{\"kind\": \"x\"}";
        let answer = worker.send(Method::POST, path, &[("content-encoding", "gzip")], body).await;
        assert_eq!(
            (answer.status.as_u16(), &json_of(&answer)["type"]),
            (415, &problem("unsupported-coding"))
        );
        assert_eq!(answer.fields["accept-encoding"], "identity");
    }
    let jobs = json_of(&worker.get("/queues/outside/jobs").await);
    assert_eq!(jobs["jobs"], json!([]), "nothing was enqueued");
}

#[tokio::test]
async fn without_the_cluster_token_only_health_is_answered() {
    let mut house = House::start().await;
    let token = ClusterToken::new(Some(Secret::new("right")));
    let kinds = Kinds::new(Vec::new());
    let bound = worker::bind_with_kinds(&quick(), kinds, house.database.clone(), &token).unwrap();
    let worker = house.run_worker(bound);
    assert_eq!(worker.get("/queues").await.status, 401);
    assert_eq!(worker.post("/queues/default/jobs", &json!({"kind": "x"})).await.status, 401);
    let right = [("sixfold-token", "right")];
    assert_eq!(worker.send(Method::GET, "/queues", &right, "").await.status, 200);
    until("the worker is ready", async || worker.get("/health").await.status == 200).await;
}

#[tokio::test]
async fn jobs_are_listed_newest_first_and_counted() {
    let mut house = House::start().await;
    let (kind, _watch) = probe();
    let worker = house.worker(&quick(), kind);
    let mut ids = Vec::new();
    for number in 0..3 {
        let job = json!({"kind": "anything", "payload": number});
        ids.push(id_of(&worker.enqueue("outside", &job).await));
    }
    let first = json_of(&worker.get("/queues/outside/jobs?state=ready&limit=2").await);
    let next = first["next"].as_str().expect("there is more");
    let second = json_of(&worker.get(&format!("/queues/outside/jobs?limit=2&after={next}")).await);
    let listed: Vec<String> =
        [&first, &second].iter().flat_map(|page| page["jobs"].as_array().unwrap()).map(id_of).collect();
    ids.reverse();
    assert_eq!(listed, ids);
    assert_eq!(second.get("next"), None);
    let figures = json_of(&worker.get("/queues").await);
    let outside = figures["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == "outside");
    let outside = outside.expect("the queue is counted");
    assert_eq!((&outside["ready"], &outside["leased"]), (&json!(3), &json!(0)));
    assert!(outside["oldest_ready_seconds"].is_number());
}

#[tokio::test]
async fn a_worker_outside_leases_a_job_and_only_the_newest_lease_may_end_it() {
    let mut house = House::start().await;
    let (kind, _watch) = probe();
    let worker = house.worker(&quick(), kind);
    let id = id_of(&worker.enqueue("outside", &json!({"kind": "anything", "payload": {"n": 1}})).await);
    assert_eq!(worker.job(&id).await.get("lease_token"), None, "only who leases is told the token");

    let lease = json!({"lease": "1ms"});
    let first = json_of(&worker.post("/queues/outside:lease", &lease).await)["jobs"][0].clone();
    assert_eq!((&first["id"], &first["payload"]), (&json!(id), &json!({"n": 1})));
    let lease = json!({"lease": "1m", "wait": "20s"});
    let second = json_of(&worker.post("/queues/outside:lease", &lease).await)["jobs"][0].clone();
    assert_eq!((&second["id"], &second["attempt"]), (&json!(id), &json!(2)), "the first lease has lapsed");

    for action in ["ack", "fail", "extend"] {
        let body = json!({"lease_token": first["lease_token"], "error": "late"});
        let body = if action == "fail" { body } else { json!({"lease_token": first["lease_token"]}) };
        let refused = worker.post(&format!("/jobs/{id}:{action}"), &body).await;
        assert_eq!((refused.status.as_u16(), &json_of(&refused)["type"]), (409, &problem("lease-lost")));
    }
    let extend = json!({"lease_token": second["lease_token"], "lease": "2m", "progress": 0.25});
    let extended = json_of(&worker.post(&format!("/jobs/{id}:extend"), &extend).await);
    assert_eq!((&extended["state"], &extended["progress"]), (&json!("leased"), &json!(0.25)));
    let ack = json!({"lease_token": second["lease_token"], "result": {"ok": true}});
    let ended = json_of(&worker.post(&format!("/jobs/{id}:ack"), &ack).await);
    assert_eq!((&ended["state"], &ended["result"]), (&json!("succeeded"), &json!({"ok": true})));
    let none = json_of(&worker.post("/queues/outside:lease", &json!({})).await);
    assert_eq!(none["jobs"], json!([]));
}

fn built_in(house: &mut House) -> crate::house::Worker {
    let config = Config { closed_namespaces: vec!["accounts".into()], ..quick() };
    crate::kinds::worker_with_kinds(house, &config)
}

#[tokio::test]
async fn a_wrong_credential_is_the_reason_the_health_gives() {
    let mut house = House::start().await;
    let data = tempfile::TempDir::new().unwrap();
    let config = database::Config { listen: "127.0.0.1:0".into(), ..database::Config::default() };
    let token = ClusterToken::new(Some(Secret::new("house")));
    let guarded = database::bind(&config, data.path(), &token).unwrap();
    let address = guarded.address().unwrap().to_string();
    house.spawn(guarded, process::Shutdown::new(crate::house::GRACE));
    let mistyped = database::Remote::new(&address, Some(Secret::new("mistyped")));
    let (kind, _watch) = probe();
    let worker = house.worker_with(&quick(), kind, database::Database::Remote(mistyped));
    until("the refusal", async || {
        json_of(&worker.get("/health").await)["reason"] == "the database refuses this credential"
    })
    .await;
}
