//! What a batch writes, a list a column, as its statements take it.

use std::collections::BTreeMap;

use tokio_postgres::types::ToSql;

use super::draft::{Draft, Key, Present, Step};
use super::fault::Fault;
use crate::change::ChangeKind;
use crate::engine::numbers::stored;
use crate::time;

const WRITE: &str = include_str!("sql/write_records.sql");
pub(super) const DELETE: &str = include_str!("sql/delete_records.sql");

/// The statements that write records.
pub(super) const STATEMENTS: [&str; 2] = [WRITE, DELETE];

/// Gives the columns that name records.
pub(super) fn columns<'a>(keys: &[Key<'a>]) -> [Vec<&'a str>; 3] {
    [
        keys.iter().map(|key| key.namespace).collect(),
        keys.iter().map(|key| key.collection).collect(),
        keys.iter().map(|key| key.id).collect(),
    ]
}

/// Rows of records that one statement writes or removes, a list a column.
pub(super) enum Write<'a> {
    Put {
        keys: [Vec<&'a str>; 3],
        versions: Vec<i64>,
        created_at: Vec<i64>,
        data: Vec<&'a str>,
        exact: Vec<Option<&'a str>>,
    },
    Delete([Vec<&'a str>; 3]),
}

impl<'a> Write<'a> {
    /// Writes the rows as the batch leaves them; what is removed first, so that its place is free.
    pub(super) fn together(draft: &'a Draft<'a>) -> Vec<Self> {
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (key, row) in draft.rows.iter().filter(|(_, row)| row.is_written) {
            match &row.present {
                Some(present) => kept.push((*key, present)),
                None if row.was_there => gone.push(*key),
                None => {}
            }
        }
        let deletes = (!gone.is_empty()).then(|| Self::Delete(columns(&gone)));
        let puts = (!kept.is_empty()).then(|| Self::put(&kept));
        deletes.into_iter().chain(puts).collect()
    }

    /// Writes the rows step by step.
    pub(super) fn each(draft: &'a Draft<'a>) -> Vec<Self> {
        let write = |step: &'a Step<'a>| match &step.present {
            Some(present) => Self::put(&[(step.key, present)]),
            None => Self::Delete(columns(&[step.key])),
        };
        draft.steps.iter().map(write).collect()
    }

    fn put(rows: &[(Key<'a>, &'a Present)]) -> Self {
        let document = |present: &'a Present| present.document.as_deref();
        Self::Put {
            keys: columns(&rows.iter().map(|(key, _)| *key).collect::<Vec<_>>()),
            versions: rows.iter().map(|(_, present)| stored(present.version)).collect(),
            created_at: rows.iter().map(|(_, present)| time::to_stored(present.created_at)).collect(),
            data: rows.iter().map(|(_, present)| document(present).map_or("{}", |one| &one.data)).collect(),
            exact: rows.iter().map(|(_, present)| document(present)?.exact.as_deref()).collect(),
        }
    }

    pub(super) fn statement<'b>(&'b self, now: &'b i64) -> (&'static str, Vec<&'b (dyn ToSql + Sync)>) {
        match self {
            Self::Put { keys, versions, created_at, data, exact } => {
                (WRITE, vec![now, &keys[0], &keys[1], &keys[2], versions, created_at, data, exact])
            }
            Self::Delete(keys) => (DELETE, vec![&keys[0], &keys[1], &keys[2]]),
        }
    }
}

/// The new answers of a batch, a list a column.
#[derive(Debug, Default)]
pub(super) struct AnswerColumns<'a> {
    pub(super) namespaces: Vec<&'a str>,
    pub(super) keys: Vec<&'a str>,
    pub(super) fingerprints: Vec<&'a str>,
    pub(super) committed: Vec<String>,
    pub(super) expires_at: Vec<jiff::Timestamp>,
}

