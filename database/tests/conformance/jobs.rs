//! Jobs: leased once at a time, fenced, repeated until their attempts are spent.

use std::time::Duration;

use database::job::{JobFilter, Retry};
use database::{Database, Error, Job, JobCommand, JobState, NewJob};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{add_job, claim, fail, of_queue, succeed};

crate::on_every_handle! {
    a_job_goes_from_ready_to_succeeded
    a_failed_job_runs_again_until_its_attempts_are_spent
    a_failure_that_would_repeat_ends_the_job
    a_lost_lease_shuts_its_worker_out
    a_job_that_kills_its_workers_ends_dead
    an_extended_lease_holds
    a_delayed_job_waits_for_its_time
    a_canceled_job_is_not_run_and_a_retried_one_is
    a_waiting_claim_is_woken_by_a_new_job
    each_job_is_claimed_by_one_of_many_workers
    a_waiting_look_ends_when_the_job_does
    jobs_are_listed_newest_first
    queues_tell_how_full_they_are
    what_is_not_there_or_not_valid_is_said
}

/// A lease no test outlives, and a wait no test should need, in milliseconds.
const LONG: u64 = 20_000;

fn new() -> NewJob {
    NewJob::new("mail", "send", json!({"to": "a@b"}))
}

fn lost(job: &Job) -> Result<Vec<Job>, Error> {
    Err(Error::LeaseLost { id: job.id.clone() })
}

async fn a_job_goes_from_ready_to_succeeded(database: &Database) {
    let job = add_job(database, new()).await;
    assert_eq!((job.state, job.attempt, job.lease_token), (JobState::Ready, 0, 0));
    assert_eq!(database.job(&job.id).await.unwrap(), job);
    let leased = claim(database, "mail", LONG, 0).await.unwrap();
    assert_eq!((leased.id.as_str(), leased.state, leased.attempt), (job.id.as_str(), JobState::Leased, 1));
    assert_eq!(leased.payload, json!({"to": "a@b"}));
    assert_eq!(claim(database, "mail", LONG, 0).await, None, "it is leased already");
    assert_eq!(claim(database, "sms", LONG, 0).await, None, "it is in another queue");
    let done = succeed(database, &leased).await.unwrap().remove(0);
    assert_eq!((done.state, &done.result), (JobState::Succeeded, &Some(json!({"ok": true}))));
    assert_eq!(database.job(&job.id).await.unwrap(), done);
    assert_eq!(succeed(database, &leased).await, lost(&job));
}

async fn a_failed_job_runs_again_until_its_attempts_are_spent(database: &Database) {
    let job = add_job(database, NewJob { max_attempts: Some(3), ..new() }).await;
    for attempt in 1..=3 {
        let leased = claim(database, "mail", LONG, LONG).await.unwrap();
        assert_eq!((leased.attempt, leased.lease_token), (attempt, u64::from(attempt)));
        fail(database, &leased, Retry::Backoff).await.unwrap();
    }
    let dead = database.job(&job.id).await.unwrap();
    assert_eq!((dead.state, dead.error.as_deref()), (JobState::Dead, Some("no route")));
    assert_eq!(claim(database, "mail", LONG, 20).await, None);
}

async fn a_failure_that_would_repeat_ends_the_job(database: &Database) {
    add_job(database, new()).await;
    let leased = claim(database, "mail", LONG, 0).await.unwrap();
    let dead = fail(database, &leased, Retry::Never).await.unwrap().remove(0);
    assert_eq!((dead.state, dead.attempt), (JobState::Dead, 1));
    add_job(database, new()).await;
    let leased = claim(database, "mail", LONG, 0).await.unwrap();
    let later = fail(database, &leased, Retry::AfterMs(3_600_000)).await.unwrap().remove(0);
    assert_eq!(later.state, JobState::Scheduled);
    assert!(later.run_at.duration_since(later.updated_at).as_secs() == 3600);
}

