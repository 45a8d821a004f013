//! What a generation lacks: decided from the names of its files, its head and its noted bases.

use super::head::{Bases, GenerationHead, bases_of};
use crate::backup::name::{Generation, Kind, Name};

/// What is said of a generation without a head.
pub(super) const NO_HEAD: &str = "it has no head, so whether its end is missing cannot be told";

/// Names what is missing: the file or the generation, and what.
pub(super) fn find(
    generation: &Generation,
    names: &[Name],
    head: Option<&GenerationHead>,
    bases: Option<&Bases>,
) -> Vec<(String, String)> {
    let of_all = |reason: String| (generation.to_string(), reason);
    let mut faults: Vec<_> = gaps(names).into_iter().map(of_all).collect();
    let is_there = |commit: &u64| names.iter().any(|name| name.kind == Kind::Base && name.last == *commit);
    match (bases, head) {
        (Some(bases), _) => {
            let missing = bases.iter().filter(|commit| !is_there(commit));
            faults.extend(missing.map(|commit| of_all(format!("the base of commit {commit} is missing"))));
        }
        (None, Some(head)) if head.has_bases => {
            let reason = "it is missing, so whether a base is missing cannot be told".to_owned();
            faults.push((bases_of(generation), reason));
        }
        (None, _) => {}
    }
    faults.extend(fault_of_end(names, head).map(of_all));
    faults
}

/// Says what is wrong with where a generation ends.
pub(super) fn fault_of_end(names: &[Name], head: Option<&GenerationHead>) -> Option<String> {
    let Some(head) = head else { return Some(NO_HEAD.to_owned()) };
    let last = names.iter().map(|name| name.last).max().unwrap_or(0);
    (head.commit > last)
        .then(|| format!("commit {} was stored and the last that is there is {last}", head.commit))
}

/// Names the commits of a generation that no file holds, and those that two hold.
fn gaps(names: &[Name]) -> Vec<String> {
    let Some(base) = names.iter().filter(|name| name.kind == Kind::Base).map(|name| name.last).min() else {
        return vec!["it has no base, so nothing of it can be restored".into()];
    };
    let (mut reached, mut gaps) = (base, Vec::new());
    let segments: Vec<&Name> = names.iter().filter(|name| name.kind == Kind::Segment).collect();
    for pair in segments.windows(2).filter(|pair| pair[1].first <= pair[0].last) {
        gaps.push(format!("two processes went on with it: {} and {} overlap", pair[0], pair[1]));
    }
    for name in names.iter().filter(|name| name.kind != Kind::Base) {
        if name.first > reached + 1 {
            gaps.push(format!("commits {} to {} are missing", reached + 1, name.first - 1));
        }
        reached = reached.max(name.last);
    }
    // What a base holds was shipped before it was stored.
    let newest = names.iter().filter(|name| name.kind == Kind::Base).map(|name| name.last).max();
    if let Some(newest) = newest.filter(|newest| *newest > reached) {
        gaps.push(format!("commits {} to {newest} are missing but for a base of them", reached + 1));
    }
    gaps.extend(single_gaps(names, &segments));
    gaps
}

/// Names the commits that only a merged segment holds though single ones from before them are there: those go from the
/// oldest on, so that what is left has no gap.
fn single_gaps(names: &[Name], segments: &[&Name]) -> Vec<String> {
    let merged = || names.iter().filter(|name| name.kind == Kind::Merged);
    let is_covered = |segment: &&&Name| {
        merged().any(|merged| merged.first <= segment.first && segment.last <= merged.last)
    };
    let Some(oldest) = segments.iter().find(is_covered) else { return Vec::new() };
    let (mut reached, mut gaps) = (oldest.first - 1, Vec::new());
    let last = merged().map(|name| name.last).max().unwrap_or(0);
    let ends = segments.iter().filter(|name| name.first >= oldest.first).map(|name| (name.first, name.last));
    for (first, end) in ends.chain([(last + 1, last)]) {
        // What no file holds at all is named already.
        if first > reached + 1 && merged().any(|name| name.first <= reached + 1 && reached < name.last) {
            gaps.push(format!("commits {} to {} are there merged, and not singly", reached + 1, first - 1));
        }
        reached = reached.max(end);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kind: Kind, first: u64, last: u64) -> Name {
        let generation = Generation::new(jiff::Timestamp::UNIX_EPOCH, 1);
        Name { generation, kind, first, last, at: i64::try_from(last).unwrap() }
    }

    fn found(names: &[Name], head: Option<u64>, bases: Option<&[u64]>) -> Vec<String> {
        let mut names = names.to_vec();
        names.sort_by_key(|name| (name.first, name.last, name.kind));
        let head = head.map(|commit| GenerationHead { commit, digest: String::new(), has_bases: true });
        let bases: Option<Bases> = bases.map(|bases| bases.iter().copied().collect());
        let faults = find(&names[0].generation, &names, head.as_ref(), bases.as_ref());
        faults.into_iter().map(|(_, reason)| reason).collect()
    }

    #[test]
    fn a_base_a_head_and_an_end_that_are_missing_are_named() {
        let whole = [
            name(Kind::Base, 1, 1),
            name(Kind::Segment, 2, 6),
            name(Kind::Base, 6, 6),
            name(Kind::Segment, 7, 9),
        ];
        assert_eq!(found(&whole, Some(9), Some(&[1, 6])), [] as [&str; 0]);
        assert_eq!(found(&whole[1..], Some(9), Some(&[1, 6])), ["the base of commit 1 is missing"]);
        assert_eq!(found(&whole, None, Some(&[1, 6])), [NO_HEAD]);
        assert!(found(&whole, Some(9), None)[0].contains("whether a base is missing"));
        let under_base = [whole[0].clone(), whole[1].clone(), name(Kind::Base, 8, 8)];
        assert_eq!(
            found(&under_base, Some(8), Some(&[1, 8])),
            ["commits 7 to 8 are missing but for a base of them"]
        );
        assert!(found(&whole[..3], Some(9), Some(&[1, 6]))[0].contains("commit 9 was stored"));
    }

    #[test]
    fn a_single_segment_that_is_missing_beside_a_merged_one_is_named_and_retention_is_no_fault() {
        let base = name(Kind::Base, 1, 1);
        let merged = [name(Kind::Merged, 2, 5), name(Kind::Merged, 6, 9)];
        let single = [(2, 3), (4, 5), (6, 7), (8, 9), (10, 11)].map(|(a, b)| name(Kind::Segment, a, b));
        let with = |kept: &[Name]| {
            let last = kept.iter().chain(&merged).map(|name| name.last).max();
            found(&[std::slice::from_ref(&base), &merged[..], kept].concat(), last, Some(&[1]))
        };
        for from in 0..=single.len() {
            assert_eq!(with(&single[from..]), [] as [&str; 0], "the oldest {from} went");
        }
        for gone in 1..4 {
            let mut kept = single.to_vec();
            kept.remove(gone);
            assert_eq!(with(&kept).len(), 1, "{gone}: {:?}", with(&kept));
        }
    }
}
