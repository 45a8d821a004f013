//! Jobs as rows: one job read and written back, and the listings.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde::de::DeserializeOwned;

use super::group::Moment;
use super::words::read_word;
use crate::engine::filling::Filling;
use crate::engine::numbers::{number, stored};
use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::{Error, Job, JobState, time};

macro_rules! columns {
    () => {
        "id, namespace, queue, kind, state, attempt, max_attempts, payload, result, error, progress, \
         lease_token, lease_until, run_at, created_at, updated_at, traceparent"
    };
}

/// What [`read`] reads.
pub(super) const COLUMNS: &str = columns!();
pub(super) const INSERT: &str = concat!(
    "INSERT INTO jobs (",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
);
pub(super) const GET: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = ?1");
pub(super) const UPDATE: &str = "UPDATE jobs SET state = ?2, attempt = ?3, result = ?4, error = ?5, \
    progress = ?6, lease_token = ?7, lease_until = ?8, run_at = ?9, updated_at = ?10 WHERE id = ?1";
pub(super) const FIGURES_WAITING: &str = "SELECT queue, sum(run_at > ?1), sum(run_at <= ?1), min(run_at) \
    FROM jobs WHERE state = 'waiting' GROUP BY queue";
// Left alone, the planner walks all jobs of all queues in order to save sorting the few that are leased.
pub(super) const FIGURES_LEASED: &str =
    "SELECT queue, count(*) FROM jobs INDEXED BY jobs_leased WHERE state = 'leased' GROUP BY queue";
pub(super) const FIGURES_DEAD: &str = "SELECT queue, count(*) FROM jobs WHERE state = 'dead' GROUP BY queue";

/// Puts a new job into its queue.
pub(super) fn insert(moment: &mut Moment<'_>, job: &Job) -> Result<(), Error> {
    insert_row(moment.connection, job)?;
    moment.effects.moved(job);
    Ok(())
}

/// Writes a job as it stands.
pub(super) fn insert_row(connection: &Connection, job: &Job) -> Result<(), Error> {
    connection.prepare_cached(INSERT)?.execute(params![
        job.id,
        job.namespace,
        job.queue,
        job.kind,
        job.state.stored(),
        job.attempt,
        job.max_attempts,
        job.payload.to_string(),
        job.result.as_ref().map(ToString::to_string),
        job.error,
        job.progress,
        stored(job.lease_token),
        job.lease_until.map(time::to_stored),
        time::to_stored(job.run_at),
        time::to_stored(job.created_at),
        time::to_stored(job.updated_at),
        job.traceparent,
    ])?;
    Ok(())
}

/// Writes back a job that was moved.
pub(super) fn update(moment: &mut Moment<'_>, job: &Job) -> Result<(), Error> {
    moment.connection.prepare_cached(UPDATE)?.execute(params![
        job.id,
        job.state.stored(),
        job.attempt,
        job.result.as_ref().map(ToString::to_string),
        job.error,
        job.progress,
        stored(job.lease_token),
        job.lease_until.map(time::to_stored),
        time::to_stored(job.run_at),
        time::to_stored(job.updated_at),
    ])?;
    moment.effects.moved(job);
    Ok(())
}

/// Finds a job.
pub(super) fn get(connection: &Connection, id: &str, now: Timestamp) -> Result<Job, Error> {
    let found = connection.prepare_cached(GET)?.query_row([id], |row| read(row, now)).optional()?;
    found.map(|(job, _)| job).ok_or_else(|| Error::no_job(id))
}

/// Lists jobs, newest first.
pub(super) fn list(connection: &Connection, filter: &JobFilter, now: Timestamp) -> Result<JobPage, Error> {
    let limit = filter.limit();
    let (now_stored, one_more) = (time::to_stored(now), i64::from(limit) + 1);
    // Conditions are written out only where they apply, so that each combination finds its index.
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":limit", &one_more)];
    if let Some(namespace) = &filter.namespace {
        conditions.push("namespace = :namespace".into());
        values.push((":namespace", namespace));
    }
    if let Some(queue) = &filter.queue {
        conditions.push("queue = :queue".into());
        values.push((":queue", queue));
    }
    if let Some(after) = &filter.after {
        conditions.push("id < :after".into());
        values.push((":after", after));
    }
    if let Some(state) = filter.state {
        conditions.push(state.condition(":now"));
        if matches!(state, JobState::Scheduled | JobState::Ready) {
            values.push((":now", &now_stored));
        }
    }
    let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    let sql = format!("SELECT {} FROM jobs WHERE {condition} ORDER BY id DESC LIMIT :limit", columns!());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(values.as_slice())?;
    let mut filling = Filling::new(limit);
    while let Some(row) = rows.next()? {
        let (job, size) = read(row, now)?;
        if filling.take(job, size).is_break() {
            break;
        }
    }
    let (jobs, next) = filling.finish_with(|job: &Job| &job.id);
    Ok(JobPage { jobs, next })
}

/// Tells how full each queue is that holds a job which has not ended well.
pub(super) fn figures(connection: &Connection, now: Timestamp) -> Result<Vec<QueueFigures>, Error> {
    let mut all = std::collections::BTreeMap::<String, QueueFigures>::new();
    let mut of = |queue: String, note: &dyn Fn(&mut QueueFigures)| {
        let empty = QueueFigures {
            queue: queue.clone(),
            scheduled: 0,
            ready: 0,
            leased: 0,
            dead: 0,
            oldest_ready: None,
        };
        note(all.entry(queue).or_insert(empty));
    };
    let mut waiting = connection.prepare_cached(FIGURES_WAITING)?;
    let mut rows = waiting.query([time::to_stored(now)])?;
    while let Some(row) = rows.next()? {
        let (scheduled, ready) = (number(row.get(1)?), number(row.get(2)?));
        let oldest = time::from_stored(row.get(3)?);
        let oldest_ready = (ready > 0).then(|| time::until(oldest, now));
        of(row.get(0)?, &|queue| {
            (queue.scheduled, queue.ready, queue.oldest_ready) = (scheduled, ready, oldest_ready);
        });
    }
    for (sql, is_dead) in [(FIGURES_LEASED, false), (FIGURES_DEAD, true)] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let count = number(row.get(1)?);
            of(row.get(0)?, &|queue| *(if is_dead { &mut queue.dead } else { &mut queue.leased }) = count);
        }
    }
    Ok(all.into_values().collect())
}

/// Reads a job and how many bytes its documents have.
pub(super) fn read(row: &Row<'_>, now: Timestamp) -> rusqlite::Result<(Job, usize)> {
    let run_at = time::from_stored(row.get(13)?);
    let state = read_word(row, 4, |word| JobState::from_stored(word, run_at <= now))?;
    let size = row.get_ref(7)?.as_str()?.len() + row.get_ref(8)?.as_str_or_null()?.map_or(0, str::len);
    let job = Job {
        id: row.get(0)?,
        namespace: row.get(1)?,
        queue: row.get(2)?,
        kind: row.get(3)?,
        state,
        attempt: row.get(5)?,
        max_attempts: row.get(6)?,
        payload: document(row, 7)?.unwrap_or_default(),
        result: document(row, 8)?,
        error: row.get(9)?,
        progress: row.get(10)?,
        lease_token: number(row.get(11)?),
        lease_until: row.get::<_, Option<i64>>(12)?.map(time::from_stored),
        run_at,
        created_at: time::from_stored(row.get(14)?),
        updated_at: time::from_stored(row.get(15)?),
        traceparent: row.get(16)?,
    };
    Ok((job, size))
}

fn document<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
    serde_json::from_str(text)
        .map(Some)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}
