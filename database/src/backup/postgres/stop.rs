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

#[cfg(test)]
mod tests {
    use super::super::chain::tests::{BYTES, generation, partial, segment};
    use super::super::inventory::Inventory;
    use super::super::plan::tests::base;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Plans with two bases and a log of segments 3 to 9, noted to hold all until the second 20.
    fn plan(target: Target) -> Plan {
        let mut whole = generation((3..9).map(|number| segment(1, number)).chain([partial(1, 9)]).collect());
        whole.bases = vec![base(3, 3), base(6, 7)];
        whole.received = Some(Received { place: Lsn(9 * BYTES + 400), at: Some(at(20)) });
        Inventory { generations: vec![whole], ..Inventory::default() }.plan(target).unwrap()
    }

    fn end() -> LogEnd {
        LogEnd { record: Lsn(9 * BYTES + 400), end: Lsn(9 * BYTES + 440) }
    }

    #[test]
    fn before_a_later_base_recovery_stops_at_its_start_when_no_commit_stops_it() {
        let plan = plan(Target::Time(at(4)));
        assert!(plan.may_lie_beyond(Some(end())));
        assert_eq!(plan.stop_at_end(end(), Some(at(5))), Ok(None), "at that commit");
        for last in [None, Some(at(3))] {
            let (settings, note) = plan.stop_at_end(end(), last).unwrap().unwrap();
            assert_eq!(settings, stop_before(base(6, 7).start), "{note}");
        }
    }

    #[test]
    fn at_the_end_of_the_log_what_is_covered_is_all_and_what_is_not_is_refused_with_what_is() {
        let covered = [(Target::Time(at(20)), None), (Target::Lsn(Lsn(9 * BYTES + 440)), Some(at(19)))];
        for (target, last) in covered {
            assert!(plan(target).may_lie_beyond(Some(end())));
            let (settings, note) = plan(target).stop_at_end(end(), last).unwrap().unwrap();
            assert!(settings.is_empty() && note.contains("all of the log is recovered"), "{note}");
        }
        for target in [Target::Time(at(21)), Target::Lsn(Lsn(9 * BYTES + 441))] {
            for (last, covered) in [(None, at(20)), (Some(at(19)), at(20))] {
                let refused = plan(target).stop_at_end(end(), last).unwrap_err().to_string();
                assert!(refused.contains(&format!("the log ends with {}", end().end)), "{refused}");
                assert!(refused.contains(&format!("known to be covered is {covered};")), "{refused}");
            }
            assert!(plan(target).may_lie_beyond(None), "by what is noted");
        }
        let within = Target::Lsn(Lsn(9 * BYTES + 400));
        assert!(!plan(within).may_lie_beyond(Some(end())) && !plan(within).may_lie_beyond(None));
        assert!(!plan(Target::Lsn(Lsn(8 * BYTES))).may_lie_beyond(Some(end())), "more follows");
        // Seen to be committed, which tells more than what was noted before.
        let later = plan(Target::Time(at(30))).stop_at_end(end(), Some(at(25))).unwrap_err().to_string();
        assert!(later.contains(&format!("covered is {};", at(25))), "{later}");
    }
}
