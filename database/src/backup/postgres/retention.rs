//! What is no longer needed at a destination: decided from the inventory, and proved by plans before anything goes.
//!
//! Kept is what restores any moment since the horizon: the newest base finished by then, everything after it, and whole
//! generations since. Then the proof: whatever could be restored and is to be restorable still is, with what would be
//! left.

use jiff::Timestamp;

use super::inventory::{Generation, Inventory};
use super::lsn::SegmentName;
use super::plan::Target;

/// What may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Whole generations.
    pub(super) generations: Vec<String>,
    /// Bases, by generation and name.
    pub(super) bases: Vec<(String, String)>,
    /// Segments, by generation.
    pub(super) segments: Vec<(String, SegmentName)>,
}

impl Gone {
    pub(super) fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.bases.is_empty() && self.segments.is_empty()
    }
}

/// Decides what may go; an error tells what could not be restored any more.
pub(super) fn decide(inventory: &Inventory, horizon: Timestamp) -> Result<Gone, String> {
    let mut gone = Gone::default();
    let is_by_then = |generation: &Generation| generation.bases.iter().any(|base| base.ended <= horizon);
    for (place, generation) in inventory.generations.iter().enumerate() {
        if inventory.generations[place + 1..].iter().any(is_by_then) {
            gone.generations.push(generation.name.clone());
            continue;
        }
        let Some(needed) = generation.bases.iter().rfind(|base| base.ended <= horizon) else { continue };
        let bytes = generation.origin.segment_bytes;
        let older = generation.bases.iter().filter(|base| base.start < needed.start);
        gone.bases.extend(older.map(|base| (generation.name.clone(), base.name.clone())));
        let first = needed.start.segment(bytes);
        let before = generation.segments.iter().map(|segment| segment.name);
        let before = before.filter(|name| name.number < first && name.timeline <= needed.timeline);
        gone.segments.extend(before.map(|name| (generation.name.clone(), name)));
    }
    prove(inventory, &without(inventory, &gone), horizon)?;
    Ok(gone)
}

/// Gives what would be left.
fn without(inventory: &Inventory, gone: &Gone) -> Inventory {
    let kept = inventory.generations.iter().filter(|generation| !gone.generations.contains(&generation.name));
    let mut generations: Vec<Generation> = kept.cloned().collect();
    for generation in &mut generations {
        let name = generation.name.clone();
        generation.bases.retain(|base| !gone.bases.contains(&(name.clone(), base.name.clone())));
        generation.segments.retain(|segment| !gone.segments.contains(&(name.clone(), segment.name)));
    }
    Inventory { generations, unreadable: inventory.unreadable.clone() }
}

/// Fails unless what is to be restorable is as restorable afterwards as it is now.
fn prove(before: &Inventory, after: &Inventory, horizon: Timestamp) -> Result<(), String> {
    let bases = before.generations.iter().flat_map(|generation| &generation.bases);
    let kept = bases.filter(|base| base.ended >= horizon);
    let targets = kept.map(|base| Target::Time(base.ended)).chain([Target::Latest, Target::Time(horizon)]);
    for target in targets {
        if let Ok(was) = before.plan(target) {
            match after.plan(target) {
                Ok(is) if is == was => {}
                Ok(_) => return Err(format!("{target} would be restored from elsewhere")),
                Err(error) => return Err(format!("{target} could not be restored any more: {error}")),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chain::tests::{generation, segment};
    use super::super::plan::tests::base;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_no_kept_moment_needs_goes_and_nothing_else() {
        let mut old = generation((1..4).map(|number| segment(1, number)).collect());
        old.bases = vec![base(1, 1)];
        let mut new = generation((4..12).map(|number| segment(1, number)).collect());
        (new.name, new.bases) = ("h".into(), vec![base(4, 5), base(7, 8), base(10, 11)]);
        let inventory = Inventory { generations: vec![old, new], ..Inventory::default() };
        assert!(decide(&inventory, at(4)).unwrap().is_empty(), "no base was finished by then");
        let first = decide(&inventory, at(5)).unwrap();
        assert_eq!((first.generations, first.bases.len()), (vec!["g".to_owned()], 0));
        let second = decide(&inventory, at(9)).unwrap();
        assert_eq!(second.bases, [("h".into(), "0004".into())]);
        let numbers: Vec<u64> = second.segments.iter().map(|(_, name)| name.number).collect();
        assert_eq!(numbers, [4, 5, 6]);
    }

    proptest! {
        #[test]
        fn every_moment_that_is_kept_is_restored_from_the_same_as_before(
            steps in proptest::collection::vec(0u8..8, 1..60),
            horizon in 0i64..70,
            asked in 0i64..70,
        ) {
            let mut generations = vec![generation(vec![segment(1, 1)])];
            generations[0].bases.push(base(1, 1));
            for (number, step) in (2u64..).zip(steps) {
                let current = generations.last_mut().unwrap();
                match step {
                    // The log was interrupted: another generation, with a base.
                    0 => {
                        let mut next = generation(vec![segment(1, number)]);
                        (next.name, next.bases) = (format!("g{number:04}"), vec![base(number, number)]);
                        generations.push(next);
                        continue;
                    }
                    1 => current.bases.push(base(number, number)),
                    // Something is missing already.
                    2 => continue,
                    _ => {}
                }
                current.segments.push(segment(1, number));
            }
            let inventory = Inventory { generations, ..Inventory::default() };
            let gone = decide(&inventory, at(horizon)).unwrap();
            let left = without(&inventory, &gone);
            if asked >= horizon
                && let Ok(was) = inventory.plan(Target::Time(at(asked)))
            {
                prop_assert_eq!(left.plan(Target::Time(at(asked))), Ok(was));
            }
            if let Ok(was) = inventory.plan(Target::Latest) {
                prop_assert_eq!(left.plan(Target::Latest), Ok(was));
            }
        }
    }
}
