//! The database role as a client of it calls it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use process::client::Answer;
use process::{CallError, HttpClient, Secret};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::handle::{CALL_DEADLINE, DECLARE_DEADLINE};
use crate::job::{JobFilter, JobPage, QueueFigures, WAIT_LIMIT_MS};
use crate::{Change, Committed, Declaration, Error, Job, JobCommand, Page, Query, Transaction, limits};

/// How long a backup may take; it reads and writes the whole database.
const BACKUP_DEADLINE: Duration = Duration::from_secs(3600);

/// The database role, over HTTP.
#[derive(Debug, Clone)]
pub struct Remote {
    base: Arc<str>,
    client: Arc<HttpClient>,
}

impl Remote {
    /// Makes a client of the role at `address` (`host:port`) with the cluster token or a namespace's credential.
    pub fn new(address: &str, credential: Option<Secret>) -> Self {
        Self {
            base: format!("http://{address}").into(),
            client: Arc::new(HttpClient::with_credential(credential, CALL_DEADLINE)),
        }
    }

    pub(crate) async fn transact(&self, transaction: &Transaction) -> Result<Committed, Error> {
        self.post("/v1/transact", transaction, Duration::ZERO).await
    }

    pub(crate) async fn query_within(
        &self,
        namespace: &str,
        query: &Query,
        max_stale: Duration,
    ) -> Result<Page, Error> {
        // The name becomes part of the URL unquoted.
        limits::check_name("namespace", namespace)?;
        let mut path = format!("/v1/query?namespace={namespace}");
        let max_stale_ms = u64::try_from(max_stale.as_millis()).unwrap_or(u64::MAX);
        if max_stale_ms > 0 {
            path.push_str(&format!("&max_stale_ms={max_stale_ms}"));
        }
        self.post(&path, query, Duration::ZERO).await
    }

    pub(crate) async fn declare(&self, namespace: &str, declaration: &Declaration) -> Result<(), Error> {
        limits::check_name("namespace", namespace)?;
        self.post(&format!("/v1/declare?namespace={namespace}"), declaration, DECLARE_DEADLINE).await
    }

    pub(crate) async fn changes(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Change>, Error> {
        let wait_ms = milliseconds(wait);
        let mut path = format!("/v1/changes?after={after}&limit={limit}&wait_ms={wait_ms}");
        if let Some(namespace) = namespace {
            limits::check_name("namespace", namespace)?;
            path.push_str(&format!("&namespace={namespace}"));
        }
        let url = format!("{}{path}", self.base);
        let deadline = CALL_DEADLINE + Duration::from_millis(wait_ms);
        let answer = self.client.send(&url, Request::builder().uri(&url), Bytes::new(), deadline).await?;
        read(&url, &answer)
    }

    pub(crate) async fn command(&self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        self.post("/v1/jobs/command", command, command.wait()).await
    }

    pub(crate) async fn job_when_final(&self, id: &str, wait: Duration) -> Result<Job, Error> {
        let path = match milliseconds(wait) {
            0 => "/v1/jobs/get".to_owned(),
            wait_ms => format!("/v1/jobs/get?wait_ms={wait_ms}"),
        };
        self.post(&path, &id, wait).await
    }

    pub(crate) async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        self.post("/v1/jobs/list", filter, Duration::ZERO).await
    }

    pub(crate) async fn queues(&self) -> Result<Vec<QueueFigures>, Error> {
        self.post("/v1/queues", &(), Duration::ZERO).await
    }

    /// Has the role write a copy of its database to a file on its own host.
    pub(crate) async fn backup(&self, file: &Path) -> Result<crate::backup::Report, Error> {
        self.post("/v1/backup", &crate::backup::Request { file: file.to_owned() }, BACKUP_DEADLINE).await
    }

    /// Asks for the status of the continuous backup; `None` without one.
    pub async fn backup_status(&self) -> Result<Option<crate::backup::Status>, Error> {
        let url = format!("{}/v1/backup", self.base);
        let answer =
            self.client.send(&url, Request::builder().uri(&url), Bytes::new(), CALL_DEADLINE).await?;
        read(&url, &answer)
    }

    /// Has the role store a base of the continuous backup.
    pub async fn store_base(&self) -> Result<crate::backup::BaseReport, Error> {
        self.post("/v1/backup/base", &(), BACKUP_DEADLINE).await
    }

    /// Has the role try a restore out and compare it.
    pub async fn drill(&self) -> Result<crate::backup::DrillReport, Error> {
        self.post("/v1/backup/drill", &(), BACKUP_DEADLINE).await
    }

    /// Calls the role; the deadline exceeds how long the role itself may wait.
    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<T, Error> {
        let url = format!("{}{path}", self.base);
        let body = serde_json::to_vec(body).map_err(|error| Error::Invalid { reason: error.to_string() })?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&url)
            .header(header::CONTENT_TYPE, "application/json");
        let deadline = CALL_DEADLINE.saturating_add(wait);
        let answer = self.client.send(&url, request, Bytes::from(body), deadline).await?;
        read(&url, &answer)
    }
}

fn read<T: DeserializeOwned>(url: &str, answer: &Answer) -> Result<T, Error> {
    if answer.status.is_success() {
        // Our own role's answers are read however deep they are: what they hold is bounded, not what stands around it.
        let mut answer = serde_json::Deserializer::from_slice(&answer.body);
        answer.disable_recursion_limit();
        let read = T::deserialize(&mut answer);
        return read
            .map_err(|error| Error::Unknown { reason: format!("{url} answered unreadably: {error}") });
    }
    Err(answer.json::<Error>(url).unwrap_or_else(|_| match answer.status.as_u16() {
        // Problems of the request itself, which the role refuses before it does anything.
        401 => Error::Forbidden,
        400..=499 => {
            let detail = answer.json::<Told>(url).map(|told| told.detail);
            let reason = detail.unwrap_or_else(|_| format!("{url} answered {}", answer.status));
            Error::Invalid { reason }
        }
        503 => Error::Unavailable { reason: format!("{url} answered {}", answer.status) },
        _ => Error::Unknown { reason: format!("{url} answered {}", answer.status) },
    }))
}

/// What a problem says that has no members of ours.
#[derive(Deserialize)]
struct Told {
    detail: String,
}

fn milliseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(WAIT_LIMIT_MS)
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
