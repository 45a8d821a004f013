//! What is no longer needed at a destination: decided from names, and proved by a plan before anything goes.
//!
//! Kept is what restores any moment since `keep` ago: the newest base from before that, everything after it, and
//! whole generations since. Single commits go after `keep_commits`, where a merged segment holds them. Then the
//! proof: whatever could be restored and is to be restorable still is, with what would be left.

use std::collections::BTreeSet;

use super::plan::{Inventory, Plan, Target};
use crate::backup::name::{Kind, Name};

/// How long back what can be restored, as times in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    /// Any moment since then.
    pub(super) moments: i64,
    /// Any single commit since then.
    pub(super) commits: i64,
}

/// Decides what may go; an error tells what could not be restored any more. The generation that is being continued stays.
pub(super) fn decide(inventory: &Inventory, horizon: Horizon, continued: &str) -> Result<Vec<Name>, String> {
    let mut gone = BTreeSet::new();
    let generations: Vec<_> = inventory.generations().collect();
    for (place, (generation, names)) in generations.iter().enumerate() {
        let is_base_before = |name: &&Name| name.kind == Kind::Base && name.at <= horizon.moments;
        let is_succeeded =
            generations[place + 1..].iter().any(|(_, later)| later.iter().any(|name| is_base_before(&name)));
        if is_succeeded && generation.to_string() != continued {
            gone.extend(names.iter().cloned());
            continue;
        }
        let oldest_needed = names.iter().filter(is_base_before).map(|name| name.last).max();
        let merged: Vec<&Name> = names.iter().filter(|name| name.kind == Kind::Merged).collect();
        gone.extend(
            names
                .iter()
                .filter(|name| {
                    let is_before = oldest_needed.is_some_and(|base| match name.kind {
                        Kind::Base => name.last < base,
                        _ => name.last <= base,
                    });
                    // All of the merged one: within it, the state at the horizon would be a commit of its own.
                    let is_merged = || {
                        merged.iter().any(|merged| {
                            merged.at < horizon.commits
                                && merged.first <= name.first
                                && name.last <= merged.last
                        })
                    };
                    is_before || (name.kind == Kind::Segment && is_merged())
                })
                .cloned(),
        );
    }
    prove(inventory, &gone, horizon)?;
    Ok(gone.into_iter().collect())
}

/// Fails unless what is to be restorable is as restorable without `gone` as it is now.
fn prove(before: &Inventory, gone: &BTreeSet<Name>, horizon: Horizon) -> Result<(), String> {
    let after: Inventory = before.names().filter(|name| !gone.contains(name)).cloned().collect();
    let ends = after.names().filter(|name| name.at >= horizon.moments && name.kind != Kind::Segment);
    let targets = ends.map(|name| Target::Commit(name.last)).chain([
        Target::Latest,
        Target::Time(horizon.moments),
        Target::Time(horizon.commits),
    ]);
    for target in targets {
        let (was, is) = (before.plan(target), after.plan(target));
        if let (Ok(_), Err(error)) = (&was, &is) {
            return Err(format!("{target:?} could not be restored any more: {error}"));
        }
    }
    // The moment from which on single commits count must still be the same commit, not one before it.
    let at = Target::Time(horizon.commits);
    if let (Ok(was), Ok(is)) = (before.plan(at), after.plan(at))
        && end_of(&was, horizon.commits) != end_of(&is, horizon.commits)
    {
        return Err(format!("{at:?} would be another commit"));
    }
    let lost = gone
        .iter()
        .find(|name| name.kind == Kind::Segment && name.at >= horizon.commits && is_in_reach(name, &after));
    match lost {
        Some(name) => Err(format!("{name} holds single commits that are kept")),
        None => Ok(()),
    }
}

/// Gives the last commit that a plan reaches with whole segments from before a time.
fn end_of(plan: &Plan, at: i64) -> u64 {
    let ends = plan.segments.iter().filter(|name| name.at <= at).map(|name| name.last);
    ends.fold(plan.base.last, u64::max)
}

