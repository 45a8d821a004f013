//! The lane of commands on jobs.
//!
//! Several processes work on the same queues: rows are locked while they are decided on, named ones in the
//! order of their names, and what another process has locked is not offered to a claim (`SKIP LOCKED`). So a
//! job is leased once at a time, and its token grows with every lease. The time is the server's, the same for
//! every process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::fault::Fault;
use super::job_rows::{self, Moved};
use super::lane::{Batch, Failed, Written};
use super::pipeline::Pipeline;
use super::session::Session;
use crate::engine::wakes::Effects;
use crate::engine::writable::Writable;
use crate::job::backoff::Backoff;
use crate::job::lease;
use crate::limits::{ANSWER_BYTES, CLAIM_LIMIT};
use crate::{Error, Job, JobCommand, JobState, time};

const NOW: &str = "SELECT now()";
pub(super) const NAMED: &str = include_str!("sql/named_jobs.sql");
pub(super) const EXPIRED: &str = include_str!("sql/expired_jobs.sql");
pub(super) const CLAIMABLE: &str = include_str!("sql/claimable_jobs.sql");
const NAME_TRANSACTION: &str = include_str!("sql/name_transaction.sql");
pub(super) const UPDATE: &str = include_str!("sql/update_jobs.sql");
pub(super) const NEXT_EXPIRY: &str = include_str!("sql/next_expiry.sql");

/// What the lane's connection prepares.
pub(super) const STATEMENTS: &[&str] =
    &[NOW, NAMED, EXPIRED, CLAIMABLE, NAME_TRANSACTION, UPDATE, NEXT_EXPIRY];

/// How many expired leases one commit takes back; the rest follow in the next.
const EXPIRY_BATCH: i64 = 256;

/// What is written, in a transaction of its own, to see whether writes go again. It holds nothing while it waits for the
/// counter, so nobody waits in a circle.
const PROBE: &str = "UPDATE counter SET sequence = sequence";

/// How long that may wait for the counter, which a transaction on records holds for a moment.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// How often leases that another process gave are looked at, ours are known; and, after a failure, whether writes go again.
const LOOK: Duration = Duration::from_secs(1);

/// Moves jobs.
#[derive(Debug)]
pub(super) struct Jobs {
    backoff: Backoff,
    rng: StdRng,
    /// Whether the last write succeeded, of either lane.
    writable: Writable,
    due: Instant,
}

impl Jobs {
    /// Makes the lane's state; the first look is due at once.
    pub(super) fn new(backoff: Backoff, rng: StdRng, writable: Writable) -> Self {
        Self { backoff, rng, writable, due: Instant::now() }
    }

    /// Sees whether writes go again if the last did not, while nobody asks; tells whether it wrote.
    async fn probe(&self, session: &Session, work: &[JobCommand]) -> Result<bool, Fault> {
        if !work.is_empty() || !self.writable.has_failed() {
            return Ok(false);
        }
        let probing = session.run(PROBE);
        tokio::time::timeout(PROBE_PATIENCE, probing).await.map_err(|_| Fault::TimedOut)??;
        Ok(true)
    }
}

impl Batch for Jobs {
    type Work = JobCommand;
    type Done = Vec<Job>;

    /// Claims may bring as many documents as an answer holds, other commands one.
    const ROOM: usize = 256;

    fn size(work: &JobCommand) -> usize {
        if matches!(work, JobCommand::Claim { .. }) { 8 } else { 1 }
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }

