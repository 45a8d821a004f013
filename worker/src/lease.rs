//! Keeping the lease of a running attempt: when to send a heartbeat, and when to give the job up for lost.
//!
//! The fencing token guards the job; the clock here only spares work whose end would be refused.

use std::time::Duration;

use database::{Database, Error, Job, JobCommand};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::Progress;

/// A lease as its holder sees it, by the holder's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    length: Duration,
    until: Instant,
}

impl Lease {
    /// A lease that was answered at `now`.
    pub(crate) fn granted(length: Duration, now: Instant) -> Self {
        Self { length, until: now + length }
    }

    /// The lease after a heartbeat that was sent at `sent` succeeded.
    fn extended(self, sent: Instant) -> Self {
        Self { until: sent + self.length, ..self }
    }

    /// When to send the next heartbeat: a third of the lease after the last, or sooner after one that failed.
    fn next_beat(self, now: Instant, last_failed: bool) -> Instant {
        let pause = if last_failed { self.length / 10 } else { self.length / 3 };
        (now + pause).min(self.until)
    }

    /// Tells whether another worker may have the job by now.
    fn is_over(self, now: Instant) -> bool {
        now >= self.until
    }
}

/// Sends heartbeats with the attempt's progress; returns once the lease is lost, or the job canceled.
pub(crate) async fn keep(database: &Database, job: &Job, mut lease: Lease, progress: &Progress) {
    let mut last_failed = false;
    loop {
        sleep_until(lease.next_beat(Instant::now(), last_failed)).await;
        let sent = Instant::now();
        let command = JobCommand::Extend {
            id: job.id.clone(),
            lease_token: job.lease_token,
            lease_ms: u64::try_from(lease.length.as_millis()).unwrap_or(u64::MAX),
            progress: progress.latest(),
        };
        last_failed = match timeout_at(lease.until, database.command(&command)).await {
            Ok(Ok(_)) => {
                lease = lease.extended(sent);
                false
            }
            Ok(Err(Error::LeaseLost { .. } | Error::WrongState { .. } | Error::NotFound { .. })) => return,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a heartbeat failed");
                true
            }
            Err(_) => true,
        };
        if lease.is_over(Instant::now()) {
            tracing::warn!("no heartbeat got through for the length of the lease");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_survives_two_lost_heartbeats_and_ends_by_itself() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let lease = Lease::granted(30 * second, start);
        assert_eq!(lease.next_beat(start, false), start + 10 * second);
        assert_eq!(lease.next_beat(start + 10 * second, true), start + 13 * second);
        assert_eq!(lease.next_beat(start + 29 * second, true), start + 30 * second);
        assert!(!lease.is_over(start + 29 * second));
        assert!(lease.is_over(start + 30 * second));
        let extended = lease.extended(start + 10 * second);
        assert!(!extended.is_over(start + 39 * second));
    }
}
