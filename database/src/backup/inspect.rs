//! `backup verify`: every file at a destination is read, and every link of every chain is checked.
//!
//! Nothing is passed over in silence: what is found is named, file by file, and the inspection goes on.

use std::collections::BTreeMap;
use std::path::Path;

use super::gather::{Note, gather};
use super::name::{Generation, Kind, Name, head_of};
use super::object::{self, Digest};
use super::plan::{Inventory, PlanError, Target};
use super::{BackupError, DestinationError, Recovery, check, segment, snapshot};

/// What an inspection found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// How many files were read.
    pub files: u64,
    /// How many bytes they have.
    pub size_bytes: u64,
    /// How many generations there are.
    pub generations: u64,
    /// What is wrong: the file or generation, and why.
    pub faults: Vec<(String, String)>,
}

/// One segment's part in the chain.
struct LinkOf {
    name: Name,
    before: Digest,
    after: Digest,
}

impl Recovery {
    /// Reads every file and checks digests, names and links; with `deep` also every body, and restores the end of
    /// each generation into the folder `scratch`. `begin` is told how many bytes are to come.
    pub async fn inspect(
        &self,
        deep: bool,
        scratch: &Path,
        begin: impl Fn(u64),
        note: Note<'_>,
    ) -> Result<Inspection, BackupError> {
        snapshot::make_empty(scratch)?;
        let listed = self.destination.list().await?;
        begin(listed.iter().map(|(_, size)| size).sum());
        let mut found = Inspection::default();
        if listed.is_empty() {
            return Err(PlanError::Empty.into());
        }
        found.faults.extend(self.destination.fault_of_marker());
        let inventory: Inventory = listed.iter().map(|(name, _)| name.clone()).collect();
        for (generation, names) in inventory.generations() {
            found.generations += 1;
            let mut links = Vec::new();
            for name in names {
                found.files += 1;
                match self.read(name, deep, scratch, note).await {
                    Ok(link) => links.extend(link),
                    // Where the destination itself fails there is nothing to say of its files.
                    Err(BackupError::Destination(error @ DestinationError::Failed { .. })) => {
                        return Err(error.into());
                    }
                    Err(error) => found.faults.push((name.to_string(), reason_of(error))),
                }
            }
            found.faults.extend(gaps(names).into_iter().map(|gap| (generation.to_string(), gap)));
            found.faults.extend(breaks(&links));
            found.faults.extend(self.check_head(generation, names, &links).await?);
            if deep {
                found.faults.extend(self.restore_end(generation, names, scratch).await);
            }
        }
        found.size_bytes = listed.iter().map(|(_, size)| size).sum();
        let _ = std::fs::remove_dir_all(scratch);
        Ok(found)
    }

    async fn read(
        &self,
        name: &Name,
        deep: bool,
        scratch: &Path,
        note: Note<'_>,
    ) -> Result<Option<LinkOf>, BackupError> {
        let damaged = |fault| BackupError::damaged_file(name, &fault);
        if name.kind == Kind::Base {
            let (packed, database) = (scratch.join("base"), scratch.join("base.db"));
            snapshot::fetch(&self.destination, name, &packed, note).await?;
            if deep {
                snapshot::unpack(&packed, name, &self.keys, &database)?;
                check::structure(&database)?;
            }
            return Ok(None);
        }
        let bytes = self.destination.get(&name.to_string()).await?;
        note(bytes.len() as u64);
        let (head, digest, _) = object::check(&bytes, name).map_err(damaged)?;
        if deep {
            segment::decode(&bytes, name, &self.keys).map_err(damaged)?;
        }
        let after = head.after.unwrap_or(digest);
        Ok(Some(LinkOf { name: name.clone(), before: head.before, after }))
    }

    /// Holds the end of a generation against what its head tells, so that a missing end is noticed.
    async fn check_head(
        &self,
        generation: &Generation,
        names: &[Name],
        links: &[LinkOf],
    ) -> Result<Option<(String, String)>, BackupError> {
        let path = head_of(generation);
        let head = match self.head(generation).await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(None),
            Err(BackupError::DamagedFile { name, reason }) => return Ok(Some((name, reason))),
            Err(error) => return Err(error),
        };
        let last = names.iter().map(|name| name.last).max().unwrap_or(0);
        if head.commit > last {
            let reason = format!("commit {} was stored and the last that is there is {last}", head.commit);
            return Ok(Some((generation.to_string(), reason)));
        }
        let other = links.iter().find(|link| link.name.last == head.commit && link.after != head.digest);
        let is_known = names.iter().any(|name| name.last == head.commit);
        Ok(match other {
            Some(link) => Some((path, format!("it does not agree with {}", link.name))),
            None if !is_known => {
                Some((path, format!("no file ends with commit {}, which it names", head.commit)))
            }
            None => None,
        })
    }

    async fn restore_end(
        &self,
        generation: &Generation,
        names: &[Name],
        scratch: &Path,
    ) -> Option<(String, String)> {
        let alone: Inventory = names.iter().cloned().collect();
        let file = scratch.join("restored.db");
        let restored = match alone.plan(Target::Latest) {
            Ok(plan) => gather(&self.destination, &self.keys, &plan, &file, &|_| ()).await,
            Err(error) => Err(error.into()),
        };
        let checked = restored.and_then(|_| check::structure(&file));
        checked.err().map(|error| (generation.to_string(), format!("its end cannot be restored: {error}")))
    }
}

fn reason_of(error: BackupError) -> String {
    match error {
        BackupError::DamagedFile { reason, .. } => reason,
        other => other.to_string(),
    }
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
    gaps
}

/// Names the files that do not follow the one before them.
fn breaks(links: &[LinkOf]) -> Vec<(String, String)> {
    let ends: BTreeMap<u64, &LinkOf> = links.iter().map(|link| (link.name.last, link)).collect();
    let broken = links.iter().filter_map(|link| {
        let before = ends.get(&(link.name.first - 1))?;
        let follows = before.after == link.before;
        (!follows).then(|| (link.name.to_string(), format!("it does not follow {}", before.name)))
    });
    broken.collect()
}
