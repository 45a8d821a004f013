//! The lane of transactions on records.
//!
//! **Why no change is skipped.** Every batch that changes a record first locks the one row of `counter`, and
//! PostgreSQL releases that lock only after the commit has become visible. So at most one transaction, of all
//! processes, holds sequences that others cannot see yet, and they are above every one that is visible: a
//! reader that has seen sequence n has seen all that there will ever be below it. The next holder continues
//! where the last one ended, and a batch that is rolled back gives its sequences back: there are no gaps.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;
use tokio_postgres::types::ToSql;

use super::document::Document;
use super::draft::{Draft, Key, Present};
use super::fault::Fault;
use super::lane::{Batch, Failed, Written};
use super::pipeline::Pipeline;
use super::session::Session;
use crate::change::ChangeKind;
use crate::engine::numbers::{number, stored};
use crate::engine::wakes::Topic;
use crate::{Committed, Operation, Transaction, time};

const LOCK_COUNTER: &str = include_str!("sql/lock_counter.sql");
const BEGIN_ENQUEUE: &str = include_str!("sql/begin_enqueue.sql");
const FIND: &str = include_str!("sql/find_records.sql");
const WRITE: &str = include_str!("sql/write_records.sql");
const DELETE: &str = include_str!("sql/delete_records.sql");
const APPEND: &str = include_str!("sql/append_changes.sql");
const ADVANCE: &str = include_str!("sql/advance_counter.sql");
const INSERT_JOBS: &str = include_str!("sql/insert_jobs.sql");

/// What the lane's connection prepares.
pub(super) const STATEMENTS: &[&str] =
    &[LOCK_COUNTER, BEGIN_ENQUEUE, FIND, WRITE, DELETE, APPEND, ADVANCE, INSERT_JOBS];

/// Writes records, changes and new jobs.
#[derive(Debug, Default)]
pub(super) struct Records;

impl Batch for Records {
    type Work = Transaction;
    type Done = Committed;

    /// Operations, so that a batch has a bounded number of documents in memory.
    const ROOM: usize = 2000;

    fn size(work: &Transaction) -> usize {
        work.operations.len()
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    async fn commit(
        &mut self,
        session: &Session,
        work: &[Transaction],
        deadline: Instant,
    ) -> Result<Written<Committed>, Failed<Committed>> {
        let wanted = Wanted::of(work);
        let values = wanted.values();
        let values = values.each_ref().map(|value| value as &(dyn ToSql + Sync));
        let flags: &(dyn ToSql + Sync) = &wanted.documents;
        let find = [values[0], values[1], values[2], flags];
        let mut reads = Pipeline::new(session);
        reads.add_plain("BEGIN");
        if wanted.keys.is_empty() {
            reads.add(BEGIN_ENQUEUE, &[]);
        } else {
            reads.add(LOCK_COUNTER, &[]);
            reads.add(FIND, &find);
        }
        let mut answers = reads.run(deadline).await?.into_iter().skip(1);
        let counter = answers.next().unwrap_or_default();
        let counter = counter.first().ok_or(Fault::Inconsistent("the counter has no row"))?;
        let (sequence, now, transaction): (i64, _, String) =
            (counter.try_get(0)?, counter.try_get(1)?, counter.try_get(2)?);
        let mut found = HashMap::new();
        for row in answers.next().unwrap_or_default() {
            let place = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
            let key = place.checked_sub(1).and_then(|place| wanted.keys.get(place));
            let key = *key.ok_or(Fault::Inconsistent("a record nobody asked for"))?;
            let document: Option<String> = row.try_get(3)?;
            let document = document.map(|text| std::sync::Arc::new(Document::read(text)));
            let version = number(row.try_get(1)?);
            found.insert(key, Present { version, created_at: row.try_get(2)?, document });
        }
        let now = time::from_stored(time::to_stored(now));
        let mut draft = Draft::new(now, number(sequence), found);
        let results = work.iter().map(|transaction| draft.perform(transaction)).collect();
        let written = Written { results, topics: topics(&draft) };
        write(session, &draft, transaction, written, deadline).await
    }
}

/// The records a batch names, each once.
#[derive(Debug, Default)]
struct Wanted<'a> {
    keys: Vec<Key<'a>>,
    /// Whether the document is needed too.
    documents: Vec<bool>,
}

impl<'a> Wanted<'a> {
    fn of(work: &'a [Transaction]) -> Self {
        let (mut wanted, mut places) = (Self::default(), HashMap::new());
        for transaction in work {
            for operation in &transaction.operations {
                let (collection, id, is_patch) = match operation {
                    Operation::Put { collection, id, .. } | Operation::Delete { collection, id, .. } => {
                        (collection, id, false)
                    }
                    Operation::Patch { collection, id, .. } => (collection, id, true),
                    Operation::Enqueue { .. } => continue,
                };
                let key = Key { namespace: &transaction.namespace, collection, id };
                let place = *places.entry(key).or_insert_with(|| {
                    wanted.keys.push(key);
                    wanted.documents.push(false);
                    wanted.keys.len() - 1
                });
                wanted.documents[place] |= is_patch;
            }
        }
        wanted
    }

