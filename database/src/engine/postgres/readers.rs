//! Reads: a few connections, each of which answers many questions at once.
//!
//! A question is one statement. Answers are bounded by the server: it stops sending once an answer is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, TryAcquireError};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::declared::{self, Declarations, Declared};
use super::fault::{Fault, Verdict};
use super::find;
use super::job_rows;
use super::link::Link;
use super::replicas::guard::{self, Guard};
use super::rows::{read_answer, read_change, read_history, read_latest, read_record, unreadable};
use super::sample;
use super::session::Server;
use crate::engine::filling::Filling;
use crate::engine::numbers::{number, stored};
use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::limits::ANSWER_BYTES;
use crate::record::Answer;
use crate::{Change, Error, Find, Job, Page, Query, Record, time};

/// How long a read may take.
const DEADLINE: Duration = Duration::from_secs(4);

pub(super) const SOME: &str = include_str!("sql/some_records.sql");
pub(super) const LATEST: &str = include_str!("sql/latest_change.sql");
pub(super) const HISTORY: &str = include_str!("sql/list_versions.sql");
pub(super) const ANSWER: &str = include_str!("sql/get_answer.sql");
pub(super) const GET: &str = include_str!("sql/get_record.sql");
pub(super) const LIST: &str = include_str!("sql/list_records.sql");
pub(super) const CHANGES: &str = include_str!("sql/list_changes.sql");
pub(super) const CHANGES_OF_NAMESPACE: &str = include_str!("sql/list_changes_of_namespace.sql");
pub(super) const JOB: &str = include_str!("sql/get_job.sql");
const JOBS: &str = include_str!("sql/list_jobs.sql");
pub(super) const NEXT_DUE: &str = include_str!("sql/next_due.sql");
pub(super) const FIGURES: &str = include_str!("sql/queue_figures.sql");

/// What each connection prepares; listings of jobs follow as they are asked for.
const STATEMENTS: &[&str] = &[
    GET,
    LIST,
    SOME,
    LATEST,
    HISTORY,
    ANSWER,
    declared::LOAD,
    sample::COUNT,
    sample::INDEXED,
    sample::NAMED,
    CHANGES,
    CHANGES_OF_NAMESPACE,
    JOB,
    NEXT_DUE,
    FIGURES,
];

/// What each connection to a replica prepares.
const REPLICA_STATEMENTS: &[&str] =
    &[guard::HOLDS, GET, LIST, SOME, HISTORY, declared::LOAD, sample::COUNT, sample::INDEXED, sample::NAMED];

/// The reading connections.
#[derive(Debug)]
pub(super) struct Readers {
    links: Vec<Link>,
    /// What an answer of a replica must come with.
    guard: Option<Arc<Guard>>,
    declarations: Arc<Declarations>,
    next: AtomicUsize,
    /// How many more questions may wait.
    room: Semaphore,
}

impl Readers {
    /// Makes the connections' places; they connect when they are used.
    pub(super) fn new(server: &Server, declarations: Arc<Declarations>, count: usize, queue: usize) -> Self {
        let links = (0..count).map(|_| Link::new(server.clone(), STATEMENTS)).collect();
        Self { links, guard: None, declarations, next: AtomicUsize::new(0), room: Semaphore::new(queue) }
    }

    /// The same for a replica. What is declared is read from it too, since an index may not have come to it yet.
    pub(super) fn of_replica(server: &Server, guard: Arc<Guard>, count: usize, queue: usize) -> Self {
        let links = (0..count).map(|_| Link::new(server.clone(), REPLICA_STATEMENTS)).collect();
        Self { links, guard: Some(guard), ..Self::new(server, Arc::default(), 0, queue) }
    }

    /// Refuses every further question.
    pub(super) fn stop(&self) {
        self.room.close();
    }