async fn a_lost_lease_shuts_its_worker_out(database: &Database) {
    let job = add_job(database, new()).await;
    let first = claim(database, "mail", 1, 0).await.unwrap();
    let second = claim(database, "mail", LONG, LONG).await.unwrap();
    assert_eq!((second.id.as_str(), second.attempt), (job.id.as_str(), 2));
    assert!(second.lease_token > first.lease_token);
    assert_eq!(succeed(database, &first).await, lost(&job));
    assert_eq!(fail(database, &first, Retry::Backoff).await, lost(&job));
    assert_eq!(extend(database, &first, LONG).await, lost(&job));
    assert_eq!(succeed(database, &second).await.unwrap()[0].state, JobState::Succeeded);
}

async fn a_job_that_kills_its_workers_ends_dead(database: &Database) {
    let job = add_job(database, NewJob { max_attempts: Some(2), ..new() }).await;
    for attempt in 1..=2 {
        assert_eq!(claim(database, "mail", 1, LONG).await.unwrap().attempt, attempt);
    }
    let dead = database.job_when_final(&job.id, Duration::from_millis(LONG)).await.unwrap();
    assert_eq!((dead.state, dead.attempt), (JobState::Dead, 2));
    assert!(dead.error.unwrap().contains("lease ran out"));
}

async fn extend(database: &Database, job: &Job, lease_ms: u64) -> Result<Vec<Job>, Error> {
    let (id, lease_token) = (job.id.clone(), job.lease_token);
    database.command(&JobCommand::Extend { id, lease_token, lease_ms, progress: Some(0.5) }).await
}

async fn an_extended_lease_holds(database: &Database) {
    add_job(database, new()).await;
    let leased = claim(database, "mail", 2_000, 0).await.unwrap();
    let extended = extend(database, &leased, LONG).await.unwrap().remove(0);
    assert!(extended.lease_until > leased.lease_until);
    assert_eq!((extended.progress, extended.lease_token), (Some(0.5), leased.lease_token));
    succeed(database, &leased).await.unwrap();
}

async fn a_delayed_job_waits_for_its_time(database: &Database) {
    let run_at = Timestamp::now() + Duration::from_millis(500);
    let job = add_job(database, NewJob { run_at: Some(run_at), ..new() }).await;
    assert_eq!(job.state, JobState::Scheduled);
    let leased = claim(database, "mail", LONG, LONG).await.unwrap();
    assert!(leased.updated_at >= leased.run_at, "{} before {}", leased.updated_at, leased.run_at);
}

async fn a_canceled_job_is_not_run_and_a_retried_one_is(database: &Database) {
    let job = add_job(database, new()).await;
    let id = job.id.clone();
    let cancel = JobCommand::Cancel { id: id.clone() };
    let retry = JobCommand::Retry { id: id.clone() };
    let wrong = |state: &str| Err(Error::WrongState { id: id.clone(), state: state.into() });
    assert_eq!(database.command(&retry).await, wrong("ready"));
    let leased = claim(database, "mail", LONG, 0).await.unwrap();
    assert_eq!(database.command(&cancel).await.unwrap()[0].state, JobState::Canceled);
    assert_eq!(succeed(database, &leased).await, lost(&job));
    assert_eq!(database.command(&cancel).await, wrong("canceled"));
    assert_eq!(claim(database, "mail", LONG, 0).await, None);
    let again = database.command(&retry).await.unwrap().remove(0);
    assert_eq!((again.state, again.attempt), (JobState::Ready, 0));
    let leased_again = claim(database, "mail", LONG, 0).await.unwrap();
    assert!(leased_again.lease_token > leased.lease_token);
    assert_eq!(succeed(database, &leased).await, lost(&job));
}

async fn a_waiting_claim_is_woken_by_a_new_job(database: &Database) {
    let started = std::time::Instant::now();
    let (leased, job) = tokio::join!(claim(database, "mail", LONG, LONG), add_job(database, new()));
    assert_eq!(leased.unwrap().id, job.id);
    assert!(started.elapsed() < Duration::from_millis(LONG), "the wait ended by itself");
}

