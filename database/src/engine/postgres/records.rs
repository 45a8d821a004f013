//! The lane of transactions on records.
//!
//! **Why no change is skipped.** Every batch that changes a record first locks the one row of `counter`, and
//! PostgreSQL releases that lock only after the commit has become visible. So at most one transaction, of all
//! processes, holds sequences that others cannot see yet, and they are above every one that is visible: a
//! reader that has seen sequence n has seen all that there will ever be below it. The next holder continues
//! where the last one ended, and a batch that is rolled back gives its sequences back: there are no gaps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::columns::{self, AnswerColumns, ChangeColumns, CountColumns, JobColumns, Write, columns};
use super::declared::{self, Declarations};
use super::draft::{Draft, Key};
use super::fault::Fault;
use super::lane::{Batch, Failed, Written};
use super::pipeline::Pipeline;
use super::session::Session;
use super::versions::{self, Statement};
use super::wanted::Wanted;
use crate::engine::numbers::{number, stored};
use crate::engine::wakes::Topic;
use crate::{Committed, Error, Transaction, time};

const LOCK_COUNTER: &str = include_str!("sql/lock_counter.sql");
const BEGIN_ENQUEUE: &str = include_str!("sql/begin_enqueue.sql");
pub(super) const FIND: &str = include_str!("sql/find_records.sql");
const APPEND: &str = include_str!("sql/append_changes.sql");
pub(super) const ADJUST: &str = include_str!("sql/adjust_counts.sql");
const ADVANCE: &str = include_str!("sql/advance_counter.sql");
const INSERT_JOBS: &str = include_str!("sql/insert_jobs.sql");
pub(super) const FIND_ANSWERS: &str = include_str!("sql/find_answers.sql");
pub(super) const FORGET: &str = include_str!("sql/forget_answers.sql");
const KEEP: &str = include_str!("sql/keep_answers.sql");
pub(super) const FIND_HISTORIES: &str = include_str!("sql/find_histories.sql");

/// What the lane's connection prepares.
pub(super) const STATEMENTS: &[&str] = &[
    LOCK_COUNTER,
    BEGIN_ENQUEUE,
    FIND,
    FIND_ANSWERS,
    FIND_HISTORIES,
    columns::STATEMENTS[0],
    columns::STATEMENTS[1],
    versions::STATEMENTS[0],
    versions::STATEMENTS[1],
    versions::STATEMENTS[2],
    versions::STATEMENTS[3],
    versions::STATEMENTS[4],
    versions::STATEMENTS[5],
    versions::STATEMENTS[6],
    versions::STATEMENTS[7],
    APPEND,
    ADJUST,
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
    ///
    /// `steps` are the operations that the writing statements after the first `before` do.
    async fn explain<D>(
        &mut self,
        session: &Session,
        failed: Failed<D>,
        before: usize,
        steps: &[usize],
    ) -> Failed<D> {
        let Failed::NotDone { fault: Fault::Said(error), at: Some(at) } = &failed else { return failed };
        if error.code() != Some(&SqlState::UNIQUE_VIOLATION) {
            return failed;
        }
        self.careful_until = Some(Instant::now() + CAREFUL_FOR);
        let constraint = error.as_db_error().and_then(|error| error.constraint());
        let step = at.checked_sub(before).and_then(|step| steps.get(step));
        match (step, declared::broken_fields(session, constraint).await) {
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
        let collections = wanted.collection_columns();
        let find_histories: [&(dyn ToSql + Sync); 2] = [&collections[0], &collections[1]];
        let mut reads = Pipeline::new(session);
        reads.add_plain("BEGIN");
        if wanted.keys.is_empty() && wanted.answers.is_empty() {
            reads.add(BEGIN_ENQUEUE, &[]);
        } else {
            reads.add(LOCK_COUNTER, &[]);
        }
        reads.add(FIND, &find);
        reads.add(FIND_ANSWERS, &find_answers);
        reads.add(FIND_HISTORIES, &find_histories);
        let mut read = reads.run(deadline).await?.into_iter().skip(1);
        let counter = read.next().unwrap_or_default();
        let counter = counter.first().ok_or(Fault::Inconsistent("the counter has no row"))?;
        let (sequence, now, transaction): (i64, _, String) =
            (counter.try_get(0)?, counter.try_get(1)?, counter.try_get(2)?);
        let found = wanted.found(&read.next().unwrap_or_default())?;
        let answers = wanted.found_answers(&read.next().unwrap_or_default())?;
        let histories = wanted.found_histories(&read.next().unwrap_or_default())?;
        let now = time::from_stored(time::to_stored(now));
        let mut draft = Draft::new(now, number(sequence), found, answers, histories);
        let results = work.iter().map(|transaction| draft.perform(transaction)).collect();
        let written = Written { results, topics: topics(&draft), has_written: false };
        let is_careful = self.is_careful(&wanted.keys);
        let rows = if is_careful { Write::each(&draft) } else { Write::together(&draft) };
        let versions = versions::statements(&draft);
        match write(session, &draft, &versions, &rows, transaction, written, deadline).await {
            Ok(written) => Ok(written),
            Err(failed) => {
                let steps: Vec<usize> = draft.steps.iter().map(|step| step.operation).collect();
                let steps: &[usize] = if is_careful { &steps } else { &[] };
                Err(self.explain(session, failed, versions.len(), steps).await)
            }
        }
    }
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
    versions: &[Statement<'_>],
    rows: &[Write<'_>],
    transaction: String,
    mut written: Written<Committed>,
    deadline: Instant,
) -> Result<Written<Committed>, Failed<Committed>> {
    let (now, now_stored, sequence) = (draft.now, time::to_stored(draft.now), stored(draft.sequence));
    let versions: Vec<_> = versions.iter().map(Statement::parts).collect();
    let rows: Vec<_> = rows.iter().map(|row| row.statement(&now_stored)).collect();
    let changes = ChangeColumns::of(draft);
    let changes: [&(dyn ToSql + Sync); 6] =
        [&now, &changes.sequences, &changes.namespaces, &changes.collections, &changes.ids, &changes.kinds];
    let counts = CountColumns::of(draft);
    let adjust: [&(dyn ToSql + Sync); 3] = [&counts.namespaces, &counts.collections, &counts.changes];
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
    // Before the records, whose present versions they keep.
    for (sql, values) in versions.iter().chain(&rows) {
        writes.add(sql, values);
    }
    if !draft.changes.is_empty() {
        writes.add(APPEND, &changes);
        writes.add(ADVANCE, &counter);
    }
    if !counts.changes.is_empty() {
        writes.add(ADJUST, &adjust);
    }
    if !draft.jobs.is_empty() {
        writes.add(INSERT_JOBS, &jobs);
    }
    if !answers.keys.is_empty() {
        writes.add(FORGET, &[&FORGOTTEN]);
        writes.add(KEEP, &kept);
    }
    let is_quiet = draft.changes.is_empty() && draft.jobs.is_empty() && answers.keys.is_empty();
    written.has_written = !is_quiet || !versions.is_empty();
    let (written, _) = writes.commit(written.has_written.then_some(transaction), written, deadline).await?;
    Ok(written)
}
