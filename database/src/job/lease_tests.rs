//! The moves of a job against what must hold whatever the order of commands.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use super::*;
use crate::NewJob;

const RULE: Backoff = Backoff { base: Duration::from_secs(1), limit: Duration::from_secs(60) };
const LEASE: Duration = Duration::from_secs(30);

fn job(max_attempts: u32) -> Job {
    let new = NewJob { max_attempts: Some(max_attempts), ..NewJob::new("mail", "send", json!({})) };
    new.into_job("orders", time::now())
}

#[test]
fn the_second_holder_s_token_shuts_out_the_first() {
    let now = time::now();
    let mut rng = StdRng::seed_from_u64(1);
    let mut job = job(3);
    begin(&mut job, LEASE, now);
    let first = job.lease_token;
    expire(&mut job, &RULE, now, &mut rng);
    begin(&mut job, LEASE, now);
    let refused = Err(Error::LeaseLost { id: job.id.clone() });
    assert_eq!(succeed(&mut job, first, &json!(1), now), refused);
    assert_eq!(extend(&mut job, first, LEASE, None, now), refused);
    assert_eq!(fail(&mut job, first, "late", Retry::Never, &RULE, now, &mut rng), refused);
    let second = job.lease_token;
    assert_eq!(succeed(&mut job, second, &json!(2), now), Ok(()));
    assert_eq!(job.result, Some(json!(2)));
}

#[test]
fn an_attempt_that_killed_its_worker_counts() {
    let now = time::now();
    let mut job = job(2);
    for expected in [JobState::Scheduled, JobState::Dead] {
        begin(&mut job, LEASE, now);
        expire(&mut job, &RULE, now, &mut StdRng::seed_from_u64(1));
        assert_eq!(job.state, expected);
    }
    assert_eq!(job.attempt, 2);
}

#[test]
fn a_failure_that_would_repeat_spends_all_attempts_at_once() {
    let now = time::now();
    let mut job = job(5);
    begin(&mut job, LEASE, now);
    fail(&mut job, 1, "no such thing", Retry::Never, &RULE, now, &mut StdRng::seed_from_u64(1)).unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Dead, 1));
}

proptest! {
    #[test]
    fn whatever_happens_tokens_grow_and_attempts_stay_within_bounds(
        moves in prop::collection::vec((0u8..7, any::<bool>()), 0..60), seed: u64,
    ) {
        let now = time::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut job = job(3);
        for (chosen, holds) in moves {
            let before = job.clone();
            let token = if holds { job.lease_token } else { job.lease_token.wrapping_sub(1) };
            let leased = job.state == JobState::Leased;
            let waits = matches!(job.state, JobState::Scheduled | JobState::Ready);
            let done = match chosen {
                0 if waits => { begin(&mut job, LEASE, now); Ok(()) }
                1 if leased => { expire(&mut job, &RULE, now, &mut rng); Ok(()) }
                2 => extend(&mut job, token, LEASE, Some(0.5), now),
                3 => succeed(&mut job, token, &json!(true), now),
                4 => fail(&mut job, token, "x", Retry::Backoff, &RULE, now, &mut rng),
                5 => cancel(&mut job, now),
                6 => retry(&mut job, now),
                _ => Ok(()),
            };
            if matches!(chosen, 2..=4) {
                prop_assert_eq!(done.is_ok(), leased && holds);
            }
            if done.is_err() {
                prop_assert_eq!(&job, &before);
            }
            prop_assert!(job.attempt <= job.max_attempts);
            prop_assert!(job.lease_token >= before.lease_token);
            prop_assert_eq!(job.lease_until.is_some(), job.state == JobState::Leased);
        }
    }
}
