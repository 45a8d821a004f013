//! The schema of ours in the server's database and its steps: forward only, each in a transaction.

use super::fault::Fault;
use super::session::Session;
use crate::engine::OpenError;

/// The steps in order; a released one is never changed, only followed by another.
const STEPS: [&str; 6] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_collections.sql"),
    include_str!("migrations/0003_answers.sql"),
    include_str!("migrations/0004_versions.sql"),
    include_str!("migrations/0005_counts.sql"),
    include_str!("migrations/0006_retention.sql"),
];

/// The version of the schema this program reads and writes.
const VERSION: u32 = STEPS.len() as u32;

/// Held while a process brings the schema up, so that several may start at once: the letters "Sixf".
const LOCK: &str = "SELECT pg_advisory_xact_lock(1399421030)";

const EXISTS: &str =
    "SELECT to_regnamespace($1::text) IS NOT NULL, to_regclass($1::text || '.steps') IS NOT NULL";

const IS_EMPTY: &str =
    "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1::text))";

const CREATE: &str = "CREATE TABLE steps (version bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())";

const FOUND: &str = "SELECT coalesce(max(version), 0) FROM steps";

/// What the server must be, and what of its settings weakens what we promise.
const SERVER: &str = "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), \
    current_setting('server_encoding'), current_setting('fsync')";

/// The oldest version of the server that is tested.
const OLDEST_SERVER: i64 = 140_000;

/// Checks the server, then brings its database up to this program's schema, or refuses a newer or foreign one.
pub(super) async fn migrate(session: &Session, schema: &str) -> Result<(), OpenError> {
    check_server(session).await?;
    session.run("BEGIN").await.map_err(storage)?;
    // A process that brings it up meanwhile may take its time; the lock is waited for longer than others.
    session
        .run("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '10min'")
        .await
        .map_err(storage)?;
    session.run(LOCK).await.map_err(storage)?;
    let found = find(session, schema).await?;
    for (version, sql) in (1..=VERSION).zip(STEPS).skip(found as usize) {
        session.run(sql).await.map_err(storage)?;
        session.run(&format!("INSERT INTO steps (version) VALUES ({version})")).await.map_err(storage)?;
    }
    session.run("COMMIT").await.map_err(storage)?;
    if found < VERSION {
        tracing::info!(version = VERSION, "the database's schema was brought up");
    }
    Ok(())
}

/// Reads which version of the schema the database has; 0 when it is empty.
async fn find(session: &Session, schema: &str) -> Result<u32, OpenError> {
    let row = session.query_one(EXISTS, &[&schema]).await.map_err(storage)?;
    let (is_there, is_ours): (bool, bool) = (row.get(0), row.get(1));
    if !is_there {
        session.run(&format!("CREATE SCHEMA {schema}")).await.map_err(storage)?;
    } else if !is_ours && !session.query_one(IS_EMPTY, &[&schema]).await.map_err(storage)?.get::<_, bool>(0) {
        return Err(OpenError::ForeignSchema { schema: schema.to_owned() });
    }
    if !is_ours {
        session.run(CREATE).await.map_err(storage)?;
    }
    let found: i64 = session.query_one(FOUND, &[]).await.map_err(storage)?.get(0);
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > VERSION {
        return Err(OpenError::TooNew { found, known: VERSION });
    }
    Ok(found)
}

async fn check_server(session: &Session) -> Result<(), OpenError> {
    let row = session.query_one(SERVER, &[]).await.map_err(storage)?;
    let (number, version, encoding, fsync): (i64, String, String, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    if number < OLDEST_SERVER {
        let reason = format!("PostgreSQL {version} is older than 14");
        return Err(OpenError::Storage { reason });
    }
    if encoding != "UTF8" {
        let reason = format!("the PostgreSQL database's encoding is {encoding}; it must be UTF8");
        return Err(OpenError::Storage { reason });
    }
    if fsync == "off" {
        tracing::warn!(
            "the PostgreSQL server runs with fsync = off: a power failure loses acknowledged writes"
        );
    }
    Ok(())
}

fn storage(error: tokio_postgres::Error) -> OpenError {
    OpenError::Storage { reason: Fault::from(error).to_string() }
}
