//! Plans against a model: a state can be restored exactly if every commit up to it is there.

use proptest::prelude::*;

use super::*;

fn name(generation: u32, kind: Kind, first: u64, last: u64) -> Name {
    let began = jiff::Timestamp::from_second(i64::from(generation) * 1000).unwrap();
    let at = i64::try_from(last).unwrap() * 10;
    Name { generation: Generation::new(began, generation), kind, first, last, at }
}

fn base(generation: u32, number: u64) -> Name {
    name(generation, Kind::Base, number, number)
}

fn segment(first: u64, last: u64) -> Name {
    name(1, Kind::Segment, first, last)
}

fn merged(first: u64, last: u64) -> Name {
    name(1, Kind::Merged, first, last)
}

fn inventory(names: &[Name]) -> Inventory {
    names.iter().cloned().collect()
}

#[test]
fn what_follows_a_missing_segment_is_the_base_that_holds_it() {
    let there = inventory(&[base(1, 1), segment(2, 3), base(1, 5)]);
    let generation = base(1, 1).generation;
    assert_eq!(there.following(&generation, 3), Following::Merged { first: 4, last: 5, at: 50 });
    assert_eq!(there.following(&generation, 5), Following::Nothing);
}

#[test]
fn the_newest_base_and_the_fewest_segments_are_taken() {
    let there =
        inventory(&[base(1, 1), segment(2, 4), segment(5, 6), merged(2, 6), segment(7, 9), base(1, 8)]);
    let plan = there.plan(Target::Commit(7)).unwrap();
    assert_eq!((plan.base, plan.segments), (base(1, 1), vec![merged(2, 6), segment(7, 9)]));
    let plan = there.plan(Target::Commit(5)).unwrap();
    assert_eq!(plan.segments, [segment(2, 4), segment(5, 6)], "a merged one cannot be applied in part");
    let plan = there.plan(Target::Latest).unwrap();
    assert_eq!((plan.base, plan.segments), (base(1, 8), vec![segment(7, 9)]));
}

#[test]
fn a_time_is_reached_within_the_segment_it_lies_in() {
    let there = inventory(&[base(1, 1), segment(2, 4), segment(5, 9)]);
    assert_eq!(there.plan(Target::Time(55)).unwrap().segments, [segment(2, 4), segment(5, 9)]);
    assert_eq!(there.plan(Target::Time(1000)).unwrap().segments, [segment(2, 4), segment(5, 9)]);
    assert_eq!(there.plan(Target::Time(15)).unwrap().segments, [segment(2, 4)]);
    assert_eq!(there.plan(Target::Time(5)), Err(PlanError::TooOld { oldest: 1 }));
}

#[test]
fn a_newer_generation_counts_from_its_beginning_on() {
    let there = inventory(&[base(1, 1), segment(2, 4), base(2, 5), name(2, Kind::Segment, 6, 7)]);
    assert_eq!(there.plan(Target::Commit(4)).unwrap().base, base(1, 1));
    assert_eq!(there.plan(Target::Commit(5)).unwrap().base, base(2, 5));
    assert_eq!(there.plan(Target::Latest).unwrap().base, base(2, 5));
}

#[test]
fn what_is_missing_is_named_and_never_passed_over() {
    let gap = PlanError::Gap { generation: segment(1, 1).generation.to_string(), after: 4 };
    let there = inventory(&[base(1, 1), segment(2, 4), segment(7, 9)]);
    assert_eq!(there.plan(Target::Latest), Err(gap.clone()));
    assert_eq!(there.plan(Target::Time(95)), Err(gap));
    assert!(there.plan(Target::Commit(4)).is_ok());
    assert_eq!(there.plan(Target::Commit(10)), Err(PlanError::TooNew { asked: 10, last: 9 }));
    assert_eq!(inventory(&[segment(2, 4)]).plan(Target::Latest), Err(PlanError::Empty));
    let there = inventory(&[base(1, 1), merged(2, 6)]);
    assert_eq!(there.plan(Target::Commit(3)), Err(PlanError::Merged { asked: 3, before: 1, after: 6 }));
}

/// Says after which commit a plan ends, by going through it as a restore would.
fn follow(plan: &Plan, goal: u64) -> u64 {
    let mut reached = plan.base.last;
    for segment in &plan.segments {
        assert!(segment.first <= reached + 1, "{plan:?} skips a commit before {segment}");
        assert!(segment.kind == Kind::Segment || segment.last <= goal, "{plan:?} goes too far");
        reached = segment.last.min(goal).max(reached);
    }
    reached
}

proptest! {
    #[test]
    fn a_plan_reaches_its_commit_exactly_when_all_commits_up_to_it_are_there(
        lengths in proptest::collection::vec(1u64..6, 1..20),
        merges in proptest::collection::vec((0usize..20, 1usize..8), 0..4),
        bases in proptest::collection::vec(1u64..60, 0..4),
        lost in proptest::collection::vec(0usize..40, 0..4),
        goal in 1u64..80,
    ) {
        let mut names = vec![base(1, 1)];
        let mut segments = Vec::new();
        let mut next = 2;
        for length in lengths {
            segments.push(segment(next, next + length - 1));
            next += length;
        }
        for (from, count) in merges {
            if let Some(first) = segments.get(from) {
                let last = &segments[(from + count).min(segments.len() - 1)];
                names.push(merged(first.first, last.last));
            }
        }
        names.extend(bases.into_iter().filter(|number| *number < next).map(|number| base(1, number)));
        names.extend(segments);
        names.sort();
        names.dedup();
        let kept: Vec<Name> =
            names.iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, name)| name.clone()).collect();
        // The model: commits that can be reached one after the other, from each base and over each file.
        let last = kept.iter().map(|name| name.last).max().unwrap_or(0);
        let mut can_reach: std::collections::BTreeSet<u64> =
            kept.iter().filter(|name| name.kind == Kind::Base).map(|name| name.last).collect();
        for _ in 0..last {
            for name in kept.iter().filter(|name| name.kind != Kind::Base) {
                if (name.first - 1..name.last).any(|before| can_reach.contains(&before)) {
                    let from = (name.first - 1..name.last).find(|before| can_reach.contains(before)).unwrap();
                    match name.kind {
                        Kind::Merged => { can_reach.insert(name.last); }
                        _ => can_reach.extend(from..=name.last),
                    }
                }
            }
        }
        let planned = inventory(&kept).plan(Target::Commit(goal));
        prop_assert_eq!(planned.is_ok(), can_reach.contains(&goal), "{:?}", planned);
        if let Ok(plan) = planned {
            prop_assert_eq!(follow(&plan, goal), goal);
        }
    }
}