    /// Asks for rows; a question whose connection broke is asked once more on another.
    pub(super) async fn ask(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let _place = match self.room.try_acquire() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits) => return Err(Error::Overloaded),
            Err(TryAcquireError::Closed) => {
                return Err(Error::Unavailable { reason: "it is stopping".into() });
            }
        };
        let answer = tokio::time::timeout(DEADLINE, async {
            match self.ask_once(sql, values).await {
                Err(fault) if fault.verdict() == Verdict::Reconnect => self.ask_once(sql, values).await,
                answer => answer,
            }
        });
        let answer = answer.await.unwrap_or_else(|_| Err(Arc::new(Fault::TimedOut)));
        answer.map_err(|fault| {
            match self.guard {
                None => tracing::warn!(reason = %fault, "a read failed"),
                // The primary answers in its place.
                Some(_) => tracing::debug!(reason = %fault, "a replica did not answer a read"),
            }
            fault.answer()
        })
    }

    async fn ask_once(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Arc<Fault>> {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.links.len();
        let link = &self.links[place];
        let session = link.session().await?;
        // A connection that hangs is replaced, also when the caller goes before the answer is there.
        let asking = async {
            match &self.guard {
                None => Ok(session.query(sql, values).await?),
                Some(guard) => guard.query(&session, sql, values).await,
            }
        };
        let fault = match tokio::time::timeout(DEADLINE / 2, asking).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::TimedOut,
        };
        if matches!(fault, Fault::TimedOut) || fault.verdict() == Verdict::Reconnect {
            link.discard(&session).await;
        }
        Err(Arc::new(fault))
    }

    pub(super) async fn query(&self, namespace: &str, query: &Query) -> Result<Page, Error> {
        match query {
            Query::Get { collection, id } => {
                let rows = self.ask(GET, &[&namespace, collection, id]).await?;
                let read = |row: &Row| read_record(row, collection).map(|(record, _)| record);
                Ok(Page { records: rows.iter().map(read).collect::<Result<_, _>>()?, ..Page::default() })
            }
            Query::Some { collection, ids } => self.some(namespace, collection, ids).await,
            Query::History { collection, id, before, limit } => {
                let before = before.map_or(i64::MAX, stored);
                let one_more = i64::from(*limit) + 1;
                let values: [&(dyn ToSql + Sync); 6] =
                    [&namespace, collection, id, &before, &one_more, &(ANSWER_BYTES as i64)];
                read_history(&self.ask(HISTORY, &values).await?, collection, *limit)
            }
            Query::Latest => {
                let rows = self.ask(LATEST, &[&namespace]).await?;
                Ok(Page { sequence: read_latest(&rows)?, ..Page::default() })
            }
            Query::Answer { key } => {
                let rows = self.ask(ANSWER, &[&namespace, key]).await?;
                let answer = rows.first().map(read_answer).transpose()?.map(|kept| Answer {
                    committed: kept.committed.into_repeated(),
                    fingerprint: kept.fingerprint,
                });
                Ok(Page { answer, ..Page::default() })
            }
            Query::Find(asked) => self.find(namespace, asked).await,
            Query::List { collection, after, limit } => {
                let after = without_nul(after.as_deref().unwrap_or(""));
                let one_more = i64::from(*limit) + 1;
                let rows = self
                    .ask(LIST, &[&namespace, collection, &after, &one_more, &(ANSWER_BYTES as i64)])
                    .await?;
                let mut filling = Filling::new(*limit);
                for row in &rows {
                    let (record, size) = read_record(row, collection)?;
                    if filling.take(record, size).is_break() {
                        break;
                    }
                }
                let (records, next) = filling.finish_with(|record: &Record| &record.id);
                Ok(Page { records, next, ..Page::default() })
            }
        }
    }

    /// Answers by what is known to be declared, or, should that refuse, by what is declared now.
    async fn find(&self, namespace: &str, asked: &Find) -> Result<Page, Error> {
        if let Some(declared) = self.declarations.fresh(namespace, &asked.collection) {
            match find::find(self, namespace, asked, &declared).await {
                Err(Error::NotIndexed { .. } | Error::Invalid { .. }) => {}
                answer => return answer,
            }
        }
        let declared = self.declared(namespace, &asked.collection).await?;
        find::find(self, namespace, asked, &declared).await
    }

    /// Reads what a collection declares.
    pub(super) async fn declared(&self, namespace: &str, collection: &str) -> Result<Arc<Declared>, Error> {
        let rows = self.ask(declared::LOAD, &[&namespace, &collection]).await?;
        Ok(self.declarations.note(namespace, collection, declared::read(&rows)?))
    }

    /// Reads records by their names, until the answer is large.
    pub(super) async fn some(
        &self,
        namespace: &str,
        collection: &str,
        ids: &[String],
    ) -> Result<Page, Error> {
        let rows = self.ask(SOME, &[&namespace, &collection, &ids, &(ANSWER_BYTES as i64)]).await?;
        let (mut page, mut bytes, mut place) = (Page::default(), 0, 0);
        for row in &rows {
            let (record, size) = read_record(row, collection)?;
            bytes += size;
            place = usize::try_from(row.try_get::<_, i64>(5).map_err(unreadable)?).unwrap_or(0);
            page.records.push(record);
        }
        page.next = if bytes > ANSWER_BYTES { ids.get(place).cloned() } else { None };
        Ok(page)
    }

    pub(super) async fn changes(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Change>, Error> {
        let (after, limit) = (stored(after), i64::from(limit));
        let rows = match namespace {
            None => self.ask(CHANGES, &[&after, &limit]).await?,
            Some(namespace) => self.ask(CHANGES_OF_NAMESPACE, &[&after, &limit, &namespace]).await?,
        };
        let gone: i64 = rows.first().map_or(Ok(0), |row| row.try_get(6)).map_err(unreadable)?;
        if gone > after {
            let latest = match namespace {
                None => None,
                Some(namespace) => read_latest(&self.ask(LATEST, &[&namespace]).await?)?,
            };
            return Err(Error::ChangesGone { from: latest.unwrap_or_else(|| number(gone)) });
        }
        // Without a change there is a row of nulls.
        let is_change =
            |row: &&Row| row.try_get::<_, Option<i64>>(0).is_ok_and(|sequence| sequence.is_some());
        rows.iter().filter(is_change).map(|row| read_change(row).map_err(unreadable)).collect()
    }

    pub(super) async fn job(&self, id: &str) -> Result<Job, Error> {
        if id.contains('\0') {
            return Err(Error::no_job(id));
        }
        let rows = self.ask(JOB, &[&id]).await?;
        let row = rows.first().ok_or_else(|| Error::no_job(id))?;
        Ok(job_rows::read(row).map_err(unreadable)?.0)
    }

    pub(super) async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        let limit = filter.limit();
        let (one_more, bytes) = (i64::from(limit) + 1, ANSWER_BYTES as i64);
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&one_more, &bytes];
        let mut conditions = Vec::new();
        let after = filter.after.as_deref().map(without_nul);
        let texts = [
            ("namespace =", filter.namespace.as_deref()),
            ("queue =", filter.queue.as_deref()),
            ("id <", after),
        ];
        for (condition, text) in &texts {
            if let Some(text) = text {
                if text.contains('\0') {
                    return Ok(JobPage::default());
                }
                values.push(text);
                conditions.push(format!("{condition} ${}", values.len()));
            }
        }
        conditions.extend(filter.state.map(|state| state.condition("now()")));
        let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
        let rows = self.ask(&JOBS.replace("{conditions}", &conditions), &values).await?;
        let mut filling = Filling::new(limit);
        for row in &rows {
            let (job, size) = job_rows::read(row).map_err(unreadable)?;
            if filling.take(job, size).is_break() {
                break;
            }
        }
        let (jobs, next) = filling.finish_with(|job: &Job| &job.id);
        Ok(JobPage { jobs, next })
    }

    /// Finds how long it is until a job of the queues can be claimed; `None` when none waits.
    pub(super) async fn next_due(&self, queues: &[String]) -> Result<Option<Duration>, Error> {
        let rows = self.ask(NEXT_DUE, &[&queues]).await?;
        let due = rows.first().and_then(|row| {
            let (now, due) = (row.try_get::<_, Timestamp>(0).ok()?, row.try_get::<_, Timestamp>(1).ok()?);
            Some(time::until(now, due))
        });
        Ok(due)
    }

    pub(super) async fn figures(&self) -> Result<Vec<QueueFigures>, Error> {
        let rows = self.ask(FIGURES, &[]).await?;
        let read = |row: &Row| {
            let count = |column| row.try_get(column).map(number);
            let oldest: Option<i64> = row.try_get(5)?;
            Ok::<_, tokio_postgres::Error>(QueueFigures {
                queue: row.try_get(0)?,
                scheduled: count(1)?,
                ready: count(2)?,
                leased: count(3)?,
                dead: count(4)?,
                oldest_ready: oldest.map(|oldest| Duration::from_micros(number(oldest))),
            })
        };
        rows.iter().map(|row| read(row).map_err(unreadable)).collect()
    }
}

/// Cuts a text off before U+0000, which PostgreSQL does not take; as no name holds control characters, what
/// is greater or less than it stays so.
fn without_nul(text: &str) -> &str {
    text.split('\0').next().unwrap_or("")
}
