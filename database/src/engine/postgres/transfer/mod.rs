//! All data of a database, read in one snapshot and written in one transaction ([`crate::copy`]).

use process::Secret;
use tokio::runtime::Handle;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::document::Document;
use super::fault::Fault;
use super::rows::{read_change, read_record, unreadable};
use super::session::{Server, Session};
use super::{declared, job_rows, schema};
use crate::backup::postgres::Lsn;
use crate::copy::{CHUNK, CopyError, Differences, Digest, End, Inbox, Item, Outbox, Part, Summary, Taken};
use crate::engine::OpenError;
use crate::engine::numbers::{number, stored};
use crate::{Declaration, Earlier, Error, Record, time};

const RECORDS: &str = include_str!("sql/copy_records.sql");
const VERSIONS: &str = include_str!("sql/copy_versions.sql");
const JOBS: &str = include_str!("sql/copy_jobs.sql");
const ANSWERS: &str = include_str!("sql/copy_answers.sql");
const COLLECTIONS: &str = "SELECT namespace, name FROM collections ORDER BY namespace, name";
const SEQUENCE: &str = "SELECT sequence FROM counter";
const LOCK: &str = "SELECT sequence FROM counter FOR UPDATE";
const CHANGES: &str = "SELECT sequence, namespace, collection, id, kind, at FROM changes \
    WHERE sequence > $1 ORDER BY sequence LIMIT $2";
const TRIMMED: &str = "SELECT namespace, sequence FROM trimmed";
const PUT_TRIMMED: &str = "INSERT INTO trimmed (namespace, sequence) VALUES ($1, $2) \
    ON CONFLICT (namespace) DO UPDATE SET sequence = excluded.sequence";
/// Keeps writers of jobs, which do not lock the counter, and whoever removes old changes, out for the moment.
const HOLD: &str = "LOCK TABLE jobs, changes IN SHARE MODE";
/// A record in the log that changes nothing.
pub(super) const MARK: &str = "SELECT pg_logical_emit_message(true, 'sixfold', '')";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM records) AND NOT EXISTS (SELECT FROM changes) \
    AND NOT EXISTS (SELECT FROM versions) AND NOT EXISTS (SELECT FROM jobs) AND NOT EXISTS (SELECT FROM answers)";
const PUT_RECORDS: &str = include_str!("sql/paste_records.sql");
const PUT_VERSIONS: &str = include_str!("sql/paste_versions.sql");
const PUT_CHANGES: &str = include_str!("sql/paste_changes.sql");
const PUT_JOBS: &str = include_str!("sql/paste_jobs.sql");
const PUT_ANSWERS: &str = include_str!("sql/keep_answers.sql");
const COUNT: &str = include_str!("sql/count_records.sql");
const SET_SEQUENCE: &str = "UPDATE counter SET sequence = $1";

/// The settings of a connection that is to take as long as it takes.
const PATIENT: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// Opens the database and brings its schema up.
async fn open(url: &Secret) -> Result<(Server, Session), CopyError> {
    let server = Server::new(url.expose(), Handle::current())?;
    let storage = |fault: Fault| OpenError::Storage { reason: fault.to_string() };
    let session = server.connect(&[], None).await.map_err(storage)?;
    schema::migrate(&session, server.schema()).await?;
    session.run(PATIENT).await.map_err(failed)?;
    Ok((server, session))
}

/// Sends everything there is.
pub(crate) async fn send_all(url: &Secret, outbox: &mut Outbox) -> Result<(), CopyError> {
    let (_, session) = open(url).await?;
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
    send_items(&session, outbox).await?;
    let sequence = number(session.query_one(SEQUENCE, &[]).await.map_err(failed)?.get(0));
    let declarations = declarations(&session).await?;
    let marks = session.query(TRIMMED, &[]).await.map_err(failed)?;
    let trimmed = marks.iter().map(|row| (row.get(0), number(row.get(1)))).collect();
    outbox.send(Part::End(End { sequence, declarations, trimmed })).await?;
    match outbox.is_asked_again().await {
        true => send_items(&session, outbox).await,
        false => Ok(()),
    }
}

async fn send_items(session: &Session, outbox: &Outbox) -> Result<(), CopyError> {
    let mut pages = Pages::new(session);
    while let Some(items) = pages.next().await? {
        outbox.send(Part::Items(items)).await?;
    }
    Ok(())
}

