//! Everything that is sent, written.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;

use super::super::document::Document;
use super::super::session::Session;
use super::failed;
use crate::copy::{CopyError, Item};
use crate::engine::numbers::stored;
use crate::{Change, Committed, Earlier, Error, Job, Record, time};

const PUT_RECORDS: &str = include_str!("../sql/paste_records.sql");
const PUT_VERSIONS: &str = include_str!("../sql/paste_versions.sql");
const PUT_CHANGES: &str = include_str!("../sql/paste_changes.sql");
const PUT_JOBS: &str = include_str!("../sql/paste_jobs.sql");
const PUT_ANSWERS: &str = include_str!("../sql/keep_answers.sql");

/// Writes items, all of one kind; a chunk is small, so each is one statement.
pub(super) async fn paste(session: &Session, items: &[Item]) -> Result<(), CopyError> {
    let statements = items.iter().map(|item| paste_one(session, item));
    // They travel together.
    futures_util::future::try_join_all(statements).await?;
    Ok(())
}

async fn paste_one(session: &Session, item: &Item) -> Result<(), CopyError> {
    match item {
        Item::Record { namespace, record } => put_record(session, namespace, record).await,
        Item::Earlier { namespace, version } => put_version(session, namespace, version).await,
        Item::Change(change) => put_change(session, change).await,
        Item::Job(job) => put_job(session, job).await,
        Item::Answer { namespace, key, fingerprint, committed, expires_at } => {
            put_answer(session, (namespace, key), fingerprint, committed, *expires_at).await
        }
    }
}

async fn put_record(session: &Session, namespace: &str, record: &Record) -> Result<(), CopyError> {
    let Record { collection, id, version, created_at, updated_at, data, .. } = record;
    let Document { data, exact } = Document::of(data)?;
    let times = (time::to_stored(*created_at), time::to_stored(*updated_at));
    let values: [&(dyn ToSql + Sync); 8] =
        [&namespace, collection, id, &stored(*version), &times.0, &times.1, &data, &exact];
    session.execute(PUT_RECORDS, &values).await.map_err(failed)
}

async fn put_version(session: &Session, namespace: &str, version: &Earlier) -> Result<(), CopyError> {
    let Earlier { record, until } = version;
    let Record { collection, id, version, created_at, updated_at, data, .. } = record;
    let times = [created_at, updated_at, until].map(|time| time::to_stored(*time));
    let document = Document::of(data)?;
    let values: [&(dyn ToSql + Sync); 8] =
        [&namespace, collection, id, &stored(*version), &times[0], &times[1], &times[2], &document.text()];
    session.execute(PUT_VERSIONS, &values).await.map_err(failed)
}

async fn put_change(session: &Session, change: &Change) -> Result<(), CopyError> {
    let values: [&(dyn ToSql + Sync); 6] = [
        &stored(change.sequence),
        &change.namespace,
        &change.collection,
        &change.id,
        &change.kind.as_str(),
        &change.at,
    ];
    session.execute(PUT_CHANGES, &values).await.map_err(failed)
}

async fn put_job(session: &Session, job: &Job) -> Result<(), CopyError> {
    let result = job.result.as_ref().map(ToString::to_string);
    let values: [&(dyn ToSql + Sync); 17] = [
        &job.id,
        &job.namespace,
        &job.queue,
        &job.kind,
        &job.state.stored(),
        &i64::from(job.attempt),
        &i64::from(job.max_attempts),
        &job.payload.to_string(),
        &result,
        &job.error,
        &job.progress,
        &stored(job.lease_token),
        &job.lease_until,
        &job.run_at,
        &job.created_at,
        &job.updated_at,
        &job.traceparent,
    ];
    session.execute(PUT_JOBS, &values).await.map_err(failed)
}

async fn put_answer(
    session: &Session,
    (namespace, key): (&str, &str),
    fingerprint: &str,
    committed: &Committed,
    expires_at: Timestamp,
) -> Result<(), CopyError> {
    let committed =
        serde_json::to_string(committed).map_err(|error| Error::Storage { reason: error.to_string() })?;
    let values: [&(dyn ToSql + Sync); 5] =
        [&vec![namespace], &vec![key], &vec![fingerprint], &vec![committed], &vec![expires_at]];
    session.execute(PUT_ANSWERS, &values).await.map_err(failed)
}
