//! Where recovery stops: decided from the plan, from where the log ends, and from when the last commit in it was.
//!
//! PostgreSQL takes it for a failure when its log ends before what is to be recovered, also where all that was asked for is
//! there. So what lies beyond the last record is either known to be covered, and then all of the log is recovered, or refused.

use jiff::Timestamp;

use super::log_check::LogEnd;
use super::lsn::Lsn;
use super::plan::{Plan, PlanError, Rest, Target};
use super::received::{self, Received};

/// Where recovery stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At what the plan is for.
    AtTarget,
    /// Before the record at this place.
    Before(Lsn),
}

/// Settings of recovery, by name.
pub(super) type Settings = Vec<(&'static str, String)>;

impl Plan {
    /// Tells whether what is asked for may lie beyond the last record of the log, or beyond what is noted of it.
    pub(super) fn may_lie_beyond(&self, end: Option<LogEnd>) -> bool {
        let Rest::Nothing(noted) = self.rest else {
            return matches!((self.target, end), (Target::Time(_), Some(_)));
        };
        match (self.target, end, noted) {
            (Target::Time(_), Some(_), _) => true,
            (Target::Lsn(asked), Some(end), _) => asked > end.record,
            (Target::Time(asked), None, Some(Received { at: Some(at), .. })) => asked > at,
            (Target::Lsn(asked), None, Some(noted)) => asked > noted.place,
            _ => false,
        }
    }

    /// Decides where recovery stops that meets no record after what is asked for, by where the log ends and when the last
    /// commit in it was: what the log is not known to cover is refused.
    pub(super) fn stop_at_end(
        &self,
        end: LogEnd,
        last: Option<Timestamp>,
    ) -> Result<Option<(Settings, String)>, PlanError> {
        let all = |why: &str| Ok(Some((Vec::new(), format!("{why}, so all of the log is recovered"))));
        match (self.target, self.rest) {
            (Target::Time(asked), _) if last.is_some_and(|last| last > asked) => Ok(None),
            // Commits may follow farther on, where recovery would not stop by itself.
            (Target::Time(_), Rest::After(later)) => {
                let note =
                    format!("nothing was committed between that time and {later}, up to where is recovered");
                Ok(Some((stop_before(later), note)))
            }
            (Target::Time(asked), Rest::Nothing(Some(Received { at: Some(at), .. }))) if asked <= at => {
                all("nothing was committed after that time")
            }
            (Target::Lsn(asked), _) if received::before_head(asked) <= end.end => all("the log ends there"),
            _ => Err(self.not_covered(Some(end.end), last)),
        }
    }

    /// Says that what is asked for is not covered, and what is.
    pub(super) fn not_covered(&self, end: Option<Lsn>, last: Option<Timestamp>) -> PlanError {
        let noted = match self.rest {
            Rest::Nothing(noted) => noted,
            Rest::More | Rest::After(_) => None,
        };
        let end = end.or(noted.map(|noted| noted.place)).unwrap_or_default();
        let covered = noted.and_then(|noted| noted.at).max(last);
        PlanError::TooNew { asked: self.target.to_string(), last: end.to_string(), covered }
    }

    /// Gives the settings by which recovery stops.
    pub(super) fn settings_of(&self, stop: Stop) -> Settings {
        match (stop, self.target) {
            (Stop::Before(lsn), _) => stop_before(lsn),
            (Stop::AtTarget, Target::Latest) => Vec::new(),
            (Stop::AtTarget, Target::Time(at)) => {
                vec![("recovery_target_time", at.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string())]
            }
            (Stop::AtTarget, Target::Lsn(lsn)) => vec![("recovery_target_lsn", lsn.to_string())],
            (Stop::AtTarget, Target::Transaction(xid)) => vec![("recovery_target_xid", xid.to_string())],
        }
    }
}

/// Stops recovery before the first record at a place or after it.
fn stop_before(place: Lsn) -> Settings {
    vec![("recovery_target_lsn", place.to_string()), ("recovery_target_inclusive", "false".to_owned())]
}
