//! The engines: a closed set, so an enum.

mod error;
mod failures;
mod filling;
pub(crate) mod numbers;
pub(crate) mod postgres;
pub(crate) mod sqlite;
mod waits;
mod wakes;
mod writable;

use std::path::Path;
use std::time::Duration;

pub use self::error::OpenError;
pub use self::postgres::Postgres;
pub use self::sqlite::Sqlite;
pub(crate) use self::writable::Writing;
use crate::backup::{self, BackupError, Continuous};
use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::{
    Change, Committed, Config, Declaration, Error, Job, JobCommand, Page, Query, Transaction, Url, figures,
    limits,
};

/// A database engine in this process; clones share it.
#[derive(Debug, Clone)]
pub enum Engine {
    /// SQLite in a data directory that this process owns.
    Sqlite(Sqlite),
    /// PostgreSQL, which other processes may use too.
    Postgres(Postgres),
}

impl Engine {
    /// Opens the configured engine. SQLite is the data directory's only owner until it is closed; PostgreSQL
    /// leaves the directory alone but for what its backup needs there, and is waited for up to 10 s when it does not answer.
    pub fn open(config: &Config, data: &Path) -> Result<Self, OpenError> {
        config.validate().map_err(|error| OpenError::Config { reason: error.to_string() })?;
        match &config.url {
            Url::Sqlite | Url::SqliteIn(_) => Sqlite::open(config, config.folder(data)).map(Self::Sqlite),
            Url::Postgres(url) => Postgres::open(config, url, data).map(Self::Postgres),
        }
    }

    /// See [`crate::Database::transact`].
    pub async fn transact(&self, transaction: Transaction) -> Result<Committed, Error> {
        limits::check_transaction(&transaction)?;
        transaction.operations.iter().for_each(|operation| figures::count(operation.name()));
        match self {
            Self::Sqlite(sqlite) => sqlite.transact(transaction).await,
            Self::Postgres(postgres) => postgres.transact(transaction).await,
        }
    }

    /// See [`crate::Database::query`].
    pub async fn query(&self, namespace: &str, query: &Query) -> Result<Page, Error> {
        self.query_within(namespace, query, Duration::ZERO).await
    }

    /// See [`crate::Database::query_within`]. SQLite has no replicas and is never stale.
    pub async fn query_within(
        &self,
        namespace: &str,
        query: &Query,
        max_stale: Duration,
    ) -> Result<Page, Error> {
        limits::check_query(namespace, query)?;
        figures::count("query");
        match self {
            Self::Sqlite(sqlite) => sqlite.query(namespace, query).await,
            // Boxed: it may ask a replica first, and would make every future larger that asks anything.
            Self::Postgres(postgres) => Box::pin(postgres.query_within(namespace, query, max_stale)).await,
        }
    }

    /// See [`crate::Database::declare`].
    pub async fn declare(&self, namespace: &str, declaration: &Declaration) -> Result<(), Error> {
        limits::check_declaration(namespace, declaration)?;
        match self {
            Self::Sqlite(sqlite) => sqlite.declare(namespace, declaration).await,
            Self::Postgres(postgres) => postgres.declare(namespace, declaration).await,
        }
    }

    /// See [`crate::Database::changes`].
    pub async fn changes(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Change>, Error> {
        namespace.map_or(Ok(()), |namespace| limits::check_name("namespace", namespace))?;
        limits::check_page(limit)?;
        match self {
            Self::Sqlite(sqlite) => sqlite.changes(namespace, after, limit, wait).await,
            Self::Postgres(postgres) => postgres.changes(namespace, after, limit, wait).await,
        }
    }

    /// See [`crate::Database::command`].
    pub async fn command(&self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        limits::check_command(command)?;
        figures::count(command.name());
        match self {
            Self::Sqlite(sqlite) => sqlite.command(command).await,
            Self::Postgres(postgres) => postgres.command(command).await,
        }
    }

    /// See [`crate::Database::job`].
    pub async fn job(&self, id: &str) -> Result<Job, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.job(id).await,
            Self::Postgres(postgres) => postgres.job(id).await,
        }
    }

    /// See [`crate::Database::job_when_final`].
    pub async fn job_when_final(&self, id: &str, wait: Duration) -> Result<Job, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.job_when_final(id, wait).await,
            Self::Postgres(postgres) => postgres.job_when_final(id, wait).await,
        }
    }

    /// See [`crate::Database::jobs`].
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        limits::check_filter(filter)?;
        match self {
            Self::Sqlite(sqlite) => sqlite.jobs(filter).await,
            Self::Postgres(postgres) => postgres.jobs(filter).await,
        }
    }

    /// See [`crate::Database::queues`].
    pub async fn queues(&self) -> Result<Vec<QueueFigures>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.queues().await,
            Self::Postgres(postgres) => postgres.queues().await,
        }
    }

    /// Sends those who wait for jobs or changes away with what there is; the first step of a shutdown.
    pub(crate) fn end_waits(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.end_waits(),
            Self::Postgres(postgres) => postgres.end_waits(),
        }
    }

    /// Tells how writing goes, and when that changes.
    pub(crate) fn writable(&self) -> tokio::sync::watch::Receiver<Writing> {
        match self {
            Self::Sqlite(sqlite) => sqlite.writable(),
            Self::Postgres(postgres) => postgres.writable(),
        }
    }

    /// Gives the continuous backup; `None` without one.
    pub(crate) fn continuous(&self) -> Option<Continuous<'_>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.shipping().map(Continuous::Sqlite),
            Self::Postgres(postgres) => postgres.receiving().map(Continuous::Postgres),
        }
    }

    /// Gives the status of the continuous backup; `None` without one.
    pub fn backup_status(&self) -> Option<backup::Status> {
        self.continuous().map(Continuous::status)
    }

    /// Has a base of the continuous backup stored now.
    pub async fn store_base(&self) -> Result<backup::BaseReport, BackupError> {
        self.continuous().ok_or(BackupError::NotConfigured)?.orders().store_base().await
    }

    /// Has a restore of the continuous backup tried out and compared now.
    pub async fn drill(&self) -> Result<backup::DrillReport, BackupError> {
        self.continuous().ok_or(BackupError::NotConfigured)?.orders().drill().await
    }

    /// Waits until the engine cannot write any more: it was closed, or it failed for good.
    pub async fn ended(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.ended().await,
            Self::Postgres(postgres) => postgres.ended().await,
        }
    }

    /// Finishes the writes that wait, then gives up the data directory or the connections; blocks, and may be
    /// called again.
    pub fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close(),
            Self::Postgres(postgres) => postgres.close(),
        }
    }
}
