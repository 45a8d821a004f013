//! From which base a moment is restored, and up to which segment of the log that needs: decided from the inventory.
//!
//! Where a segment is missing the answer is an error that names it, never an earlier state.

use std::fmt;

use jiff::Timestamp;

use super::chain;
use super::inventory::{Base, Generation, Inventory};
use super::lsn::{Lsn, SegmentName};
use super::received::Received;
use crate::backup::name;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All that was received.
    Latest,
    /// The state at a time: with every transaction that was committed until then.
    Time(Timestamp),
    /// The state after the record of the log at this place.
    Lsn(Lsn),
    /// The state right after this transaction's commit.
    Transaction(u64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the latest state"),
            Self::Time(at) => write!(f, "the state at {at}"),
            Self::Lsn(lsn) => write!(f, "the state at {lsn}"),
            Self::Transaction(xid) => write!(f, "the state after transaction {xid}"),
        }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing was ever finished.
    #[error("the destination holds no base of a PostgreSQL server")]
    Empty,
    /// What is asked for lies before the oldest base.
    #[error(
        "{asked} lies before the oldest base: that was finished at {ended}, {end}, before transaction {xid}"
    )]
    TooOld {
        /// What is asked for.
        asked: String,
        /// When the oldest base was finished.
        ended: Timestamp,
        /// Where.
        end: Lsn,
        /// Before which transaction.
        xid: u64,
    },
    /// What is asked for was not received.
    #[error("{asked} was not received: the log ends with {last}{}", tell_covered(*covered))]
    TooNew {
        /// What is asked for.
        asked: String,
        /// The last segment, or the last place.
        last: String,
        /// Until when it is known to have all.
        covered: Option<Timestamp>,
    },
    /// No such transaction was committed, or not received.
    #[error("there is no transaction {asked}{}", last.map_or_else(String::new, |last| format!("; the last is {last}")))]
    NoTransaction {
        /// What is asked for.
        asked: u64,
        /// The last transaction that was committed, as far as the log after the base tells.
        last: Option<u64>,
    },
    /// A segment is missing or damaged.
    #[error("generation {generation}: {file}: {reason}")]
    Gap {
        /// The generation.
        generation: String,
        /// The segment.
        file: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A generation that may hold what is asked for cannot be read.
    #[error(
        "{asked} may be in a generation that cannot be read: {file}: {reason}; once that folder is moved away, what is \
         restored may be an earlier state"
    )]
    Unreadable {
        /// What is asked for.
        asked: String,
        /// The file that cannot be read.
        file: String,
        /// Why.
        reason: String,
    },
}

fn tell_covered(covered: Option<Timestamp>) -> String {
    let known = covered
        .map_or_else(String::new, |at| format!("; the last moment that is known to be covered is {at}"));
    format!("{known}; `latest` restores all that is there")
}

/// What to restore from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) generation: String,
    pub(super) major: u32,
    pub(super) segment_bytes: u64,
    pub(super) base: Base,
    /// The segments recovery reads, in order.
    pub(super) segments: Vec<SegmentName>,
    pub(super) target: Target,
    /// Up to where those must be readable, if that is noted.
    pub(super) received: Option<Lsn>,
    /// What is beyond those.
    pub(super) rest: Rest,
    /// A later generation that has no base: what it holds of the latest state cannot be restored.
    pub(super) baseless: Option<String>,
}

/// What there is of the log after the segments of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// More, which recovery does not need.
    More,
    /// A place where the log was after the time that is asked for, in the last of the segments.
    After(Lsn),
    /// Nothing: it ends there, and is known to have all until then.
    Nothing(Option<Received>),
}

impl Inventory {
    /// Finds the way to a state: from the newest base that was finished before it.
    pub(super) fn plan(&self, target: Target) -> Result<Plan, PlanError> {
        let bases = || {
            self.generations
                .iter()
                .flat_map(|generation| generation.bases.iter().map(move |base| (generation, base)))
        };
        let Some((_, oldest)) = bases().next() else {
            self.find_hidden("", target).map_or(Ok(()), Err)?;
            return Err(PlanError::Empty);
        };
        let is_before = |base: &Base| match target {
            Target::Latest => true,
            Target::Time(at) => base.ended <= at,
            Target::Lsn(lsn) => base.end <= lsn,
            Target::Transaction(xid) => base.next_xid <= xid,
        };
        // Generations are in order of time, and places grow only within one cluster's history: a restore goes back.
        let Some((generation, base)) = bases().rfind(|(_, base)| is_before(base)) else {
            let Base { ended, end, next_xid: xid, .. } = *oldest;
            let too_old = PlanError::TooOld { asked: target.to_string(), ended, end, xid };
            return Err(self.find_hidden("", target).unwrap_or(too_old));
        };
        self.find_hidden(&generation.name, target).map_or(Ok(()), Err)?;
        let mut plan = generation.plan(base, target)?;
        // What is asked for otherwise is refused where the generation does not cover it.
        if target == Target::Latest {
            let last = self.generations.last().filter(|last| last.name != generation.name);
            plan.baseless = last.map(Generation::path);
        }
        Ok(plan)
    }

