//! One connection to the server, with the statements it has prepared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Socket, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::fault::Fault;
use super::tls::Tls;
use crate::engine::OpenError;
use crate::url::without_roots;

/// How long connecting and preparing may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// How long a connection may be silent before the kernel asks whether the server is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// How long what was sent may go unacknowledged before the connection counts as broken.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// The most statements of one connection that are kept prepared besides those made at its start.
const STATEMENTS: usize = 256;

/// The schema the tables are in, unless the URL chooses another.
const SCHEMA: &str = "sixfold";

/// What holds for every connection.
const SETTINGS: &str = include_str!("sql/session.sql");

/// Which server we write to, which of its histories, and which of its databases and tables; another one after a restore,
/// when a standby took over, or when what is there came from a dump.
const HISTORY: &str = "SELECT system_identifier::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) \
    || coalesce('/' || (SELECT oid FROM pg_database WHERE datname = current_database())::text \
        || '.' || to_regclass('counter')::oid::text, '') \
    FROM pg_control_system()";

/// What changes when the server is started again, and when it recovers from a crash by itself, which resets these figures.
/// A transaction's name is used again after a crash if nothing of it had reached the log.
const LIFE: &str =
    "SELECT pg_postmaster_start_time()::text || '/' || coalesce(stats_reset::text, '') FROM pg_stat_bgwriter";

/// Which server a standby is a copy of. It does not tell its history; what it holds does (`replicas`).
const COPY_OF: &str = "SELECT system_identifier::text || '/' FROM pg_control_system()";

/// A standby refuses writes; when it takes over it would not.
const ONLY_READ: &str = "SET default_transaction_read_only = on";

/// What a connection's notifications go to.
pub(crate) type Listener = Box<dyn Fn(tokio_postgres::Notification) + Send>;

/// Where to connect, and the runtime that drives the connections.
#[derive(Clone)]
pub(crate) struct Server {
    config: Config,
    /// Set when the URL asks for it.
    tls: Option<Tls>,
    schema: Arc<str>,
    /// Whether it is only read, and may be one that refuses writes.
    is_standby: bool,
    runtime: Handle,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration holds a password.
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// An open connection; it closes when it is dropped, whatever is under way.
pub(crate) struct Session {
    client: Client,
    statements: Mutex<HashMap<Arc<str>, Statement>>,
    /// The server and its history when it was opened; of a standby the beginning of that.
    pub(crate) history: String,
    /// The server's life since it was started or had crashed, when it was opened.
    pub(crate) life: String,
    _driver: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("history", &self.history).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the place a URL names, with our deadlines where it names none.
    pub(crate) fn new(url: &str, runtime: Handle) -> Result<Self, OpenError> {
        let (url, roots) = without_roots(url);
        // The parser's own error may repeat a password.
        let unreadable = |_| OpenError::Config { reason: "database.url: it cannot be read".to_owned() };
        let mut config: Config = url.parse().map_err(unreadable)?;
        let tls = match config.get_ssl_mode() {
            SslMode::Require => {
                let tls = Tls::new(roots.as_deref());
                Some(tls.map_err(|reason| OpenError::Config { reason: format!("database.url: {reason}") })?)
            }
            _ => None,
        };
        if config.get_application_name().is_none() {
            config.application_name("sixfold");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_DEADLINE);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(USER_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE_IDLE);
        // Of several hosts the one that takes writes.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let schema = schema_in(config.get_options().unwrap_or_default()).into();
        Ok(Self { config, tls, schema, is_standby: false, runtime })
    }

    /// Takes the place of a standby of another server, which is only read and has that one's schema.
    pub(super) fn standby(&self, url: &str) -> Result<Self, OpenError> {
        let mut server = Self::new(url, self.runtime.clone())?;
        server.config.target_session_attrs(TargetSessionAttrs::Any);
        Ok(Self { schema: Arc::clone(&self.schema), is_standby: true, ..server })
    }