    fn values(&self) -> [Vec<&'a str>; 3] {
        columns(&self.keys)
    }
}

fn columns<'a>(keys: &[Key<'a>]) -> [Vec<&'a str>; 3] {
    [
        keys.iter().map(|key| key.namespace).collect(),
        keys.iter().map(|key| key.collection).collect(),
        keys.iter().map(|key| key.id).collect(),
    ]
}

/// Whom to wake once the batch is durable.
fn topics(draft: &Draft<'_>) -> BTreeSet<Topic> {
    let mut topics = BTreeSet::new();
    for change in &draft.changes {
        topics.insert(Topic::Changes(Some(change.key.namespace.to_owned())));
        topics.insert(Topic::Changes(None));
    }
    topics.extend(draft.jobs.iter().map(|job| Topic::Queue(job.queue.clone())));
    topics
}

/// Writes what was decided and commits.
async fn write(
    session: &Session,
    draft: &Draft<'_>,
    transaction: String,
    written: Written<Committed>,
    deadline: Instant,
) -> Result<Written<Committed>, Failed<Committed>> {
    let (mut kept, mut gone, mut versions, mut created, mut data, mut exact) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (key, row) in draft.rows.iter().filter(|(_, row)| row.is_written) {
        match &row.present {
            Some(Present { version, created_at, document: Some(document) }) => {
                kept.push(*key);
                versions.push(stored(*version));
                created.push(*created_at);
                data.push(document.data.as_str());
                exact.push(document.exact.as_deref());
            }
            _ if row.was_there => gone.push(*key),
            _ => {}
        }
    }
    let (now, sequence) = (draft.now, stored(draft.sequence));
    let [namespaces, collections, ids] = columns(&kept);
    let records: [&(dyn ToSql + Sync); 8] =
        [&now, &namespaces, &collections, &ids, &versions, &created, &data, &exact];
    let gone_columns = columns(&gone);
    let gone_values = gone_columns.each_ref().map(|column| column as &(dyn ToSql + Sync));
    let changes = ChangeColumns::of(draft);
    let changes: [&(dyn ToSql + Sync); 6] =
        [&now, &changes.sequences, &changes.namespaces, &changes.collections, &changes.ids, &changes.kinds];
    let jobs = JobColumns::of(draft);
    let jobs: [&(dyn ToSql + Sync); 9] = [
        &now,
        &jobs.ids,
        &jobs.namespaces,
        &jobs.queues,
        &jobs.kinds,
        &jobs.max_attempts,
        &jobs.payloads,
        &jobs.run_at,
        &jobs.traceparents,
    ];
    let counter: [&(dyn ToSql + Sync); 2] = [&sequence, &now];
    let mut writes = Pipeline::new(session);
    if !kept.is_empty() {
        writes.add(WRITE, &records);
    }
    if !gone.is_empty() {
        writes.add(DELETE, &gone_values);
    }
    if !draft.changes.is_empty() {
        writes.add(APPEND, &changes);
        writes.add(ADVANCE, &counter);
    }
    if !draft.jobs.is_empty() {
        writes.add(INSERT_JOBS, &jobs);
    }
    let has_written = !draft.changes.is_empty() || !draft.jobs.is_empty();
    let (written, _) = writes.commit(has_written.then_some(transaction), written, deadline).await?;
    Ok(written)
}

/// The changes of a batch, a list a column.
struct ChangeColumns<'a> {
    sequences: Vec<i64>,
    namespaces: Vec<&'a str>,
    collections: Vec<&'a str>,
    ids: Vec<&'a str>,
    kinds: Vec<&'static str>,
}

impl<'a> ChangeColumns<'a> {
    fn of(draft: &Draft<'a>) -> Self {
        let changes = &draft.changes;
        let kind = |kind| match kind {
            ChangeKind::Create => "create",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
        };
        Self {
            sequences: changes.iter().map(|change| stored(change.sequence)).collect(),
            namespaces: changes.iter().map(|change| change.key.namespace).collect(),
            collections: changes.iter().map(|change| change.key.collection).collect(),
            ids: changes.iter().map(|change| change.key.id).collect(),
            kinds: changes.iter().map(|change| kind(change.kind)).collect(),
        }
    }
}

/// The new jobs of a batch, a list a column.
struct JobColumns<'a> {
    ids: Vec<&'a str>,
    namespaces: Vec<&'a str>,
    queues: Vec<&'a str>,
    kinds: Vec<&'a str>,
    max_attempts: Vec<i64>,
    payloads: Vec<String>,
    run_at: Vec<jiff::Timestamp>,
    traceparents: Vec<Option<&'a str>>,
}

impl<'a> JobColumns<'a> {
    fn of(draft: &'a Draft<'_>) -> Self {
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
