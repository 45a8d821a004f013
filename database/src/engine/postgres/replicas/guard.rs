//! What is asked on a replica's connection right before every read: whether it still is what it was measured to be.
//!
//! Between two measurements a standby may have taken over, and then takes writes of others; or it was started again and is
//! for a moment behind where it had been, since its own log is replayed anew. The question travels with the read, so it
//! costs no round trip.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::Row;
use tokio_postgres::types::{PgLsn, ToSql};

use super::super::fault::Fault;
use super::super::session::Session;

pub(in super::super) const HOLDS: &str = include_str!("../sql/replica_holds.sql");

/// The place in the log that a replica was seen to have replayed.
#[derive(Debug, Default)]
pub(in super::super) struct Guard(AtomicU64);

impl Guard {
    /// Notes the place, before anybody is told how fresh that makes the replica.
    pub(super) fn note(&self, place: PgLsn) {
        self.0.store(place.into(), Ordering::Release);
    }

    /// Asks for rows that count only if the replica is a standby that has replayed the place.
    pub(in super::super) async fn query(
        &self,
        session: &Session,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let place = PgLsn::from(self.0.load(Ordering::Acquire));
        let least: [&(dyn ToSql + Sync); 1] = [&place];
        // The first one is prepared with the connection, so it is sent and answered first.
        let (holds, rows) =
            tokio::join!(biased; session.query_one(HOLDS, &least), session.query(sql, values));
        match holds?.try_get(0)? {
            true => Ok(rows?),
            false => Err(Fault::NoReplica),
        }
    }
}