/// Takes everything into an empty database, and makes the indexes.
pub(crate) async fn receive_all(url: &Secret, place: &str, inbox: &mut Inbox) -> Result<Summary, CopyError> {
    let (server, session) = open(url).await?;
    session.run("BEGIN").await.map_err(failed)?;
    // A process that serves this database waits meanwhile, and gives up waiting.
    session.query_one(LOCK, &[]).await.map_err(failed)?;
    if !session.query_one(IS_EMPTY, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Err(CopyError::NotEmpty { place: place.to_owned() });
    }
    let mut digest = Digest::new();
    let End { sequence, declarations, trimmed } = loop {
        match inbox.recv().await? {
            Part::Items(items) => {
                items.iter().try_for_each(Item::check_readable)?;
                items.iter().try_for_each(|item| digest.take(item))?;
                paste(&session, &items).await?;
            }
            Part::End(end) => break end,
        }
    };
    session.execute(SET_SEQUENCE, &[&stored(sequence)]).await.map_err(failed)?;
    for (namespace, sequence) in trimmed {
        session.execute(PUT_TRIMMED, &[&namespace, &stored(sequence)]).await.map_err(failed)?;
    }
    let sent = digest.finish(sequence);
    if content(&session).await? != sent {
        return Err(CopyError::Differs { what: what_differs(&session, inbox).await? });
    }
    inbox.release();
    session.execute(COUNT, &[]).await.map_err(failed)?;
    session.run("COMMIT").await.map_err(failed)?;
    for (namespace, declaration) in declarations {
        let declared = declared::declare(&server, &namespace, &declaration).await;
        let declared = declared.and_then(|(_, contradicted)| contradicted.map_or(Ok(()), Err));
        let collection = declaration.collection;
        declared.map_err(|error| CopyError::Index { collection, error })?;
    }
    Ok(sent)
}

/// Names what differs from what is sent once more.
async fn what_differs(session: &Session, inbox: &mut Inbox) -> Result<String, CopyError> {
    inbox.ask_again();
    let (mut differences, mut pages) = (Differences::default(), Pages::new(session));
    let mut there = Vec::new().into_iter().peekable();
    while !differences.is_full() {
        if there.peek().is_none() {
            there = pages.next().await?.unwrap_or_default().into_iter().peekable();
        }
        let Some(taken) = differences.compare(inbox.peek().await, there.peek())? else { break };
        if taken != Taken::There {
            inbox.pass();
        }
        if taken != Taken::Sent {
            there.next();
        }
    }
    Ok(differences.describe())
}

/// Counts and hashes what is there.
async fn content(session: &Session) -> Result<Summary, CopyError> {
    let (mut digest, mut pages) = (Digest::new(), Pages::new(session));
    while let Some(items) = pages.next().await? {
        items.iter().try_for_each(|item| digest.take(item))?;
    }
    Ok(digest.finish(number(session.query_one(SEQUENCE, &[]).await.map_err(failed)?.get(0))))
}

/// Tells whether a server can be connected to and takes writes.
pub(crate) async fn is_open(url: &Secret) -> bool {
    match Server::new(url.expose(), Handle::current()) {
        Ok(server) => server.connect(&[], None).await.is_ok(),
        Err(_) => false,
    }
}

/// Counts and hashes what a database holds that nobody writes to.
pub(crate) async fn content_of(url: &Secret) -> Result<Summary, CopyError> {
    let server = Server::new(url.expose(), Handle::current())?;
    let session = connect(&server).await?;
    content(&session).await
}

/// Counts and hashes what a database holds at one place of its log: exactly what was committed before that. Also gives
/// a later place, up to which the log must be received so that a recovery can stop at the first.
pub(crate) async fn content_now(server: &Server) -> Result<(Lsn, Lsn, Summary), CopyError> {
    let (holding, reading) = (connect(server).await?, connect(server).await?);
    reading.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
    holding.run("BEGIN; SET LOCAL lock_timeout = '2s'").await.map_err(failed)?;
    // Both lanes stand still for this moment. The counter comes first, as with them: then nobody waits in a circle.
    holding.query_one(LOCK, &[]).await.map_err(failed)?;
    holding.run(HOLD).await.map_err(failed)?;
    let place: Lsn = place(&reading, "SELECT pg_current_wal_insert_lsn()::text").await?;
    holding.run("ROLLBACK").await.map_err(failed)?;
    // Recovery stops before the first record at or after the place, so there must be one.
    holding.run(MARK).await.map_err(failed)?;
    let marked = self::place(&holding, "SELECT pg_current_wal_flush_lsn()::text").await?;
    Ok((place, marked, content(&reading).await?))
}

async fn connect(server: &Server) -> Result<Session, CopyError> {
    let storage = |fault: Fault| OpenError::Storage { reason: fault.to_string() };
    let session = server.connect(&[], None).await.map_err(storage)?;
    session.run(PATIENT).await.map_err(failed)?;
    Ok(session)
}

