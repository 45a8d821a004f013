//! The lane of transactions on records.
//!
//! **Why no change is skipped.** Every batch that changes a record first locks the one row of `counter`, and
//! PostgreSQL releases that lock only after the commit has become visible. So at most one transaction, of all
//! processes, holds sequences that others cannot see yet, and they are above every one that is visible: a
//! reader that has seen sequence n has seen all that there will ever be below it. The next holder continues
//! where the last one ended, and a batch that is rolled back gives its sequences back: there are no gaps.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::declared::{self, Declarations};
use super::document::Document;
use super::draft::{Answers, Draft, Kept, Key, Present, Step};
use super::fault::Fault;
use super::lane::{Batch, Failed, Written};
use super::pipeline::Pipeline;
use super::session::Session;
use crate::change::ChangeKind;
use crate::engine::numbers::{number, stored};
use crate::engine::wakes::Topic;
use crate::{Committed, Error, Operation, Transaction, time};

const LOCK_COUNTER: &str = include_str!("sql/lock_counter.sql");
const BEGIN_ENQUEUE: &str = include_str!("sql/begin_enqueue.sql");
pub(super) const FIND: &str = include_str!("sql/find_records.sql");
const WRITE: &str = include_str!("sql/write_records.sql");
pub(super) const DELETE: &str = include_str!("sql/delete_records.sql");
const APPEND: &str = include_str!("sql/append_changes.sql");
const ADVANCE: &str = include_str!("sql/advance_counter.sql");
const INSERT_JOBS: &str = include_str!("sql/insert_jobs.sql");
pub(super) const FIND_ANSWERS: &str = include_str!("sql/find_answers.sql");
pub(super) const FORGET: &str = include_str!("sql/forget_answers.sql");
const KEEP: &str = include_str!("sql/keep_answers.sql");

/// What the lane's connection prepares.
pub(super) const STATEMENTS: &[&str] = &[
    LOCK_COUNTER,
    BEGIN_ENQUEUE,
    FIND,
    FIND_ANSWERS,
    WRITE,
    DELETE,
    APPEND,
    ADVANCE,
    INSERT_JOBS,
    FORGET,
    KEEP,
];

/// How many answers whose time is over are forgotten with each batch that keeps new ones.
const FORGOTTEN: i64 = 64;

/// How long after a unique index refused a batch records are written one by one.
const CAREFUL_FOR: Duration = Duration::from_secs(10);

/// Writes records, changes and new jobs.
///
/// Records of a batch are written together, with one statement, unless a unique index is among them: then each is
/// written by itself, in order, so that what is refused does not depend on who shares the batch.
#[derive(Debug)]
pub(super) struct Records {
    declarations: Arc<Declarations>,
    /// Until when a unique index is suspected where none is known.
    careful_until: Option<Instant>,
}

impl Records {
    /// Makes the lane's state.
    pub(super) fn new(declarations: Arc<Declarations>) -> Self {
        Self { declarations, careful_until: None }
    }

    fn is_careful(&self, keys: &[Key<'_>]) -> bool {
        self.careful_until.is_some_and(|until| Instant::now() < until)
            || keys.iter().any(|key| self.declarations.has_unique(key.namespace, key.collection))
    }

    /// Says which operation a unique index refused, if it was that.
    async fn explain<D>(&mut self, session: &Session, failed: Failed<D>, steps: &[usize]) -> Failed<D> {
        let Failed::NotDone { fault: Fault::Said(error), at: Some(at) } = &failed else { return failed };
        if error.code() != Some(&SqlState::UNIQUE_VIOLATION) {
            return failed;
        }
        self.careful_until = Some(Instant::now() + CAREFUL_FOR);
        let constraint = error.as_db_error().and_then(|error| error.constraint());
        match (steps.get(*at), declared::broken_fields(session, constraint).await) {
            (Some(operation), Some(fields)) => {
                let fault = Fault::Refused(Error::NotUnique { operation: *operation, fields });
                Failed::NotDone { fault, at: Some(*at) }
            }
            _ => failed,
        }
    }
}

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
        let columns = columns(&wanted.keys);
        let find: [&(dyn ToSql + Sync); 4] = [&columns[0], &columns[1], &columns[2], &wanted.documents];
        let answers_of = wanted.answer_columns();
        let find_answers: [&(dyn ToSql + Sync); 2] = [&answers_of[0], &answers_of[1]];
        let mut reads = Pipeline::new(session);
        reads.add_plain("BEGIN");
        if wanted.keys.is_empty() && wanted.answers.is_empty() {
            reads.add(BEGIN_ENQUEUE, &[]);
        } else {
            reads.add(LOCK_COUNTER, &[]);
        }
        reads.add(FIND, &find);
        reads.add(FIND_ANSWERS, &find_answers);
        let mut read = reads.run(deadline).await?.into_iter().skip(1);
        let counter = read.next().unwrap_or_default();
        let counter = counter.first().ok_or(Fault::Inconsistent("the counter has no row"))?;
        let (sequence, now, transaction): (i64, _, String) =
            (counter.try_get(0)?, counter.try_get(1)?, counter.try_get(2)?);
        let found = wanted.found(&read.next().unwrap_or_default())?;
        let answers = wanted.found_answers(&read.next().unwrap_or_default())?;
        let now = time::from_stored(time::to_stored(now));
        let mut draft = Draft::new(now, number(sequence), found, answers);
        let results = work.iter().map(|transaction| draft.perform(transaction)).collect();
        let written = Written { results, topics: topics(&draft) };
        let is_careful = self.is_careful(&wanted.keys);
        let rows = if is_careful { Write::each(&draft) } else { Write::together(&draft) };
        match write(session, &draft, &rows, transaction, written, deadline).await {
            Ok(written) => Ok(written),
            Err(failed) => {
                let steps: Vec<usize> = draft.steps.iter().map(|step| step.operation).collect();
                Err(self.explain(session, failed, if is_careful { &steps } else { &[] }).await)
            }
        }
    }
}