    /// Names the schema the tables are in; notifications go by its name too.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// Connects, makes the settings and prepares the statements.
    pub(crate) async fn connect(
        &self,
        statements: &'static [&'static str],
        listener: Option<Listener>,
    ) -> Result<Session, Fault> {
        let server = self.clone();
        // On our own runtime: the caller's may end before the connection does.
        let connecting = self.runtime.spawn(async move {
            let connecting = server.open(statements, listener);
            tokio::time::timeout(CONNECT_DEADLINE, connecting).await
        });
        match AbortOnDropHandle::new(connecting).await {
            Ok(Ok(session)) => Ok(session?),
            // Either it took too long or the runtime is ending.
            Ok(Err(_)) | Err(_) => Err(Fault::TimedOut),
        }
    }

    async fn open(
        &self,
        statements: &'static [&'static str],
        listener: Option<Listener>,
    ) -> Result<Session, tokio_postgres::Error> {
        let (client, driver) = match self.tls.clone() {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, self.drive(connection, listener))
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls).await?;
                (client, self.drive(connection, listener))
            }
        };
        client.batch_execute(&SETTINGS.replace("{schema}", &self.schema)).await?;
        let history = match self.is_standby {
            false => HISTORY,
            true => {
                client.batch_execute(ONLY_READ).await?;
                COPY_OF
            }
        };
        let history = client.query_typed_one(history, &[]).await?.get(0);
        let life = client.query_typed_one(LIFE, &[]).await?.get(0);
        let session = Session { client, statements: Mutex::default(), history, life, _driver: driver };
        futures_util::future::try_join_all(statements.iter().map(|sql| session.prepare(sql))).await?;
        Ok(session)
    }

    /// Has the runtime move what a connection sends and receives.
    fn drive<S>(
        &self,
        mut connection: Connection<Socket, S>,
        listener: Option<Listener>,
    ) -> AbortOnDropHandle<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        AbortOnDropHandle::new(self.runtime.spawn(async move {
            loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(notification))) => {
                        if let Some(listener) = &listener {
                            listener(notification);
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a connection to PostgreSQL broke");
                        break;
                    }
                    None => break,
                }
            }
        }))
    }
}

impl Session {
    /// Tells whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Gives a statement, preparing it with its first use.
    pub(crate) async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.lock().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.lock();
        if statements.len() < STATEMENTS {
            statements.insert(sql.into(), statement.clone());
        }
        Ok(statement)
    }

    /// Asks for rows. What is awaited together travels together: the statement is sent with the first poll.
    pub(crate) async fn query(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepare(sql).await?;
        self.client.query(&statement, values).await
    }

    /// Asks for just one row.
    pub(crate) async fn query_one(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, tokio_postgres::Error> {
        let statement = self.prepare(sql).await?;
        self.client.query_one(&statement, values).await
    }

    /// Does a statement that answers nothing.
    pub(crate) async fn execute(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(), tokio_postgres::Error> {
        let statement = self.prepare(sql).await?;
        self.client.execute(&statement, values).await.map(drop)
    }

    /// Does several statements without values, such as a step of the schema.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the schema a URL chooses, or ours.
pub(crate) fn schema_of(url: &str) -> String {
    let config: Option<Config> = without_roots(url).0.parse().ok();
    let options = config.as_ref().and_then(Config::get_options).unwrap_or_default();
    schema_in(options).to_owned()
}

/// Gives the schema that options choose by `-csearch_path=NAME`, or ours.
fn schema_in(options: &str) -> &str {
    let chosen = options.split_once("search_path=").map_or("", |(_, chosen)| chosen);
    let end = chosen.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(chosen.len());
    match &chosen[..end] {
        "" => SCHEMA,
        chosen => chosen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_choose_another_schema() {
        assert_eq!(schema_in("-csearch_path=shop_2 -cwork_mem=1MB"), "shop_2");
        assert_eq!(schema_in("-c search_path=a,b"), "a");
        assert_eq!(schema_in("-csearch_path=\"; DROP"), SCHEMA);
        assert_eq!(schema_in(""), SCHEMA);
    }
}
