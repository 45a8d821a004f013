//! Jobs as rows: read with the columns of `sql/get_job.sql`, written back a list a column.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;

use super::fault::Fault;
use crate::engine::numbers::{number, stored};
use crate::{Job, JobState};

/// Reads a job and how many bytes its documents have.
pub(super) fn read(row: &Row) -> Result<(Job, usize), Fault> {
    let payload: &str = row.try_get(7)?;
    let result: Option<&str> = row.try_get(8)?;
    let size = payload.len() + result.map_or(0, str::len);
    let count = |column| Ok::<_, Fault>(u32::try_from(row.try_get::<_, i64>(column)?).unwrap_or(u32::MAX));
    let job = Job {
        id: row.try_get(0)?,
        namespace: row.try_get(1)?,
        queue: row.try_get(2)?,
        kind: row.try_get(3)?,
        state: state(row.try_get(4)?)?,
        attempt: count(5)?,
        max_attempts: count(6)?,
        payload: document(payload)?,
        result: result.map(document).transpose()?,
        error: row.try_get(9)?,
        progress: row.try_get(10)?,
        lease_token: number(row.try_get(11)?),
        lease_until: row.try_get(12)?,
        run_at: row.try_get(13)?,
        created_at: row.try_get(14)?,
        updated_at: row.try_get(15)?,
        traceparent: row.try_get(16)?,
    };
    Ok((job, size))
}

/// Reads a state: of a waiting job the server says which it is.
fn state(word: &str) -> Result<JobState, Fault> {
    match word {
        "scheduled" => Ok(JobState::Scheduled),
        "ready" => Ok(JobState::Ready),
        stored => JobState::from_stored(stored, true).ok_or(Fault::Inconsistent("a job's state is unknown")),
    }
}

fn document<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|_| Fault::Inconsistent("a job's document is not JSON"))
}

/// Jobs that moved, a list a column, as `sql/update_jobs.sql` takes them.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) ids: Vec<String>,
    pub(super) states: Vec<&'static str>,
    pub(super) attempts: Vec<i64>,
    pub(super) results: Vec<Option<String>>,
    pub(super) errors: Vec<Option<String>>,
    pub(super) progress: Vec<Option<f64>>,
    pub(super) lease_tokens: Vec<i64>,
    pub(super) lease_until: Vec<Option<Timestamp>>,
    pub(super) run_at: Vec<Timestamp>,
}

impl Moved {
    pub(super) fn push(&mut self, job: &Job) {
        self.ids.push(job.id.clone());
        self.states.push(job.state.stored());
        self.attempts.push(job.attempt.into());
        self.results.push(job.result.as_ref().map(ToString::to_string));
        self.errors.push(job.error.clone());
        self.progress.push(job.progress);
        self.lease_tokens.push(stored(job.lease_token));
        self.lease_until.push(job.lease_until);
        self.run_at.push(job.run_at);
    }
}
