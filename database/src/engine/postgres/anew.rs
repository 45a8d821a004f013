//! A server that was restored, or that took over for another one: what was given out before may be unknown to it.
//!
//! Versions and fencing tokens are promises: the same one never means something else. A restored server holds
//! an earlier state, and a standby that took over perhaps not the last commits; both would give out again what others
//! have seen. So the counter's row says which server wrote last and in which of its histories (timelines), and whoever
//! writes to another one first moves versions and tokens past all that can have been given out, and has every
//! follower of changes list again.

use jiff::Timestamp;

use super::fault::Fault;
use super::session::Session;
use crate::engine::numbers::beyond_all;

const FOUND: &str = "SELECT server FROM counter";
const LOCK: &str = "SELECT server FROM counter FOR UPDATE";
const NOTE: &str = "UPDATE counter SET server = $1";
const VERSIONS: &str = "UPDATE counter SET sequence = greatest(sequence, $1)";
/// Also of jobs that ended: a dead one may be run again.
const TOKENS: &str = "UPDATE jobs SET lease_token = greatest(lease_token, $1)";
const FOLLOWERS: &str = "INSERT INTO trimmed (namespace, sequence) SELECT '', sequence FROM counter \
    ON CONFLICT (namespace) DO UPDATE SET sequence = excluded.sequence";

/// Makes sure that the database goes on in the server's present history, before a connection writes anything.
pub(super) async fn go_on(session: &Session) -> Result<(), Fault> {
    let found: Option<String> = session.query_one(FOUND, &[]).await?.try_get(0)?;
    if found.as_ref() == Some(&session.history) {
        return Ok(());
    }
    session.run("BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '10min'").await?;
    let done = begin(session).await;
    // A connection that failed is given up, and its transaction with it.
    session.run("COMMIT").await?;
    done
}

async fn begin(session: &Session) -> Result<(), Fault> {
    // Another process may have done it meanwhile.
    let found: Option<String> = session.query_one(LOCK, &[]).await?.try_get(0)?;
    if found.as_ref() == Some(&session.history) {
        return Ok(());
    }
    session.execute(NOTE, &[&session.history]).await?;
    // Nobody noted it yet: the schema was just brought up.
    let Some(found) = found else { return Ok(()) };
    let from = beyond_all(Timestamp::now());
    session.execute(VERSIONS, &[&from]).await?;
    session.execute(TOKENS, &[&from]).await?;
    session.execute(FOLLOWERS, &[]).await?;
    tracing::warn!(
        from = found,
        to = session.history,
        "the server was restored or took over: versions and fencing tokens go on past all given out"
    );
    Ok(())
}