    async fn commit(
        &mut self,
        session: &Session,
        work: &[JobCommand],
        deadline: Instant,
    ) -> Result<Written<Vec<Job>>, Failed<Vec<Job>>> {
        // Whatever comes of it, the next look is not at once.
        self.due = Instant::now() + LOOK;
        let has_probed = self.probe(session, work).await?;
        let names: BTreeSet<&str> = work.iter().filter_map(named).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let demand = Demand::of(work);
        let named: [&(dyn ToSql + Sync); 1] = [&names];
        let expired: [&(dyn ToSql + Sync); 1] = [&EXPIRY_BATCH];
        let claimable: [&(dyn ToSql + Sync); 3] = [&demand.queues, &demand.most, &demand.bytes];
        let mut reads = Pipeline::new(session);
        reads.add_plain("BEGIN");
        reads.add(NOW, &[]);
        // Named ones first: to wait for another process's lock while holding those below could deadlock.
        if !names.is_empty() {
            reads.add(NAMED, &named);
        }
        reads.add(EXPIRED, &expired);
        if !demand.queues.is_empty() {
            reads.add(CLAIMABLE, &claimable);
        }
        reads.add(NAME_TRANSACTION, &[]);
        let started = Instant::now();
        let mut answers = reads.run(deadline).await?.into_iter().skip(1);
        let mut next = || answers.next().unwrap_or_default();
        let now = one::<Timestamp>(&next())?;
        let named = if names.is_empty() { Vec::new() } else { next() };
        let expired = next();
        let claimable = if demand.queues.is_empty() { Vec::new() } else { next() };
        let transaction = one::<Option<String>>(&next())?;

        let mut moves = Moves::new(now, self.backoff, &mut self.rng);
        moves.take(&named)?;
        moves.expire(&expired)?;
        moves.offer(&claimable)?;
        let results = work.iter().map(|command| moves.perform(command)).collect();
        let (moved, effects) = moves.finish();
        let has_written = has_probed || !moved.ids.is_empty();
        let written = Written { results, topics: effects.topics, has_written };

        let update: [&(dyn ToSql + Sync); 10] = [
            &now,
            &moved.ids,
            &moved.states,
            &moved.attempts,
            &moved.results,
            &moved.errors,
            &moved.progress,
            &moved.lease_tokens,
            &moved.lease_until,
            &moved.run_at,
        ];
        let mut writes = Pipeline::new(session);
        if !moved.ids.is_empty() {
            writes.add(UPDATE, &update);
        }
        writes.add(NEXT_EXPIRY, &[]);
        let (written, answers) = writes.commit(transaction, written, deadline).await?;
        let expiry = answers.last().and_then(|rows| rows.first()?.try_get::<_, Timestamp>(0).ok());
        if let Some(expiry) = expiry {
            // Reckoned from when the server told its time, so that clocks may differ.
            self.due = self.due.min(started + time::until(now, expiry));
        }
        Ok(written)
    }
}

fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(rows: &[Row]) -> Result<T, Fault> {
    let row = rows.first().ok_or(Fault::Inconsistent("a row is missing"))?;
    Ok(row.try_get(0)?)
}

/// Gives the job a command names.
fn named(command: &JobCommand) -> Option<&str> {
    match command {
        JobCommand::Claim { .. } => None,
        JobCommand::Extend { id, .. }
        | JobCommand::Succeed { id, .. }
        | JobCommand::Fail { id, .. }
        | JobCommand::Cancel { id }
        | JobCommand::Retry { id } => Some(id),
    }
}

/// What the claims of a batch ask for together, a queue a place.
#[derive(Debug, Default)]
struct Demand<'a> {
    queues: Vec<&'a str>,
    most: Vec<i64>,
    bytes: Vec<i64>,
}

impl<'a> Demand<'a> {
    fn of(work: &'a [JobCommand]) -> Self {
        let mut demand = BTreeMap::<&str, (i64, i64)>::new();
        for command in work {
            if let JobCommand::Claim { queues, limit, .. } = command {
                for queue in queues.iter().collect::<BTreeSet<_>>() {
                    let (most, bytes) = demand.entry(queue).or_default();
                    *most += i64::from(*limit).min(CLAIM_LIMIT.into());
                    *bytes += ANSWER_BYTES as i64;
                }
            }
        }
        let mut columns = Self::default();
        for (queue, (most, bytes)) in demand {
            columns.queues.push(queue);
            columns.most.push(most);
            columns.bytes.push(bytes);
        }
        columns
    }
}

/// The jobs of a batch under way: rows that are locked, as they stand after the commands so far.
struct Moves<'a> {
    now: Timestamp,
    backoff: Backoff,
    rng: &'a mut StdRng,
    jobs: HashMap<String, Job>,
    moved: BTreeSet<String>,
    /// What can be claimed of each queue, first come first.
    offered: BTreeMap<String, BTreeSet<(Timestamp, i64, String)>>,
    effects: Effects,
}

