//! The section `[database.retention]`: how long changes and ended jobs are kept.
//!
//! A follower of changes that was away for longer is told so ([`crate::Error::ChangesGone`]) and lists again. What is
//! too old, or too much, is removed in small steps beside the writes, by every engine alike; backups need neither.

use std::time::Duration;

use jiff::Timestamp;
use process::ConfigError;
use serde::{Deserialize, Serialize};

use crate::time;

/// The section `[database.retention]`; zero never removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long a change is kept.
    #[serde(with = "process::duration")]
    pub changes: Duration,
    /// The most changes that are kept, however young.
    pub most_changes: u64,
    /// How long a job is kept that succeeded or was canceled.
    #[serde(with = "process::duration")]
    pub jobs: Duration,
    /// How long a job is kept that used up its attempts.
    #[serde(with = "process::duration")]
    pub dead_jobs: Duration,
    /// The most jobs that are kept of each way to end.
    pub most_jobs: u64,
    /// How often it is looked whether there is something to remove, and whether SQLite's file has space to give back.
    #[serde(with = "process::duration")]
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            // Whoever was away over a weekend still goes on where he was.
            changes: Duration::from_secs(7 * 86_400),
            // Some 1.5 GiB.
            most_changes: 10_000_000,
            jobs: Duration::from_secs(7 * 86_400),
            dead_jobs: Duration::from_secs(30 * 86_400),
            most_jobs: 1_000_000,
            every: Duration::from_secs(60),
        }
    }
}

/// The shortest time and the smallest number of changes: followers look every 20 s, and save their places every 10 s.
const SHORTEST: Duration = Duration::from_secs(60);
const FEWEST: u64 = 1000;

/// How jobs end, and as what they are stored.
pub(crate) const ENDS: [&str; 3] = ["succeeded", "canceled", "dead"];

impl Retention {
    /// Checks what no single value shows.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let fault =
            |key: &str, message| Err(ConfigError::inconsistent(format!("database.retention.{key}"), message));
        if self.every.is_zero() {
            return fault("every", "it must be longer than nothing");
        }
        if !self.changes.is_zero() && self.changes < SHORTEST {
            return fault("changes", "it must be 0s or at least 1m: followers need some time");
        }
        if (1..FEWEST).contains(&self.most_changes) {
            return fault("most_changes", "it must be 0 or at least 1000: followers need some time");
        }
        Ok(())
    }

    /// Gives before when changes are too old, in microseconds.
    pub(crate) fn changes_before(&self, now: Timestamp) -> i64 {
        before(self.changes, now)
    }

    /// Gives how many changes are kept.
    pub(crate) fn changes_kept(&self) -> i64 {
        kept(self.most_changes)
    }

    /// Gives before when jobs that ended in this way are too old, in microseconds.
    pub(crate) fn jobs_before(&self, end: &str, now: Timestamp) -> i64 {
        before(if end == "dead" { self.dead_jobs } else { self.jobs }, now)
    }

    /// Gives how many jobs of each end are kept.
    pub(crate) fn jobs_kept(&self) -> i64 {
        kept(self.most_jobs)
    }
}

fn before(age: Duration, now: Timestamp) -> i64 {
    match i64::try_from(age.as_micros()) {
        Ok(age) if age > 0 => time::to_stored(now).saturating_sub(age),
        _ => i64::MIN,
    }
}

fn kept(most: u64) -> i64 {
    match most {
        0 => i64::MAX,
        most => i64::try_from(most).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_keeps_everything_and_too_little_for_followers_is_refused() {
        let none = Retention { changes: Duration::ZERO, most_changes: 0, ..Retention::default() };
        none.validate().unwrap();
        let now = Timestamp::from_second(1000).unwrap();
        assert_eq!((none.changes_before(now), none.changes_kept()), (i64::MIN, i64::MAX));
        let some = Retention { changes: Duration::from_secs(400), ..Retention::default() };
        assert_eq!(some.changes_before(now), 600_000_000);
        for wrong in
            [Retention { changes: Duration::from_secs(59), ..none }, Retention { most_changes: 999, ..none }]
        {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
    }
}
