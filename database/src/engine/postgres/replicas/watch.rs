//! Measuring: the primary is asked where it is, each replica how far it is, several times within the allowed lag.

use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_postgres::Row;

use super::freshness::{Compared, Mark};
use super::standing::{Said, Standing};
use super::{Replica, Replicas};
use crate::engine::postgres::fault::{Fault, Verdict};
use crate::engine::postgres::link::Link;
use crate::figures;

const PRIMARY_MARK: &str = include_str!("../sql/primary_mark.sql");
const REPLICA_MARK: &str = include_str!("../sql/replica_mark.sql");

pub(super) const PRIMARY_STATEMENTS: &[&str] = &[PRIMARY_MARK];
pub(super) const REPLICA_STATEMENTS: &[&str] = &[REPLICA_MARK];

/// How often servers are asked within the allowed lag. A replica that keeps up is found to have the mark before the latest,
/// so this leaves half of the lag for the way to it.
const PER_LAG: u32 = 4;

/// How long servers are left alone at most, however large the allowed lag: callers may allow less.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(1);

/// Tells how long servers are left alone.
pub(super) fn pause(lag: Duration) -> Duration {
    (lag / PER_LAG).min(LONGEST_PAUSE)
}

impl Replicas {
    /// Measures until it is dropped.
    pub(in crate::engine::postgres) async fn watch(&self) {
        if self.all.is_empty() {
            return std::future::pending().await;
        }
        let replicas = self.all.iter().map(|replica| self.watch_one(replica));
        tokio::join!(self.watch_primary(), join_all(replicas));
    }

    async fn watch_primary(&self) {
        let mut ticks = ticks(self.lag);
        loop {
            ticks.tick().await;
            let asked_at = Instant::now();
            match ask(&self.primary, PRIMARY_MARK).await {
                Ok((history, row)) => match read_mark(&row) {
                    // Else nobody has written in the server's present history yet.
                    Ok(Some(mark)) if mark.history == history => {
                        self.marks.lock().unwrap_or_else(PoisonError::into_inner).note(asked_at, mark);
                    }
                    Ok(_) => {}
                    Err(fault) => tracing::debug!(reason = %fault, "the primary's mark cannot be read"),
                },
                Err(reason) => tracing::debug!(reason, "the primary did not tell how far it is"),
            }
        }
    }

    async fn watch_one(&self, replica: &Replica) {
        let (mut ticks, mut said, mut known) = (ticks(self.lag), Said::default(), None);
        let began = Instant::now();
        loop {
            ticks.tick().await;
            let (mut standing, as_of) = self.measure(replica, known).await;
            // That takes two marks to find out.
            if standing == Standing::Behind && as_of.is_none() && began.elapsed() < self.lag {
                standing = Standing::Unknown;
            }
            // One that does not answer is only getting older.
            known = match &standing {
                Standing::Primary | Standing::Foreign => None,
                _ => as_of.or(known),
            };
            replica.note(as_of);
            let is_serving = standing == Standing::Serving;
            let lag = known.map(|known| known.elapsed());
            figures::show_replica(&replica.name, is_serving, lag);
            if said.is_due(&standing, Instant::now()) {
                let name = replica.name.as_str();
                match is_serving {
                    true => tracing::info!(replica = name, "a replica answers reads that allow staleness"),
                    false => {
                        tracing::warn!(replica = name, reason = %standing, "a replica is not read; the primary answers");
                    }
                }
            }
        }
    }

    /// Finds out how a replica stands, and as of when it has everything if it may be read at all.
    async fn measure(&self, replica: &Replica, known: Option<Instant>) -> (Standing, Option<Instant>) {
        let (copy_of, row) = match ask(&replica.link, REPLICA_MARK).await {
            Ok(answer) => answer,
            Err(reason) => return (Standing::Unreachable { reason }, None),
        };
        let read = (|| Ok::<_, Fault>((row.try_get::<_, bool>(3)?, read_mark(&row)?)))();
        let held = match read {
            Ok((true, Some(held))) if held.history.starts_with(&copy_of) => held,
            Ok((true, Some(_))) => return (Standing::Foreign, None),
            // What says whose copy it is has not come to it yet.
            Ok((true, None)) => return (Standing::Behind, None),
            Ok((false, _)) => return (Standing::Primary, None),
            Err(fault) => return (Standing::Unreachable { reason: fault.to_string() }, None),
        };
        let compared =
            self.marks.lock().unwrap_or_else(PoisonError::into_inner).compare(&held, Instant::now());
        let as_of = match compared {
            Compared::AsOf(at) => {
                replica.guard.note(held.place);
                Some(at)
            }
            Compared::Behind => known,
            Compared::Foreign => return (Standing::Foreign, None),
            Compared::Unmarked => return (Standing::Unknown, None),
        };
        match as_of.is_some_and(|at| at.elapsed() <= self.lag) {
            true => (Standing::Serving, as_of),
            false => (Standing::Behind, as_of),
        }
    }
}

fn ticks(lag: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(pause(lag));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Asks for a mark; gives it with the history of the connection it came by.
async fn ask(link: &Link, sql: &'static str) -> Result<(String, Row), String> {
    let session = link.session().await.map_err(|fault| fault.to_string())?;
    let fault = match tokio::time::timeout(DEADLINE, session.query_one(sql, &[])).await {
        Ok(Ok(row)) => return Ok((session.history.clone(), row)),
        Ok(Err(error)) => Fault::from(error),
        Err(_) => Fault::TimedOut,
    };
    if matches!(fault, Fault::TimedOut) || fault.verdict() == Verdict::Reconnect {
        link.discard(&session).await;
    }
    Err(fault.to_string())
}

/// Reads the first three columns; nothing where no server was noted yet, or no log was replayed.
fn read_mark(row: &Row) -> Result<Option<Mark>, Fault> {
    let (history, sequence, place): (Option<String>, i64, Option<_>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(history.zip(place).map(|(history, place)| Mark { history, sequence, place }))
}
