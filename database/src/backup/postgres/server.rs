//! What the backup asks the server, over connections like those of the engine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;

use super::descent::History;
use super::judge::Facts;
use super::login::Login;
use super::lsn::Lsn;
use super::program::{Program, Stream};
use super::tools::{Tool, Tools};
use crate::engine::postgres::session::{Server, Session};

/// See [`Facts`]; `archive_library` is hidden from users without `pg_read_all_settings`.
const FACTS: &str = "SELECT current_setting('server_version_num')::bigint, \
    (SELECT system_identifier::text FROM pg_control_system()), \
    (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'), \
    current_setting('wal_level'), current_setting('max_wal_senders')::bigint, \
    current_setting('max_replication_slots')::bigint, current_setting('archive_mode'), \
    (SELECT setting FROM pg_settings WHERE name = 'archive_command'), \
    (SELECT setting FROM pg_settings WHERE name = 'archive_library'), \
    ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE slot_type = 'physical' AND slot_name <> $1), \
    current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), current_user::text, \
    (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), \
    (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))";

/// `restart_lsn` is what the receiver has confirmed to have flushed.
/// The time comes first: what was committed by then lies before the places that are asked for after it.
const SLOT: &str = "SELECT clock_timestamp(), pg_current_wal_flush_lsn()::text, active, restart_lsn::text, wal_status, \
    pg_current_wal_insert_lsn()::text \
    FROM (SELECT) AS one LEFT JOIN pg_replication_slots ON slot_name = $1 AND slot_type = 'physical'";

const CREATE: &str = "SELECT FROM pg_create_physical_replication_slot($1::text::name, true)";

const DROP: &str = "SELECT pg_drop_replication_slot($1::text::name)";

const NOW: &str = "SELECT clock_timestamp(), pg_snapshot_xmax(pg_current_snapshot())::text";

/// A segment's name begins with its timeline; what the last checkpoint tells may be the one before.
const TIMELINE: &str = "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";

/// How long the server may take to tell a timeline's history.
const HISTORY_DEADLINE: Duration = Duration::from_secs(20);

/// The slot by which the server keeps what was not received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Whether somebody receives by it.
    pub(super) is_active: bool,
    /// Up to where everything was received, and from where on the server keeps its log.
    pub(super) received: Lsn,
    /// Whether the server gave up keeping it.
    pub(super) is_lost: bool,
}

/// The slot, if there is one, and up to where the server's log is flushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The server's time, before the rest was looked at.
    pub(super) at: Timestamp,
    pub(super) flushed: Lsn,
    /// Where the next record begins.
    pub(super) inserted: Lsn,
    pub(super) slot: Option<Slot>,
}

pub(super) async fn connect(server: &Server) -> Result<Session, String> {
    server.connect(&[], None).await.map_err(|fault| fault.to_string())
}

pub(super) async fn facts(session: &Session, slot: &str) -> Result<Facts, String> {
    let row = session.query_one(FACTS, &[&slot]).await.map_err(said)?;
    let read = || {
        Ok(Facts {
            version: row.try_get(0)?,
            system: row.try_get(1)?,
            segment_bytes: row.try_get(2)?,
            wal_level: row.try_get(3)?,
            wal_senders: row.try_get(4)?,
            slots: row.try_get(5)?,
            archive_mode: row.try_get(6)?,
            archive_command: row.try_get::<_, Option<String>>(7)?.unwrap_or_default(),
            archive_library: row.try_get(8)?,
            other_slots: row.try_get(9)?,
            standby_names: row.try_get(10)?,
            synchronous_commit: row.try_get(11)?,
            user: row.try_get(12)?,
            may_replicate: row.try_get::<_, Option<bool>>(13)?.unwrap_or(false),
            tablespaces: row.try_get(14)?,
        })
    };
    read().map_err(said)
}