/// Tells whether a generation is kept from before a segment on.
fn is_in_reach(segment: &Name, after: &Inventory) -> bool {
    after.names().any(|name| {
        name.generation == segment.generation && name.kind == Kind::Base && name.last < segment.last
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::name::Generation;

    fn name(generation: i64, kind: Kind, first: u64, last: u64) -> Name {
        let began = jiff::Timestamp::from_second(generation).unwrap();
        let at = i64::try_from(last).unwrap() * 10;
        Name { generation: Generation::new(began, 1), kind, first, last, at }
    }

    #[test]
    fn what_no_kept_moment_needs_goes_and_nothing_else() {
        let segment = |first, last| name(2, Kind::Segment, first, last);
        let names = [
            name(1, Kind::Base, 1, 1),
            name(1, Kind::Segment, 2, 3),
            name(2, Kind::Base, 4, 4),
            segment(5, 6),
            name(2, Kind::Base, 7, 7),
            segment(7, 8),
            segment(9, 9),
            name(2, Kind::Merged, 7, 9),
            segment(10, 12),
        ];
        let inventory: Inventory = names.iter().cloned().collect();
        let at = |moments, commits| decide(&inventory, Horizon { moments, commits }, "").unwrap();
        assert_eq!(at(0, 0), []);
        assert_eq!(at(45, 45), names[..2], "the older generation is succeeded by then");
        assert_eq!(at(75, 75), [&names[..2], &names[2..4]].concat());
        assert_eq!(at(75, 90), at(75, 75), "a commit of just then is one that is kept");
        let merged_away = at(75, 100);
        assert!(merged_away.contains(&segment(7, 8)) && merged_away.contains(&segment(9, 9)));
        assert!(!merged_away.contains(&segment(10, 12)));
        let first = names[0].generation.to_string();
        let kept = decide(&inventory, Horizon { moments: 75, commits: 75 }, &first).unwrap();
        assert_eq!(kept, names[2..4], "what is continued is not succeeded by what somebody else began");
    }

    proptest! {
        #[test]
        fn every_moment_that_is_kept_restores_to_the_same_commit_as_before(
            lengths in proptest::collection::vec((1u64..5, 0u8..10), 1..30),
            (moments, ahead) in (0i64..900, 0i64..400),
            asked in 0i64..1200,
        ) {
            let (mut names, mut next, mut generation) = (Vec::new(), 2, 1);
            names.push(name(1, Kind::Base, 1, 1));
            let mut run = 2;
            for (length, what) in lengths {
                names.push(name(generation, Kind::Segment, next, next + length - 1));
                next += length;
                match what {
                    0 => names.push(name(generation, Kind::Base, next - 1, next - 1)),
                    1 => { generation += 1; names.push(name(generation, Kind::Base, next, next)); next += 1; run = next; }
                    2 if run < next - 1 => { names.push(name(generation, Kind::Merged, run, next - 1)); run = next; }
                    _ => {}
                }
            }
            let horizon = Horizon { moments, commits: moments + ahead };
            let before: Inventory = names.iter().cloned().collect();
            let gone = decide(&before, horizon, "").unwrap();
            let after: Inventory = names.iter().filter(|name| !gone.contains(name)).cloned().collect();
            let end = |plan: &Plan| end_of(plan, asked);
            if asked >= horizon.commits
                && let Ok(plan) = before.plan(Target::Time(asked))
            {
                let now = after.plan(Target::Time(asked));
                prop_assert_eq!(now.as_ref().map(end), Ok(end(&plan)), "{:?}", now);
            } else if asked >= horizon.moments && before.plan(Target::Time(asked)).is_ok() {
                prop_assert!(after.plan(Target::Time(asked)).is_ok());
            }
        }
    }
}