impl<'a> Moves<'a> {
    fn new(now: Timestamp, backoff: Backoff, rng: &'a mut StdRng) -> Self {
        let (jobs, moved, offered) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { now, backoff, rng, jobs, moved, offered, effects: Effects::default() }
    }

    fn take(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for row in rows {
            let (job, _) = job_rows::read(row)?;
            self.jobs.insert(job.id.clone(), job);
        }
        Ok(())
    }

    /// Takes back leases that ran out, before anything else is done with them.
    fn expire(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for row in rows {
            let (mut job, _) = job_rows::read(row)?;
            tracing::warn!(job = %job.id, queue = %job.queue, attempt = job.attempt, "a lease ran out");
            lease::expire(&mut job, &self.backoff, self.now, self.rng);
            self.keep(job);
        }
        Ok(())
    }

    fn offer(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for row in rows {
            let (job, _) = job_rows::read(row)?;
            let place = (job.run_at, row.try_get(17)?, job.id.clone());
            self.offered.entry(job.queue.clone()).or_default().insert(place);
            // A row that a command names is the same row, locked already.
            self.jobs.entry(job.id.clone()).or_insert(job);
        }
        Ok(())
    }

    fn perform(&mut self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        let (now, backoff) = (self.now, self.backoff);
        match command {
            JobCommand::Claim { queues, limit, lease_ms, .. } => {
                Ok(self.claim(queues, *limit as usize, Duration::from_millis(*lease_ms)))
            }
            JobCommand::Extend { id, lease_token, lease_ms, progress } => {
                let lease = Duration::from_millis(*lease_ms);
                self.change(id, |job, _| lease::extend(job, *lease_token, lease, *progress, now))
            }
            JobCommand::Succeed { id, lease_token, result } => {
                self.change(id, |job, _| lease::succeed(job, *lease_token, result, now))
            }
            JobCommand::Fail { id, lease_token, error, retry } => {
                self.change(id, |job, rng| lease::fail(job, *lease_token, error, *retry, &backoff, now, rng))
            }
            JobCommand::Cancel { id } => self.change(id, |job, _| lease::cancel(job, now)),
            JobCommand::Retry { id } => self.change(id, |job, _| lease::retry(job, now)),
        }
    }

    fn change(
        &mut self,
        id: &str,
        decide: impl FnOnce(&mut Job, &mut StdRng) -> Result<(), Error>,
    ) -> Result<Vec<Job>, Error> {
        let job = self.jobs.get(id).ok_or_else(|| Error::no_job(id))?;
        let mut job = job.clone();
        decide(&mut job, self.rng)?;
        self.keep(job.clone());
        Ok(vec![job])
    }

    fn claim(&mut self, queues: &[String], limit: usize, lease: Duration) -> Vec<Job> {
        let (mut claimed, mut bytes) = (Vec::new(), 0);
        while claimed.len() < limit {
            let firsts = queues.iter().filter_map(|queue| self.offered.get(queue)?.first());
            let Some(place) = firsts.min().cloned() else { break };
            let Some(job) = self.jobs.get(&place.2) else { break };
            // An earlier command of the batch may have moved it.
            let is_waiting =
                matches!(job.state, JobState::Scheduled | JobState::Ready) && job.run_at <= self.now;
            let size = if is_waiting { job.payload.to_string().len() } else { 0 };
            if is_waiting && bytes + size > ANSWER_BYTES && !claimed.is_empty() {
                break;
            }
            let mut job = job.clone();
            for queue in queues {
                if let Some(offered) = self.offered.get_mut(queue) {
                    offered.remove(&place);
                }
            }
            if is_waiting {
                bytes += size;
                lease::begin(&mut job, lease, self.now);
                self.keep(job.clone());
                claimed.push(job);
            }
        }
        claimed
    }

    fn keep(&mut self, job: Job) {
        self.effects.moved(&job);
        self.moved.insert(job.id.clone());
        self.jobs.insert(job.id.clone(), job);
    }

    /// Gives the rows to write back, and whom they wake.
    fn finish(self) -> (Moved, Effects) {
        let mut moved = Moved::default();
        for job in self.moved.iter().filter_map(|id| self.jobs.get(id)) {
            moved.push(job);
        }
        (moved, self.effects)
    }
}