/// The records and keys a batch names, each once.
#[derive(Debug, Default)]
struct Wanted<'a> {
    keys: Vec<Key<'a>>,
    /// Whether the document is needed too.
    documents: Vec<bool>,
    /// Namespaces and keys of transactions that are to happen once.
    answers: Vec<(&'a str, &'a str)>,
}

impl<'a> Wanted<'a> {
    fn of(work: &'a [Transaction]) -> Self {
        let (mut wanted, mut places) = (Self::default(), HashMap::new());
        for transaction in work {
            let namespace = transaction.namespace.as_str();
            for operation in &transaction.operations {
                let (collection, id, is_patch) = match operation {
                    Operation::Put { collection, id, .. } | Operation::Delete { collection, id, .. } => {
                        (collection, id, false)
                    }
                    Operation::Patch { collection, id, .. } => (collection, id, true),
                    Operation::Once { key, .. } => {
                        wanted.answers.push((namespace, key));
                        continue;
                    }
                    Operation::Enqueue { .. } => continue,
                };
                let key = Key { namespace, collection, id };
                let place = *places.entry(key).or_insert_with(|| {
                    wanted.keys.push(key);
                    wanted.documents.push(false);
                    wanted.keys.len() - 1
                });
                wanted.documents[place] |= is_patch;
            }
        }
        wanted.answers.sort_unstable();
        wanted.answers.dedup();
        wanted
    }

    fn answer_columns(&self) -> [Vec<&'a str>; 2] {
        self.answers.iter().copied().collect::<(Vec<_>, Vec<_>)>().into()
    }

    fn found(&self, rows: &[Row]) -> Result<HashMap<Key<'a>, Present>, Fault> {
        let read = |row: &Row| {
            let key = *at_place(&self.keys, row)?;
            let document: Option<String> = row.try_get(3)?;
            let document = document.map(|text| Arc::new(Document::read(text)));
            let created_at = time::from_stored(row.try_get(2)?);
            Ok((key, Present { version: number(row.try_get(1)?), created_at, document }))
        };
        rows.iter().map(read).collect()
    }

    fn found_answers(&self, rows: &[Row]) -> Result<Answers<'a>, Fault> {
        let read = |row: &Row| {
            let key = *at_place(&self.answers, row)?;
            let committed = serde_json::from_str(row.try_get(2)?)
                .map_err(|_| Fault::Inconsistent("a kept answer cannot be read"))?;
            Ok((key, Kept { fingerprint: row.try_get(1)?, committed, expires_at: None }))
        };
        rows.iter().map(read).collect()
    }
}

/// Finds what a row is about by its first column, a place counted from 1.
fn at_place<'a, T>(asked: &'a [T], row: &Row) -> Result<&'a T, Fault> {
    let place = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
    let found = place.checked_sub(1).and_then(|place| asked.get(place));
    found.ok_or(Fault::Inconsistent("a row nobody asked for"))
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
    rows: &[Write<'_>],
    transaction: String,
    written: Written<Committed>,
    deadline: Instant,
) -> Result<Written<Committed>, Failed<Committed>> {
    let (now, now_stored, sequence) = (draft.now, time::to_stored(draft.now), stored(draft.sequence));
    let rows: Vec<_> = rows.iter().map(|row| row.statement(&now_stored)).collect();
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
    let answers = AnswerColumns::of(draft)?;
    let kept: [&(dyn ToSql + Sync); 5] =
        [&answers.namespaces, &answers.keys, &answers.fingerprints, &answers.committed, &answers.expires_at];
    let counter: [&(dyn ToSql + Sync); 2] = [&sequence, &now];
    let mut writes = Pipeline::new(session);
    for (sql, values) in &rows {
        writes.add(sql, values);
    }
    if !draft.changes.is_empty() {
        writes.add(APPEND, &changes);
        writes.add(ADVANCE, &counter);
    }
    if !draft.jobs.is_empty() {
        writes.add(INSERT_JOBS, &jobs);
    }
    if !answers.keys.is_empty() {
        writes.add(FORGET, &[&FORGOTTEN]);
        writes.add(KEEP, &kept);
    }
    let has_written = !draft.changes.is_empty() || !draft.jobs.is_empty() || !answers.keys.is_empty();
    let (written, _) = writes.commit(has_written.then_some(transaction), written, deadline).await?;
    Ok(written)
}

/// Rows of records that one statement writes or removes, a list a column.
enum Write<'a> {
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
    fn together(draft: &'a Draft<'a>) -> Vec<Self> {
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
    fn each(draft: &'a Draft<'a>) -> Vec<Self> {
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

    fn statement<'b>(&'b self, now: &'b i64) -> (&'static str, Vec<&'b (dyn ToSql + Sync)>) {
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
struct AnswerColumns<'a> {
    namespaces: Vec<&'a str>,
    keys: Vec<&'a str>,
    fingerprints: Vec<&'a str>,
    committed: Vec<String>,
    expires_at: Vec<jiff::Timestamp>,
}

impl<'a> AnswerColumns<'a> {
    fn of(draft: &'a Draft<'_>) -> Result<Self, Fault> {
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
