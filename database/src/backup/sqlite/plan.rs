//! Which files at a destination make the database of a moment: decided from their names alone.
//!
//! A base, then segments that follow it without a gap: each begins at most one commit after where the one before
//! ended. Merged segments are preferred, since they take fewer steps. Where a commit is missing the answer is an
//! error that names it, never an earlier state.

use std::collections::BTreeMap;

use crate::backup::name::{Generation, Kind, Name};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All there is.
    Latest,
    /// The state at a time, in microseconds since 1970.
    Time(i64),
    /// The state after a commit, by its number.
    Commit(u64),
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing was ever stored.
    #[error("the destination holds no backup")]
    Empty,
    /// What is asked for lies before the oldest base.
    #[error("the oldest state that can be restored is commit {oldest}")]
    TooOld {
        /// The commit of the oldest base.
        oldest: u64,
    },
    /// What is asked for was not made yet, or not shipped.
    #[error("there is no commit {asked}; the last is {last}")]
    TooNew {
        /// What is asked for.
        asked: u64,
        /// The last commit.
        last: u64,
    },
    /// A segment is missing.
    #[error("generation {generation}: the segment after commit {after} is missing")]
    Gap {
        /// The generation.
        generation: String,
        /// The last commit that can be reached.
        after: u64,
    },
    /// The base is missing.
    #[error("generation {generation} has no base at or before commit {commit}")]
    NoBase {
        /// The generation.
        generation: String,
        /// The commit asked for.
        commit: u64,
    },
    /// The commit was merged with others and cannot be restored alone.
    #[error("commit {asked} was merged with others; {before} and {after} can be restored")]
    Merged {
        /// What is asked for.
        asked: u64,
        /// The commit before the merged ones.
        before: u64,
        /// The last of the merged ones.
        after: u64,
    },
}

/// What lies beyond the state that a time gave: whether it is the state at that time, or only one from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// No later commit is at the destination.
    Nothing,
    /// The next commit was made after the time.
    Commit {
        /// Its number.
        commit: u64,
        /// When it was made.
        at: i64,
    },
    /// The next commits were merged: some may have been made before the time, and only all of them can be restored.
    Merged {
        /// The next commit.
        first: u64,
        /// The last of them.
        last: u64,
        /// When that was made.
        at: i64,
    },
    /// The generation ends: what was committed until the next began is not in the backup.
    Generation {
        /// The commit that the next one begins with.
        commit: u64,
        /// When that was.
        at: i64,
    },
}

/// What to fetch and apply, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) base: Name,
    pub(crate) segments: Vec<Name>,
    /// Where to stop; commits of the last segment beyond it are not applied.
    pub(crate) stop: Target,
}

/// What lies at a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    generations: BTreeMap<Generation, Vec<Name>>,
}

impl FromIterator<Name> for Inventory {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        let mut generations = BTreeMap::<_, Vec<Name>>::new();
        for name in names {
            generations.entry(name.generation.clone()).or_default().push(name);
        }
        generations
            .values_mut()
            .for_each(|names| names.sort_by_key(|name| (name.first, name.last, name.kind)));
        Self { generations }
    }
}

impl Inventory {
    /// Gives the generations, oldest first, each with its files by their first commit.
    pub(crate) fn generations(&self) -> impl DoubleEndedIterator<Item = (&Generation, &[Name])> {
        self.generations.iter().map(|(generation, names)| (generation, names.as_slice()))
    }

