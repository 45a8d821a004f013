//! Everything there is, read page by page.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::job_rows;
use super::super::rows::{read_change, read_record, unreadable};
use super::super::session::Session;
use super::failed;
use crate::copy::{CHUNK, CopyError, Item};
use crate::engine::numbers::stored;
use crate::{Earlier, Error, time};

const RECORDS: &str = include_str!("../sql/copy_records.sql");
const VERSIONS: &str = include_str!("../sql/copy_versions.sql");
const CHANGES: &str = "SELECT sequence, namespace, collection, id, kind, at FROM changes \
    WHERE sequence > $1 ORDER BY sequence LIMIT $2";
const JOBS: &str = include_str!("../sql/copy_jobs.sql");
const ANSWERS: &str = include_str!("../sql/copy_answers.sql");

/// The content page by page: records, earlier versions, changes, jobs, answers, each in the order of its key.
pub(super) struct Pages<'a> {
    session: &'a Session,
    /// Of what the next page is; `None` at the end.
    stage: Option<Stage>,
    after: Option<Item>,
}

/// What there is, in the order it is read.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Records,
    Versions,
    Changes,
    Jobs,
    Answers,
}

impl Stage {
    fn next(self) -> Option<Self> {
        match self {
            Self::Records => Some(Self::Versions),
            Self::Versions => Some(Self::Changes),
            Self::Changes => Some(Self::Jobs),
            Self::Jobs => Some(Self::Answers),
            Self::Answers => None,
        }
    }
}

impl<'a> Pages<'a> {
    /// Begins with the first page.
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, stage: Some(Stage::Records), after: None }
    }

    /// Reads the next page; `None` when there is nothing more.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>, CopyError> {
        while let Some(stage) = self.stage {
            let items = match stage {
                Stage::Records => self.records().await?,
                Stage::Versions => self.versions().await?,
                Stage::Changes => self.changes().await?,
                Stage::Jobs => self.jobs().await?,
                Stage::Answers => self.answers().await?,
            };
            self.after = items.last().cloned();
            if !items.is_empty() {
                return Ok(Some(items));
            }
            self.stage = stage.next();
        }
        Ok(None)
    }

    async fn page<T>(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        read: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, CopyError> {
        let rows = self.session.query(sql, values).await.map_err(failed)?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn records(&self) -> Result<Vec<Item>, CopyError> {
        let (namespace, collection, id) = match &self.after {
            Some(Item::Record { namespace, record }) => {
                (namespace.as_str(), &*record.collection, &*record.id)
            }
            _ => ("", "", ""),
        };
        let read = |row: &Row| {
            let collection: &str = row.try_get(6).map_err(unreadable)?;
            let (record, _) = read_record(row, collection)?;
            Ok(Item::Record { namespace: row.try_get(5).map_err(unreadable)?, record })
        };
        self.page(RECORDS, &[&namespace, &collection, &id, &(CHUNK as i64)], read).await
    }

    async fn versions(&self) -> Result<Vec<Item>, CopyError> {
        let (namespace, collection, id, version) = match &self.after {
            Some(Item::Earlier { namespace, version: Earlier { record, .. } }) => {
                (namespace.as_str(), &*record.collection, &*record.id, stored(record.version))
            }
            _ => ("", "", "", 0),
        };
        let read = |row: &Row| {
            let collection: &str = row.try_get(7).map_err(unreadable)?;
            let (record, _) = read_record(row, collection)?;
            let until = time::from_stored(row.try_get(5).map_err(unreadable)?);
            let namespace = row.try_get(6).map_err(unreadable)?;
            Ok(Item::Earlier { namespace, version: Earlier { record, until } })
        };
        self.page(VERSIONS, &[&namespace, &collection, &id, &version, &(CHUNK as i64)], read).await
    }

    async fn changes(&self) -> Result<Vec<Item>, CopyError> {
        let after = match &self.after {
            Some(Item::Change(change)) => stored(change.sequence),
            _ => 0,
        };
        let read = |row: &Row| read_change(row).map(Item::Change).map_err(unreadable);
        self.page(CHANGES, &[&after, &(CHUNK as i64)], read).await
    }

    async fn jobs(&self) -> Result<Vec<Item>, CopyError> {
        let after = match &self.after {
            Some(Item::Job(job)) => job.id.as_str(),
            _ => "",
        };
        let read = |row: &Row| Ok(Item::of_job(job_rows::read(row).map_err(unreadable)?.0));
        self.page(JOBS, &[&after, &(CHUNK as i64)], read).await
    }

    async fn answers(&self) -> Result<Vec<Item>, CopyError> {
        let (namespace, key) = match &self.after {
            Some(Item::Answer { namespace, key, .. }) => (namespace.as_str(), key.as_str()),
            _ => ("", ""),
        };
        let read = |row: &Row| {
            let text = |column| row.try_get::<_, String>(column).map_err(unreadable);
            let committed = serde_json::from_str(&text(3)?)
                .map_err(|error| Error::Storage { reason: format!("a kept answer: {error}") })?;
            let expires_at = row.try_get(4).map_err(unreadable)?;
            Ok(Item::Answer {
                namespace: text(0)?,
                key: text(1)?,
                fingerprint: text(2)?,
                committed,
                expires_at,
            })
        };
        self.page(ANSWERS, &[&namespace, &key, &(CHUNK as i64)], read).await
    }
}