pub(super) async fn look(session: &Session, slot: &str) -> Result<Look, String> {
    let row = session.query_one(SLOT, &[&slot]).await.map_err(said)?;
    let place = |column: usize| row.try_get::<_, Option<String>>(column).map_err(said);
    let at = row.try_get(0).map_err(said)?;
    let flushed = place(1)?.unwrap_or_default().parse()?;
    let inserted = place(5)?.unwrap_or_default().parse()?;
    let Some(is_active) = row.try_get::<_, Option<bool>>(2).map_err(said)? else {
        return Ok(Look { at, flushed, inserted, slot: None });
    };
    let (received, status) = (place(3)?, place(4)?);
    // A slot that never reserved anything keeps nothing either.
    let is_lost = status.as_deref() == Some("lost") || received.is_none();
    let received = received.map_or(Ok(Lsn::default()), |text| text.parse())?;
    Ok(Look { at, flushed, inserted, slot: Some(Slot { is_active, received, is_lost }) })
}

/// Gives the timeline the server writes in.
pub(super) async fn timeline(session: &Session) -> Result<u32, String> {
    let row = session.query_one(TIMELINE, &[]).await.map_err(said)?;
    let digits: String = row.try_get(0).map_err(said)?;
    u32::from_str_radix(&digits, 16).map_err(|_| format!("`{digits}` is no timeline"))
}

/// Asks for a timeline's history. Only a connection for replication tells it without more rights than a backup needs, and
/// psql can open one.
pub(super) async fn history(tools: &Tools, login: &Login, timeline: u32) -> Result<History, String> {
    if timeline == 1 {
        return Ok(History::default());
    }
    let mut command = tools.command(Tool::Ask)?;
    command.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]);
    command.args(["--dbname", "replication=true", "--command", &format!("TIMELINE_HISTORY {timeline}")]);
    login.apply(&mut command, "sixfold_history");
    let told = Arc::new(Mutex::new(String::new()));
    let lines = Arc::clone(&told);
    let note = move |stream: Stream, line: &str| {
        if stream == Stream::Output {
            // The file's name comes before its text.
            let line = line.split_once(".history|").map_or(line, |(_, text)| text);
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push_str(line);
            lines.push('\n');
        }
    };
    let started = Program::start(command, None, Signal::TERM, note);
    let mut program = started.map_err(|error| format!("psql cannot be started: {error}"))?;
    let ended = tokio::time::timeout(HISTORY_DEADLINE, program.end()).await;
    let failed =
        |reason: String| format!("the history of the server's timeline {timeline} is not told: {reason}");
    match ended {
        Ok(ended) if ended.is_success() => {
            Ok(History::read(&told.lock().unwrap_or_else(PoisonError::into_inner)))
        }
        Ok(ended) => Err(failed(ended.reason())),
        Err(_) => Err(failed(format!("it takes longer than {HISTORY_DEADLINE:?}"))),
    }
}

/// Makes the slot; the server keeps its log from now on.
pub(super) async fn create_slot(session: &Session, slot: &str) -> Result<(), String> {
    session.query(CREATE, &[&slot]).await.map(drop).map_err(said)
}

pub(super) async fn drop_slot(session: &Session, slot: &str) -> Result<(), String> {
    session.query(DROP, &[&slot]).await.map(drop).map_err(said)
}

/// Gives the server's time, and the number before which all transactions have begun.
pub(super) async fn now(session: &Session) -> Result<(Timestamp, u64), String> {
    let row = session.query_one(NOW, &[]).await.map_err(said)?;
    let number: String = row.try_get(1).map_err(said)?;
    // The upper half counts turns of the lower, which is all that a recovery target compares.
    let number: u64 = number.parse().map_err(|_| format!("`{number}` is no transaction"))?;
    Ok((row.try_get(0).map_err(said)?, number))
}

fn said(error: tokio_postgres::Error) -> String {
    crate::engine::postgres::fault::Fault::from(error).to_string()
}