async fn each_job_is_claimed_by_one_of_many_workers(database: &Database) {
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let database = database.clone();
        workers.spawn(async move {
            let mut done = Vec::new();
            while let Some(job) = claim(&database, "mail", LONG, 500).await {
                succeed(&database, &job).await.unwrap();
                done.push(job.id);
            }
            done
        });
    }
    let mut added = Vec::new();
    for _ in 0..50 {
        added.push(add_job(database, new()).await.id);
    }
    let mut done: Vec<String> = workers.join_all().await.concat();
    done.sort();
    added.sort();
    assert_eq!(done, added);
}

async fn a_waiting_look_ends_when_the_job_does(database: &Database) {
    let job = add_job(database, new()).await;
    let at_once = database.job_when_final(&job.id, Duration::from_millis(20)).await.unwrap();
    assert_eq!(at_once.state, JobState::Ready);
    let started = std::time::Instant::now();
    let leased = claim(database, "mail", LONG, 0).await.unwrap();
    let (looked, _) = tokio::join!(
        database.job_when_final(&job.id, Duration::from_millis(LONG)),
        succeed(database, &leased)
    );
    assert_eq!(looked.unwrap().state, JobState::Succeeded);
    assert!(started.elapsed() < Duration::from_millis(LONG), "the wait ended by itself");
}

async fn jobs_are_listed_newest_first(database: &Database) {
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, add_job(database, new()).await.id);
    }
    let listed = |filter: JobFilter| async move {
        let page = database.jobs(&filter).await.unwrap();
        (page.jobs.into_iter().map(|job| job.id).collect::<Vec<_>>(), page.next)
    };
    let (first, next) = listed(JobFilter { limit: Some(3), ..of_queue("mail") }).await;
    assert_eq!((first.as_slice(), next.as_ref()), (&ids[..3], Some(&ids[2])));
    let (rest, next) = listed(JobFilter { after: next, ..of_queue("mail") }).await;
    assert_eq!((rest.as_slice(), next), (&ids[3..], None));
    let leased = claim(database, "mail", LONG, 0).await.unwrap();
    assert_eq!(leased.id, ids[4], "the oldest is claimed first");
    for (state, count) in [(JobState::Leased, 1), (JobState::Ready, 4), (JobState::Dead, 0)] {
        let (found, _) = listed(JobFilter { state: Some(state), ..of_queue("mail") }).await;
        assert_eq!(found.len(), count, "{state}");
    }
    let (found, _) = listed(JobFilter { namespace: Some("other".into()), ..JobFilter::default() }).await;
    assert_eq!(found.len(), 0);
}

async fn queues_tell_how_full_they_are(database: &Database) {
    assert_eq!(database.queues().await.unwrap(), []);
    let later = Timestamp::now() + Duration::from_secs(3600);
    add_job(database, NewJob { run_at: Some(later), ..new() }).await;
    for _ in 0..3 {
        add_job(database, new()).await;
    }
    let leased = claim(database, "mail", LONG, 0).await.unwrap();
    fail(database, &leased, Retry::Never).await.unwrap();
    claim(database, "mail", LONG, 0).await.unwrap();
    let queue = database.queues().await.unwrap().remove(0);
    assert_eq!(queue.queue, "mail");
    assert_eq!((queue.scheduled, queue.ready, queue.leased, queue.dead), (1, 1, 1, 1));
    assert!(queue.oldest_ready.is_some());
}

async fn what_is_not_there_or_not_valid_is_said(database: &Database) {
    let missing = database.job("no such job").await.unwrap_err();
    assert_eq!(missing, Error::NotFound { what: "job no such job".into() });
    let cancel = JobCommand::Cancel { id: "no such job".into() };
    assert!(matches!(database.command(&cancel).await, Err(Error::NotFound { .. })));
    let claim = |queues: &[&str], limit, lease_ms| JobCommand::Claim {
        queues: queues.iter().map(ToString::to_string).collect(),
        limit,
        lease_ms,
        wait_ms: 0,
    };
    for command in [claim(&[], 1, 1), claim(&["a b"], 1, 1), claim(&["a"], 0, 1), claim(&["a"], 1, 0)] {
        assert!(matches!(database.command(&command).await, Err(Error::Invalid { .. })), "{command:?}");
    }
    assert_eq!(Value::Null, add_job(database, NewJob { payload: Value::Null, ..new() }).await.payload);
}
