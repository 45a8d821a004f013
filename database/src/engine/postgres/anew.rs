//! A server that was restored, or that took over for another one: what was given out before may be unknown to it.
//!
//! Versions and fencing tokens are promises: the same one never means something else. A restored server holds
//! an earlier state, as tables do that were made from a dump, and a standby that took over perhaps not the last commits;
//! all would give out again what others have seen. So the counter's row says which server wrote last, in which of its
//! histories (timelines), and into which table of which database, and whoever writes to another one first moves
//! versions and tokens past all that can have been given out, and has every follower of changes list again.

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
    // Noted by a release that did not name the tables.
    if session.history.strip_prefix(&found).is_some_and(|tables| tables.starts_with('/')) {
        return Ok(());
    }
    let from = beyond_all(Timestamp::now());
    session.execute(VERSIONS, &[&from]).await?;
    session.execute(TOKENS, &[&from]).await?;
    session.execute(FOLLOWERS, &[]).await?;
    tracing::warn!(
        from = found,
        to = session.history,
        "the server was restored or took over, or its tables are from a dump: versions and fencing tokens go on past all given out"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use serde_json::Map;
    use system_tests::postgres::Scratch;

    use crate::engine::numbers::beyond_all;
    use crate::engine::postgres::session::Server;
    use crate::{Config, Engine, Operation, Precondition, Transaction};

    /// Writes as a process does that was just started, and gives the sequence.
    async fn write_after_start(scratch: &Scratch) -> u64 {
        let config = Config { url: scratch.url().parse().unwrap(), ..Config::default() };
        let engine = Engine::open(&config, Path::new("none")).unwrap();
        let put = Operation::Put {
            collection: "things".into(),
            id: "one".into(),
            data: Map::new(),
            precondition: Precondition::None,
        };
        let written = engine.transact(Transaction { namespace: "shop".into(), operations: vec![put] }).await;
        engine.close();
        written.unwrap().sequence
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tables_from_a_dump_give_out_nothing_that_was_given_out() {
        let scratch = Scratch::create();
        let server = Server::new(&scratch.url(), tokio::runtime::Handle::current()).unwrap();
        let first = write_after_start(&scratch).await;
        assert_eq!(write_after_start(&scratch).await, first + 1, "a restart is nothing new");
        let session = server.connect(&[], None).await.unwrap();
        // As a dump of now makes it, or one of an hour ago.
        let from_dump = "ALTER TABLE counter RENAME TO before; CREATE TABLE counter (LIKE before INCLUDING ALL); \
            INSERT INTO counter SELECT * FROM before; DROP TABLE before";
        let past = u64::try_from(beyond_all(Timestamp::now())).unwrap();
        session.run(from_dump).await.unwrap();
        let anew = write_after_start(&scratch).await;
        assert!(anew > past, "{anew} is past {past}");
        let of_earlier_release = "UPDATE counter SET server = substring(server FROM '^[^/]*/[^/]*')";
        session.run(of_earlier_release).await.unwrap();
        assert_eq!(write_after_start(&scratch).await, anew + 1);
    }
}