async fn place(session: &Session, sql: &str) -> Result<Lsn, CopyError> {
    let text: String = session.query_one(sql, &[]).await.map_err(failed)?.get(0);
    Ok(text.parse().map_err(|reason| Error::Storage { reason })?)
}

async fn declarations(session: &Session) -> Result<Vec<(String, Declaration)>, CopyError> {
    let mut all = Vec::new();
    for row in session.query(COLLECTIONS, &[]).await.map_err(failed)? {
        let (namespace, collection): (String, String) = (row.get(0), row.get(1));
        let rows = session.query(declared::LOAD, &[&namespace, &collection]).await.map_err(failed)?;
        let declared = declared::read(&rows)?;
        let history = (declared.history, declared.history_age);
        all.push((namespace, Declaration::of_stored(collection, declared.indexes, declared.scan, history)));
    }
    Ok(all)
}

/// The content page by page: records, earlier versions, changes, jobs, answers, each in the order of its key.
struct Pages<'a> {
    session: &'a Session,
    kind: usize,
    after: Option<Item>,
}

impl<'a> Pages<'a> {
    fn new(session: &'a Session) -> Self {
        Self { session, kind: 0, after: None }
    }

    async fn next(&mut self) -> Result<Option<Vec<Item>>, CopyError> {
        loop {
            let items = match self.kind {
                0 => self.records().await?,
                1 => self.versions().await?,
                2 => self.changes().await?,
                3 => self.jobs().await?,
                4 => self.answers().await?,
                _ => return Ok(None),
            };
            self.after = items.last().cloned();
            match items.is_empty() {
                true => self.kind += 1,
                false => return Ok(Some(items)),
            }
        }
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

/// Writes items, all of one kind; a chunk is small, so each is one statement.
async fn paste(session: &Session, items: &[Item]) -> Result<(), CopyError> {
    let statements = items.iter().map(|item| paste_one(session, item));
    // They travel together.
    futures_util::future::try_join_all(statements).await?;
    Ok(())
}

async fn paste_one(session: &Session, item: &Item) -> Result<(), CopyError> {
    match item {
        Item::Record { namespace, record } => {
            let Record { collection, id, version, created_at, updated_at, data, .. } = record;
            let Document { data, exact } = Document::of(data)?;
            let times = (time::to_stored(*created_at), time::to_stored(*updated_at));
            let values: [&(dyn ToSql + Sync); 8] =
                [namespace, collection, id, &stored(*version), &times.0, &times.1, &data, &exact];
            session.execute(PUT_RECORDS, &values).await
        }
        Item::Earlier { namespace, version: Earlier { record, until } } => {
            let Record { collection, id, version, created_at, updated_at, data, .. } = record;
            let times = [created_at, updated_at, until].map(|time| time::to_stored(*time));
            let document = Document::of(data)?;
            let values: [&(dyn ToSql + Sync); 8] = [
                namespace,
                collection,
                id,
                &stored(*version),
                &times[0],
                &times[1],
                &times[2],
                &document.text(),
            ];
            session.execute(PUT_VERSIONS, &values).await
        }
        Item::Change(change) => {
            let values: [&(dyn ToSql + Sync); 6] = [
                &stored(change.sequence),
                &change.namespace,
                &change.collection,
                &change.id,
                &change.kind.as_str(),
                &change.at,
            ];
            session.execute(PUT_CHANGES, &values).await
        }
        Item::Job(job) => {
            let result = job.result.as_ref().map(ToString::to_string);
            let values: [&(dyn ToSql + Sync); 17] = [
                &job.id,
                &job.namespace,
                &job.queue,
                &job.kind,
                &job.state.stored(),
                &i64::from(job.attempt),
                &i64::from(job.max_attempts),
                &job.payload.to_string(),
                &result,
                &job.error,
                &job.progress,
                &stored(job.lease_token),
                &job.lease_until,
                &job.run_at,
                &job.created_at,
                &job.updated_at,
                &job.traceparent,
            ];
            session.execute(PUT_JOBS, &values).await
        }
        Item::Answer { namespace, key, fingerprint, committed, expires_at } => {
            let committed = serde_json::to_string(committed)
                .map_err(|error| Error::Storage { reason: error.to_string() })?;
            let values: [&(dyn ToSql + Sync); 5] =
                [&vec![namespace], &vec![key], &vec![fingerprint], &vec![committed], &vec![*expires_at]];
            session.execute(PUT_ANSWERS, &values).await
        }
    }
    .map_err(failed)
}

fn failed(error: tokio_postgres::Error) -> CopyError {
    Error::Storage { reason: Fault::from(error).to_string() }.into()
}
