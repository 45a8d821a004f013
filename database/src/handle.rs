//! The handle every role holds: the same calls whether the engine is in this process or behind HTTP.

use std::time::Duration;

use http::Method;
use process::{CallError, HttpClient, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::{Change, Committed, Error, Job, JobCommand, Page, Query, Transaction};

/// How long a call to the database role may take; longer than any commit on a healthy disk.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// The database as a role sees it; clones share connections.
#[derive(Debug, Clone)]
pub enum Database {
    /// The database role, over HTTP.
    Remote(Remote),
}

/// The database role, over HTTP.
#[derive(Debug, Clone)]
pub struct Remote {
    base: String,
    client: HttpClient,
}

impl Remote {
    /// Makes a client of the role at `address` (`host:port`) with the cluster token or a namespace's credential.
    pub fn new(address: &str, credential: Option<Secret>) -> Self {
        Self {
            base: format!("http://{address}"),
            client: HttpClient::with_credential(credential, CALL_DEADLINE),
        }
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.send_json(Method::POST, &url, body).await?;
        if answer.status.is_success() {
            return Ok(answer.json(&url)?);
        }
        Err(answer
            .json::<Error>(&url)
            .unwrap_or_else(|_| Error::Unavailable { reason: format!("{url} answered {}", answer.status) }))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let reason = error.to_string();
        match error.is_safe_to_repeat() {
            true => Self::Unavailable { reason },
            false => Self::Unknown { reason },
        }
    }
}

impl Database {
    /// Does all operations of a transaction durably, or none.
    pub async fn transact(&self, transaction: &Transaction) -> Result<Committed, Error> {
        match self {
            Self::Remote(remote) => remote.call("/v1/transact", transaction).await,
        }
    }

    /// Answers a question about the records of a namespace from what is durable.
    pub async fn query(&self, namespace: &str, query: &Query) -> Result<Page, Error> {
        match self {
            Self::Remote(remote) => remote.call(&format!("/v1/query?namespace={namespace}"), query).await,
        }
    }

    /// Lists changes of a namespace (of all, without one) after a sequence, oldest first; waits up to
    /// `wait` while there are none.
    pub async fn changes(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Change>, Error> {
        match self {
            Self::Remote(_remote) => {
                let _ = (namespace, after, limit, wait);
                Err(Error::Unavailable { reason: "not built yet".into() })
            }
        }
    }

    /// Does something to jobs and answers with the jobs it moved.
    pub async fn command(&self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        match self {
            Self::Remote(remote) => remote.call("/v1/jobs/command", command).await,
        }
    }

    /// Finds a job.
    pub async fn job(&self, id: &str) -> Result<Job, Error> {
        match self {
            Self::Remote(remote) => remote.call("/v1/jobs/get", &id).await,
        }
    }

    /// Lists jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        match self {
            Self::Remote(remote) => remote.call("/v1/jobs/list", filter).await,
        }
    }

    /// Tells how full each queue is.
    pub async fn queues(&self) -> Result<Vec<QueueFigures>, Error> {
        match self {
            Self::Remote(remote) => remote.call("/v1/queues", &()).await,
        }
    }
}
