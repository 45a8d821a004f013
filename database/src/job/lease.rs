//! How a job moves: pure decisions on a job, the time and a random source.
//!
//! The fencing token grows by one with every lease. A command that carries an older one, or one for a job
//! that is not leased, is refused, so a worker that lost its lease cannot touch what another took over.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;
use serde_json::Value;

use super::backoff::Backoff;
use super::{Job, JobState, Retry};
use crate::{Error, time};

/// What a job says whose worker let the lease run out.
const EXPIRED: &str = "the lease ran out: its worker died or stalled";

/// Gives a job to a worker: a new attempt under a new token.
pub(crate) fn begin(job: &mut Job, lease: Duration, now: Timestamp) {
    job.state = JobState::Leased;
    job.attempt = job.attempt.saturating_add(1);
    job.lease_token += 1;
    job.lease_until = Some(time::later(now, lease));
    job.progress = None;
    job.updated_at = now;
}

/// Keeps a lease.
pub(crate) fn extend(
    job: &mut Job,
    token: u64,
    lease: Duration,
    progress: Option<f64>,
    now: Timestamp,
) -> Result<(), Error> {
    check_holder(job, token)?;
    job.lease_until = Some(time::later(now, lease));
    job.progress = progress.or(job.progress);
    job.updated_at = now;
    Ok(())
}

/// Ends an attempt well.
pub(crate) fn succeed(job: &mut Job, token: u64, result: &Value, now: Timestamp) -> Result<(), Error> {
    check_holder(job, token)?;
    job.result = Some(result.clone());
    job.error = None;
    finish(job, JobState::Succeeded, now);
    Ok(())
}

/// Ends an attempt badly: the job waits for its next attempt or is dead.
pub(crate) fn fail(
    job: &mut Job,
    token: u64,
    error: &str,
    retry: Retry,
    backoff: &Backoff,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Result<(), Error> {
    check_holder(job, token)?;
    job.error = Some(error.to_owned());
    let next_run = match retry {
        _ if job.attempt >= job.max_attempts => None,
        Retry::Never => None,
        Retry::AfterMs(wait_ms) => Some(time::later(now, Duration::from_millis(wait_ms))),
        Retry::Backoff => Some(backoff.next_run(job.attempt, now, rng)),
    };
    match next_run {
        Some(run_at) => wait(job, run_at, now),
        None => finish(job, JobState::Dead, now),
    }
    Ok(())
}

/// Ends the attempt of a worker that let its lease run out; the attempt counts.
pub(crate) fn expire(job: &mut Job, backoff: &Backoff, now: Timestamp, rng: &mut impl Rng) {
    job.error = Some(EXPIRED.to_owned());
    if job.attempt >= job.max_attempts {
        finish(job, JobState::Dead, now);
    } else {
        wait(job, backoff.next_run(job.attempt, now, rng), now);
    }
}

/// Calls a job off.
pub(crate) fn cancel(job: &mut Job, now: Timestamp) -> Result<(), Error> {
    if job.state.is_final() {
        return Err(wrong_state(job));
    }
    finish(job, JobState::Canceled, now);
    Ok(())
}

/// Makes a dead or canceled job ready again.
pub(crate) fn retry(job: &mut Job, now: Timestamp) -> Result<(), Error> {
    if !matches!(job.state, JobState::Dead | JobState::Canceled) {
        return Err(wrong_state(job));
    }
    job.attempt = 0;
    job.progress = None;
    wait(job, now, now);
    Ok(())
}

fn check_holder(job: &Job, token: u64) -> Result<(), Error> {
    match job.state == JobState::Leased && job.lease_token == token {
        true => Ok(()),
        false => Err(Error::LeaseLost { id: job.id.clone() }),
    }
}

fn wait(job: &mut Job, run_at: Timestamp, now: Timestamp) {
    job.state = if run_at > now { JobState::Scheduled } else { JobState::Ready };
    job.run_at = run_at;
    job.lease_until = None;
    job.updated_at = now;
}

fn finish(job: &mut Job, state: JobState, now: Timestamp) {
    job.state = state;
    job.lease_until = None;
    job.updated_at = now;
}

fn wrong_state(job: &Job) -> Error {
    Error::WrongState { id: job.id.clone(), state: job.state.to_string() }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
