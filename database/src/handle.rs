//! The handle every role holds: the same calls whether the engine is in this process or behind HTTP.

use std::time::Duration;

use process::Secret;

use crate::engine::Engine;
use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::{
    Change, Committed, Config, Declaration, Error, Job, JobCommand, Page, Query, Remote, Transaction,
};

/// How long a call may take; longer than any commit on a healthy disk.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// How long a declaration may take; it reads every record of the collection for a new index.
pub(crate) const DECLARE_DEADLINE: Duration = Duration::from_secs(600);

/// The database as a role sees it; clones share connections.
///
/// Calls over HTTP are boxed: the future of every request that may ask the database would else have room for them, and
/// is moved, with what it does not use, too.
#[derive(Debug, Clone)]
pub enum Database {
    /// The database role, over HTTP.
    Remote(Remote),
    /// An engine in this process, with the deadlines of a call over HTTP. It trusts its holder: credentials of
    /// namespaces are for callers from outside.
    Local(Engine),
}

impl Database {
    /// Makes a client of the configured database role with the cluster token or a namespace's credential.
    pub fn connect(config: &Config, credential: Option<Secret>) -> Self {
        Self::Remote(Remote::new(config.address(), credential))
    }

    /// Does all operations of a transaction durably, or none.
    pub async fn transact(&self, transaction: Transaction) -> Result<Committed, Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.transact(&transaction)).await,
            Self::Local(engine) => in_time(CALL_DEADLINE, lost, engine.transact(transaction)).await,
        }
    }

    /// Answers a question about the records of a namespace from what is durable.
    pub async fn query(&self, namespace: &str, query: &Query) -> Result<Page, Error> {
        self.query_within(namespace, query, Duration::ZERO).await
    }

    /// Answers a question about records; the answer may lack what was done in the last `max_stale`.
    ///
    /// With replicas (`database.replicas`) one of them answers that is as near, and within `database.replica_lag`;
    /// the page then tells its age. Whoever goes on to write, or must read its own writes, allows nothing.
    pub async fn query_within(
        &self,
        namespace: &str,
        query: &Query,
        max_stale: Duration,
    ) -> Result<Page, Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.query_within(namespace, query, max_stale)).await,
            Self::Local(engine) => {
                in_time(CALL_DEADLINE, late, engine.query_within(namespace, query, max_stale)).await
            }
        }
    }

    /// Has what a collection declares, waiting for indexes of what is there already; again it changes nothing.
    pub async fn declare(&self, namespace: &str, declaration: &Declaration) -> Result<(), Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.declare(namespace, declaration)).await,
            Self::Local(engine) => {
                in_time(DECLARE_DEADLINE, lost, engine.declare(namespace, declaration)).await
            }
        }
    }

    /// Lists changes of a namespace (of all, without one) after a sequence, oldest first; waits up to
    /// `wait` (at most 20 s) while there are none.
    pub async fn changes(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Change>, Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.changes(namespace, after, limit, wait)).await,
            Self::Local(engine) => {
                in_time(
                    CALL_DEADLINE.saturating_add(wait),
                    late,
                    engine.changes(namespace, after, limit, wait),
                )
                .await
            }
        }
    }

    /// Does something to jobs and answers with the jobs it moved.
    ///
    /// A claim that is dropped while it waits may still lease jobs; their leases then run out.
    pub async fn command(&self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.command(command)).await,
            Self::Local(engine) => {
                in_time(CALL_DEADLINE.saturating_add(command.wait()), lost, engine.command(command)).await
            }
        }
    }

    /// Finds a job.
    pub async fn job(&self, id: &str) -> Result<Job, Error> {
        self.job_when_final(id, Duration::ZERO).await
    }

    /// Finds a job once it has reached a final state, or as it stands when the wait (at most 20 s) ends.
    pub async fn job_when_final(&self, id: &str, wait: Duration) -> Result<Job, Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.job_when_final(id, wait)).await,
            Self::Local(engine) => {
                in_time(CALL_DEADLINE.saturating_add(wait), late, engine.job_when_final(id, wait)).await
            }
        }
    }

    /// Lists jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.jobs(filter)).await,
            Self::Local(engine) => in_time(CALL_DEADLINE, late, engine.jobs(filter)).await,
        }
    }

    /// Tells how full each queue is.
    pub async fn queues(&self) -> Result<Vec<QueueFigures>, Error> {
        match self {
            Self::Remote(remote) => Box::pin(remote.queues()).await,
            Self::Local(engine) => in_time(CALL_DEADLINE, late, engine.queues()).await,
        }
    }
}

/// Waits for the engine as long as for the role's answer over HTTP, and then says what is known of the call.
async fn in_time<T>(
    deadline: Duration,
    unknown: fn(String) -> Error,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result,
        Err(_) => Err(unknown(format!("it did not answer within {deadline:?}"))),
    }
}

/// Of a change that has no answer in time it is not known whether it was made.
fn lost(reason: String) -> Error {
    Error::Unknown { reason }
}

/// A question may be asked again.
fn late(reason: String) -> Error {
    Error::Unavailable { reason }
}