    /// Finds a generation after another that cannot be read, and may hold what is asked for.
    fn find_hidden(&self, after: &str, target: Target) -> Option<PlanError> {
        let may_hold = |name: &str| match target {
            // Nothing of it was finished before it began.
            Target::Time(at) => name::began(name).is_none_or(|began| began <= at),
            _ => true,
        };
        let hidden = self.unreadable.iter().find(|one| *one.name > *after && may_hold(&one.name))?;
        let (file, reason) = (hidden.file.clone(), hidden.reason.clone());
        Some(PlanError::Unreadable { asked: target.to_string(), file, reason })
    }
}

impl Generation {
    /// Finds the way to a state from one base.
    pub(super) fn plan(&self, base: &Base, target: Target) -> Result<Plan, PlanError> {
        let bytes = self.origin.segment_bytes;
        // What was committed by a time is in the log by the start of a base begun after it.
        let later = match target {
            Target::Time(at) => self
                .bases
                .iter()
                .find(|later| later.began > at && later.start >= base.end)
                .map(|later| later.start),
            _ => None,
        };
        let until = match target {
            Target::Lsn(lsn) => Some(lsn.segment(bytes)),
            _ => later.map(|later| later.segment(bytes)),
        };
        let follow = |until| chain::follow(self, base.timeline, base.start.segment(bytes), until);
        let stretch = follow(until);
        if let Some(chain::Fault { file, reason }) = stretch.fault {
            return Err(PlanError::Gap { generation: self.name.clone(), file, reason });
        }
        let last = stretch.segments.iter().map(|name| name.number).max().unwrap_or(0);
        let needed = match target {
            Target::Lsn(lsn) => lsn.segment(bytes),
            _ => base.end.segment_before(bytes),
        };
        if last < needed {
            let name = stretch.segments.last().map_or_else(String::new, |name| name.write(bytes));
            let covered = self.received.and_then(|received| received.at);
            return Err(PlanError::TooNew { asked: target.to_string(), last: name, covered });
        }
        let rest = match later {
            Some(later) => Rest::After(later),
            None if follow(None).segments.len() > stretch.segments.len() => Rest::More,
            None => Rest::Nothing(self.received),
        };
        let received = self.received.map(|received| received.place);
        Ok(Plan {
            generation: self.name.clone(),
            major: self.origin.major,
            segment_bytes: bytes,
            base: base.clone(),
            segments: stretch.segments,
            target,
            received: match target {
                Target::Lsn(lsn) => received.map(|received| received.min(lsn)),
                _ if until.is_some() => None,
                _ => received,
            },
            rest,
            baseless: None,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::chain::tests::{BYTES, generation, partial, segment};
    use super::super::inventory::Unreadable;
    use super::*;

    /// A base that begins in one segment and ends in another, a second a segment.
    pub(in super::super) fn base(start: u64, end: u64) -> Base {
        let at = |number: u64| Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        Base {
            name: format!("{start:04}"),
            timeline: 1,
            start: Lsn(start * BYTES + 40),
            end: Lsn(end * BYTES + 80),
            began: at(start),
            ended: at(end),
            next_xid: end * 10,
            size_bytes: 1,
        }
    }

    fn inventory(generations: Vec<Generation>) -> Inventory {
        Inventory { generations, ..Inventory::default() }
    }

    #[test]
    fn the_newest_base_before_a_moment_is_chosen_and_the_log_after_it() {
        let mut whole = generation((3..9).map(|number| segment(1, number)).chain([partial(1, 9)]).collect());
        whole.bases = vec![base(3, 3), base(6, 7)];
        let inventory = inventory(vec![whole]);
        let from = |target| {
            let plan = inventory.plan(target).unwrap();
            (plan.base.name, plan.segments.len())
        };
        let at = |second| Target::Time(Timestamp::from_second(second).unwrap());
        assert_eq!(from(Target::Latest), ("0006".into(), 4));
        assert_eq!(from(at(7)), ("0006".into(), 4));
        assert_eq!(from(at(6)), ("0003".into(), 7), "a base under way is no help");
        assert_eq!(from(at(4)), ("0003".into(), 4), "what follows the next base's start is not needed");
        assert_eq!(from(Target::Lsn(Lsn(5 * BYTES))), ("0003".into(), 3));
        assert_eq!(from(Target::Transaction(70)), ("0006".into(), 4));
        assert_eq!(from(Target::Transaction(69)), ("0003".into(), 7));
        let too_old = inventory.plan(at(2)).unwrap_err();
        assert!(too_old.to_string().contains("before the oldest base"), "{too_old}");
        let too_new = inventory.plan(Target::Lsn(Lsn(12 * BYTES))).unwrap_err();
        assert!(matches!(too_new, PlanError::TooNew { .. }), "{too_new}");
        assert_eq!(Inventory::default().plan(Target::Latest), Err(PlanError::Empty));
    }

    #[test]
    fn a_later_generation_without_a_base_is_named_with_the_latest_state() {
        let mut whole = generation((3..9).map(|number| segment(1, number)).collect());
        whole.bases = vec![base(3, 3)];
        let mut later = generation(vec![partial(1, 9)]);
        later.name = "h".into();
        let alone = inventory(vec![whole.clone()]);
        assert_eq!(alone.plan(Target::Latest).unwrap().baseless, None);
        let both = inventory(vec![whole, later]);
        assert_eq!(both.plan(Target::Latest).unwrap().baseless.as_deref(), Some("postgresql/h"));
        assert_eq!(both.plan(Target::Lsn(Lsn(5 * BYTES))).unwrap().baseless, None, "that is covered");
    }

    #[test]
    fn a_gap_is_an_error_where_it_matters_and_never_an_earlier_state() {
        let mut broken = generation([3, 4, 6, 7, 8].map(|number| segment(1, number)).into());
        broken.bases = vec![base(3, 3), base(7, 7)];
        let inventory = inventory(vec![broken]);
        inventory.plan(Target::Latest).unwrap();
        inventory.plan(Target::Lsn(Lsn(4 * BYTES + 9))).unwrap();
        let gap = inventory.plan(Target::Lsn(Lsn(5 * BYTES + 9))).unwrap_err();
        assert!(gap.to_string().contains("000000010000000000000005: it is missing"), "{gap}");
    }

    #[test]
    fn a_base_whose_own_log_was_not_received_restores_nothing() {
        let mut young = generation(vec![segment(1, 3)]);
        young.bases = vec![base(3, 4)];
        let plan = inventory(vec![young]).plan(Target::Latest);
        assert!(matches!(plan, Err(PlanError::TooNew { .. })), "{plan:?}");
    }

    #[test]
    fn what_may_be_in_a_generation_that_cannot_be_read_is_not_restored_from_an_older_one() {
        let at = |second| Target::Time(Timestamp::from_second(second).unwrap());
        let named = |second| name::Generation::new(Timestamp::from_second(second).unwrap(), 7).to_string();
        let of = |second, segments: std::ops::Range<u64>| {
            let mut generation = generation(segments.clone().map(|number| segment(1, number)).collect());
            (generation.name, generation.bases) = (named(second), vec![base(segments.start, segments.start)]);
            generation
        };
        let (old, new) = (of(3, 3..20), of(30, 30..40));
        let hidden = |second| Unreadable {
            name: named(second),
            file: format!("{}/generation.json", named(second)),
            reason: "no".into(),
            is_damaged: true,
        };
        let unreadable = vec![hidden(10)];
        let inventory = Inventory { generations: vec![old, new], unreadable };
        for found in [at(9), at(31), Target::Latest, Target::Lsn(Lsn(31 * BYTES))] {
            inventory.plan(found).unwrap();
        }
        for refused in [at(10), at(15), Target::Lsn(Lsn(5 * BYTES)), Target::Transaction(40)] {
            let refused = inventory.plan(refused).unwrap_err().to_string();
            assert!(refused.contains(&hidden(10).file), "{refused}");
        }
        let alone = Inventory { generations: Vec::new(), unreadable: vec![hidden(10)] };
        assert!(matches!(alone.plan(Target::Latest), Err(PlanError::Unreadable { .. })));
    }
}
