//! Whether a replica is read, and when that is said in the log.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// How long after a line about a replica the next one comes at the earliest: one that is just at its bound would
/// write four a second.
const SAY_INTERVAL: Duration = Duration::from_secs(5);

/// Whether a replica is read, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It answers reads.
    Serving,
    /// It lacks what is older than is allowed.
    Behind,
    /// It does not answer.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// It takes writes, so it is no copy any more.
    Primary,
    /// It is a copy of another server, or follows one that this one took over from.
    Foreign,
    /// The primary has not answered of late, so there is nothing to compare with.
    Unknown,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "it is read",
            Self::Behind => "it is further behind than database.replica_lag",
            Self::Unreachable { reason } => reason,
            Self::Primary => "it is no standby (any more)",
            Self::Foreign => "it is no copy of this primary, or does not follow it",
            Self::Unknown => "the primary does not say how far it is",
        })
    }
}

/// What was last said of a replica, and when; at first nothing is known, which is not worth a line.
#[derive(Debug)]
pub(super) struct Said {
    standing: Standing,
    at: Option<Instant>,
}

impl Default for Said {
    fn default() -> Self {
        Self { standing: Standing::Unknown, at: None }
    }
}

impl Said {
    /// Tells whether a standing is news that is due, and takes it for said then.
    pub(super) fn is_due(&mut self, standing: &Standing, now: Instant) -> bool {
        let is_news = std::mem::discriminant(&self.standing) != std::mem::discriminant(standing);
        let is_due = is_news && self.at.is_none_or(|at| now.duration_since(at) >= SAY_INTERVAL);
        if is_due {
            *self = Self { standing: standing.clone(), at: Some(now) };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_at_once_and_one_that_comes_and_goes_now_and_then() {
        let (mut said, start) = (Said::default(), Instant::now());
        let unreachable = |reason: &str| Standing::Unreachable { reason: reason.to_owned() };
        assert!(!said.is_due(&Standing::Unknown, start), "nothing was said yet");
        assert!(said.is_due(&Standing::Serving, start));
        assert!(!said.is_due(&Standing::Serving, start + SAY_INTERVAL * 9));
        assert!(said.is_due(&unreachable("refused"), start + SAY_INTERVAL * 10));
        assert!(
            !said.is_due(&unreachable("reset"), start + SAY_INTERVAL * 20),
            "another reason for the same"
        );
        assert!(said.is_due(&Standing::Serving, start + SAY_INTERVAL * 21));
        assert!(!said.is_due(&Standing::Behind, start + SAY_INTERVAL * 21 + SAY_INTERVAL / 2));
        assert!(said.is_due(&Standing::Behind, start + SAY_INTERVAL * 22), "once it is due");
    }
}