impl<'a> AnswerColumns<'a> {
    pub(super) fn of(draft: &'a Draft<'_>) -> Result<Self, Fault> {
        let mut columns = Self::default();
        for ((namespace, key), kept) in &draft.answers {
            let Some(expires_at) = kept.expires_at else { continue };
            columns.namespaces.push(namespace);
            columns.keys.push(key);
            columns.fingerprints.push(&kept.fingerprint);
            let text = serde_json::to_string(&kept.committed);
            columns.committed.push(text.map_err(|_| Fault::Inconsistent("an answer cannot be written"))?);
            columns.expires_at.push(expires_at);
        }
        Ok(columns)
    }
}

/// The changes of a batch, a list a column.
pub(super) struct ChangeColumns<'a> {
    pub(super) sequences: Vec<i64>,
    pub(super) namespaces: Vec<&'a str>,
    pub(super) collections: Vec<&'a str>,
    pub(super) ids: Vec<&'a str>,
    pub(super) kinds: Vec<&'static str>,
}

impl<'a> ChangeColumns<'a> {
    pub(super) fn of(draft: &Draft<'a>) -> Self {
        let changes = &draft.changes;
        Self {
            sequences: changes.iter().map(|change| stored(change.sequence)).collect(),
            namespaces: changes.iter().map(|change| change.key.namespace).collect(),
            collections: changes.iter().map(|change| change.key.collection).collect(),
            ids: changes.iter().map(|change| change.key.id).collect(),
            kinds: changes.iter().map(|change| change.kind.as_str()).collect(),
        }
    }
}

/// By how much the collections of a batch grow or shrink, a list a column.
#[derive(Debug, Default, PartialEq)]
pub(super) struct CountColumns<'a> {
    pub(super) namespaces: Vec<&'a str>,
    pub(super) collections: Vec<&'a str>,
    pub(super) changes: Vec<i64>,
}

impl<'a> CountColumns<'a> {
    pub(super) fn of(draft: &Draft<'a>) -> Self {
        let mut counts = BTreeMap::new();
        for change in &draft.changes {
            let by = match change.kind {
                ChangeKind::Create => 1,
                ChangeKind::Delete => -1,
                ChangeKind::Update => continue,
            };
            *counts.entry((change.key.namespace, change.key.collection)).or_insert(0) += by;
        }
        let mut columns = Self::default();
        for ((namespace, collection), by) in counts.into_iter().filter(|(_, by)| *by != 0) {
            columns.namespaces.push(namespace);
            columns.collections.push(collection);
            columns.changes.push(by);
        }
        columns
    }
}

/// The new jobs of a batch, a list a column.
pub(super) struct JobColumns<'a> {
    pub(super) ids: Vec<&'a str>,
    pub(super) namespaces: Vec<&'a str>,
    pub(super) queues: Vec<&'a str>,
    pub(super) kinds: Vec<&'a str>,
    pub(super) max_attempts: Vec<i64>,
    pub(super) payloads: Vec<String>,
    pub(super) run_at: Vec<jiff::Timestamp>,
    pub(super) traceparents: Vec<Option<&'a str>>,
}

impl<'a> JobColumns<'a> {
    pub(super) fn of(draft: &'a Draft<'_>) -> Self {
        let jobs = &draft.jobs;
        Self {
            ids: jobs.iter().map(|job| job.id.as_str()).collect(),
            namespaces: jobs.iter().map(|job| job.namespace.as_str()).collect(),
            queues: jobs.iter().map(|job| job.queue.as_str()).collect(),
            kinds: jobs.iter().map(|job| job.kind.as_str()).collect(),
            max_attempts: jobs.iter().map(|job| i64::from(job.max_attempts)).collect(),
            payloads: jobs.iter().map(|job| job.payload.to_string()).collect(),
            run_at: jobs.iter().map(|job| job.run_at).collect(),
            traceparents: jobs.iter().map(|job| job.traceparent.as_deref()).collect(),
        }
    }
}
