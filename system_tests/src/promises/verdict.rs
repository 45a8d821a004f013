//! The verdict: what a database holds, held against what it told its callers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Contents, Entry, Told};

/// How many changes one transaction makes.
const CHANGES: usize = 3;

/// What is wrong; each list is of names or says in words what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged and gone.
    pub lost: Vec<String>,
    /// Refused and there.
    pub risen: Vec<String>,
    /// Done by half.
    pub halves: Vec<String>,
    /// What the change log has that it should not.
    pub log: Vec<String>,
    /// How many transactions are there.
    pub present: usize,
    /// How many of them nobody knew of.
    pub doubtful: usize,
}

impl Verdict {
    /// Tells whether nothing is wrong.
    pub fn is_kept(&self) -> bool {
        self.lost.is_empty() && self.risen.is_empty() && self.halves.is_empty() && self.log.is_empty()
    }

    /// Fails the test, with the first few of each fault, unless nothing is wrong.
    pub fn assert_kept(&self, when: &str) {
        let first = |list: &[String]| list.iter().take(5).cloned().collect::<Vec<_>>();
        assert!(
            self.is_kept(),
            "{when}: {} lost {:?}, {} risen {:?}, {} half done {:?}, the change log: {:?}",
            self.lost.len(),
            first(&self.lost),
            self.risen.len(),
            first(&self.risen),
            self.halves.len(),
            first(&self.halves),
            first(&self.log),
        );
    }
}

/// Judges contents by what was told of their transactions; `after` is the sequence the changes were read from.
pub fn judge(contents: &Contents, told: &BTreeMap<String, Entry>, after: u64) -> Verdict {
    let mut verdict = Verdict { present: contents.one.len(), ..Verdict::default() };
    for (name, entry) in told {
        let is_there = contents.one.contains(name);
        match entry.told {
            Told::Done if !is_there => verdict.lost.push(name.clone()),
            Told::NotDone if is_there => verdict.risen.push(name.clone()),
            Told::Unknown if is_there => verdict.doubtful += 1,
            _ => {}
        }
    }
    find_halves(contents, &mut verdict);
    let expected = (after + 1..).take(contents.sequences.len());
    if let Some((found, due)) = contents.sequences.iter().zip(expected).find(|(found, due)| **found != *due) {
        verdict.log.push(format!("sequence {found} stands where {due} should"));
    }
    if contents.has_log && contents.changes != contents.one.len() * CHANGES {
        verdict.log.push(format!("{} changes of {} transactions", contents.changes, contents.one.len()));
    }
    verdict
}

fn find_halves(contents: &Contents, verdict: &mut Verdict) {
    let jobs: BTreeSet<&String> = contents.jobs.iter().collect();
    if jobs.len() != contents.jobs.len() {
        verdict.halves.push(format!("{} jobs of {} transactions", contents.jobs.len(), jobs.len()));
    }
    verdict.halves.extend(contents.one.symmetric_difference(&contents.two).cloned());
    let with_record: BTreeSet<&String> = contents.one.iter().collect();
    verdict.halves.extend(with_record.symmetric_difference(&jobs).map(|name| (*name).clone()));
    // A caller's last transaction is what its counter says; names of one caller grow.
    let mut last = BTreeMap::new();
    for name in &contents.one {
        let caller = name.rsplit_once('-').map_or(name.as_str(), |(caller, _)| caller);
        last.insert(caller.to_owned(), name.clone());
    }
    if last != contents.counters {
        let wrong = last.iter().find(|(caller, name)| contents.counters.get(*caller) != Some(*name));
        verdict.halves.push(format!("the counters say otherwise: {wrong:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn contents(names: &[&str]) -> Contents {
        let set: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let last = set.last().map(|last| ("r-0".to_owned(), last.clone()));
        Contents {
            one: set.clone(),
            two: set.clone(),
            jobs: set.iter().cloned().collect(),
            counters: last.into_iter().collect(),
            sequences: (1..=set.len() as u64 * 3).collect(),
            changes: set.len() * CHANGES,
            has_log: true,
        }
    }

    fn told(entries: &[(&str, Told)]) -> BTreeMap<String, Entry> {
        let entry = |told| Entry { told, mark: 0, at: Instant::now() };
        entries.iter().map(|(name, told)| ((*name).to_owned(), entry(*told))).collect()
    }

    #[test]
    fn what_was_told_and_is_there_is_kept_and_everything_else_is_named() {
        let all = told(&[("r-0-1", Told::Done), ("r-0-2", Told::Unknown), ("r-0-3", Told::NotDone)]);
        let whole = judge(&contents(&["r-0-1", "r-0-2"]), &all, 0);
        assert!(whole.is_kept() && whole.doubtful == 1, "{whole:?}");
        assert_eq!(judge(&contents(&["r-0-2"]), &all, 0).lost, ["r-0-1"]);
        assert_eq!(judge(&contents(&["r-0-1", "r-0-3"]), &all, 0).risen, ["r-0-3"]);
    }

    #[test]
    fn a_half_and_a_gap_are_found() {
        let all = told(&[("r-0-1", Told::Done)]);
        let without: [fn(&mut Contents); 5] = [
            |contents| drop(contents.two.pop_last()),
            |contents| drop(contents.jobs.pop()),
            |contents| contents.jobs.extend_from_within(..),
            |contents| drop(contents.counters.pop_last()),
            |contents| {
                contents.sequences.remove(1);
            },
        ];
        for (number, take) in without.into_iter().enumerate() {
            let mut contents = contents(&["r-0-1"]);
            take(&mut contents);
            assert!(!judge(&contents, &all, 0).is_kept(), "case {number}");
        }
    }
}