    /// Gives every file.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.generations.values().flatten()
    }

    /// Gives the highest number of a commit in any generation; the next generation begins after it.
    pub(crate) fn highest(&self) -> u64 {
        self.names().map(|name| name.last).max().unwrap_or(0)
    }

    /// Finds the way to a state.
    pub(crate) fn plan(&self, target: Target) -> Result<Plan, PlanError> {
        let (generation, names) = self.choose_generation(target)?;
        let goal = goal_of(names, target)?;
        let bases = names.iter().filter(|name| name.kind == Kind::Base && name.last <= goal).rev();
        // The newest base is the shortest way; an older one is tried when a segment after it is missing.
        let mut failed = None;
        for base in bases {
            match path(generation, names, base.last, goal, target) {
                Ok(segments) => return Ok(Plan { base: base.clone(), segments, stop: target }),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| PlanError::NoBase { generation: generation.to_string(), commit: goal }))
    }

    /// Tells what lies beyond a commit of a generation, by names alone.
    pub(crate) fn following(&self, generation: &Generation, commit: u64) -> Following {
        let own = self.generations.get(generation).map_or(&[][..], Vec::as_slice);
        let next =
            own.iter().find(|name| name.kind != Kind::Base && name.first <= commit + 1 && commit < name.last);
        // Where a segment is missing, a base may hold what comes next.
        let base = || own.iter().filter(|name| commit < name.last).min_by_key(|name| name.last);
        if let Some(name) = next.or_else(base) {
            return Following::Merged { first: commit + 1, last: name.last, at: name.at };
        }
        let later =
            self.generations.range((std::ops::Bound::Excluded(generation), std::ops::Bound::Unbounded));
        let base = later
            .flat_map(|(_, names)| {
                names.iter().filter(|name| name.kind == Kind::Base).min_by_key(|name| name.last)
            })
            .next();
        base.map_or(Following::Nothing, |base| Following::Generation { commit: base.last, at: base.at })
    }

    /// The newest generation that had begun: a restore to the past begins a new one, which counts from then on.
    fn choose_generation(&self, target: Target) -> Result<(&Generation, &[Name]), PlanError> {
        let oldest = self.names().filter(|name| name.kind == Kind::Base).map(|name| name.last).min();
        let oldest = oldest.ok_or(PlanError::Empty)?;
        let has_begun = |names: &[Name]| {
            names.iter().any(|name| {
                name.kind == Kind::Base
                    && match target {
                        Target::Latest => true,
                        Target::Time(at) => name.at <= at,
                        Target::Commit(number) => name.last <= number,
                    }
            })
        };
        let begun = self.generations().rev().find(|(_, names)| has_begun(names));
        begun.ok_or(PlanError::TooOld { oldest })
    }
}

/// The commit that must be reached: of a time, one that the last segment before it ends with.
fn goal_of(names: &[Name], target: Target) -> Result<u64, PlanError> {
    let last = names.iter().map(|name| name.last).max().unwrap_or(0);
    match target {
        Target::Latest => Ok(last),
        Target::Time(at) => {
            Ok(names.iter().filter(|name| name.at <= at).map(|name| name.last).max().unwrap_or(0))
        }
        Target::Commit(number) if number > last => Err(PlanError::TooNew { asked: number, last }),
        Target::Commit(number) => Ok(number),
    }
}

/// Finds the fewest segments from a base to a goal, and beyond it the one in which a time may lie.
fn path(
    generation: &Generation,
    names: &[Name],
    base: u64,
    goal: u64,
    target: Target,
) -> Result<Vec<Name>, PlanError> {
    // A merged segment is one step, so it must end at the goal or before; a plain one can be applied in part.
    let usable = |name: &&Name| match name.kind {
        Kind::Base => false,
        Kind::Segment => true,
        Kind::Merged => name.last <= goal,
    };
    // In each round as far as one more segment leads: the fewest steps, without a search.
    let (mut reached, mut steps) = (base, Vec::new());
    let mut candidates = names.iter().filter(usable).peekable();
    while reached < goal {
        let mut best: Option<&Name> = None;
        while let Some(name) = candidates.next_if(|name| name.first <= reached + 1) {
            if best
                .is_none_or(|best| name.last > best.last || (name.last == best.last && name.kind > best.kind))
            {
                best = Some(name);
            }
        }
        // One that was passed over in an earlier round ended before the one taken.
        match best.filter(|name| name.last > reached) {
            Some(name) => {
                reached = name.last;
                steps.push(name.clone());
            }
            None => return Err(why_not(generation, names, reached, goal)),
        }
    }
    if matches!(target, Target::Time(_)) {
        // Some of its commits may have been made before the time, though its last was not.
        let next = names
            .iter()
            .find(|name| name.kind == Kind::Segment && name.first <= reached + 1 && name.last > reached);
        steps.extend(next.cloned());
    }
    Ok(steps)
}

fn why_not(generation: &Generation, names: &[Name], reached: u64, goal: u64) -> PlanError {
    let merged = names.iter().find(|name| {
        name.kind == Kind::Merged && name.first <= reached + 1 && name.last > goal && reached < goal
    });
    match merged {
        Some(name) => PlanError::Merged { asked: goal, before: reached, after: name.last },
        None => PlanError::Gap { generation: generation.to_string(), after: reached },
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
