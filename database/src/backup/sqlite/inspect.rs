//! `backup verify`: every file at a destination is read, and every link of every chain is checked.
//!
//! Nothing is passed over in silence: what is found is named, file by file, and the inspection goes on.

use std::collections::BTreeMap;
use std::path::Path;

use super::gather::{Note, gather};
use super::head::{self, head_of};
use super::object::{self, Digest};
use super::plan::{Inventory, PlanError, Target};
use super::{Recovery, check, lacking, segment, snapshot};
use crate::backup::name::{Generation, Kind, Name};
use crate::backup::{BackupError, DestinationError};

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
            found.faults.extend(self.find_lacking(generation, names, &links).await?);
            found.faults.extend(breaks(&links));
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

    /// Holds a generation against what its head and its noted bases tell, so that what is missing is noticed.
    async fn find_lacking(
        &self,
        generation: &Generation,
        names: &[Name],
        links: &[LinkOf],
    ) -> Result<Vec<(String, String)>, BackupError> {
        let mut faults = Vec::new();
        let mut readable = |fault| match fault {
            BackupError::DamagedFile { name, reason } => {
                faults.push((name, reason));
                Ok(())
            }
            error => Err(error),
        };
        let bases = head::read_bases(&self.destination, generation).await;
        let (bases, bases_are_damaged) = match bases {
            Ok(bases) => (bases, false),
            Err(fault) => (None, readable(fault).map(|()| true)?),
        };
        let head = match head::read_head(&self.destination, generation).await {
            Ok(head) => head,
            Err(fault) => {
                readable(fault)?;
                // Only what names and bases tell can be told.
                let last = names.iter().map(|name| name.last).max().unwrap_or(0);
                Some(head::GenerationHead { commit: last, digest: String::new(), has_bases: false })
            }
        };
        let is_noted = |head: &head::GenerationHead| head.has_bases && !bases_are_damaged;
        let known = head.map(|head| head::GenerationHead { has_bases: is_noted(&head), ..head });
        faults.extend(lacking::find(generation, names, known.as_ref(), bases.as_ref()));
        faults.extend(known.and_then(|head| disagreement(generation, names, links, &head)));
        Ok(faults)
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

/// Says what of a generation does not agree with its head.
fn disagreement(
    generation: &Generation,
    names: &[Name],
    links: &[LinkOf],
    head: &head::GenerationHead,
) -> Option<(String, String)> {
    if head.digest.is_empty() {
        return None;
    }
    let path = head_of(generation);
    // Merged or removed, its commit may end no file any more; that a segment goes on beyond it cannot be.
    let is_within =
        |name: &&Name| name.kind == Kind::Segment && name.first <= head.commit && head.commit < name.last;
    if let Some(name) = names.iter().find(is_within) {
        return Some((path, format!("it names commit {}, which is in the middle of {name}", head.commit)));
    }
    let other = links.iter().find(|link| link.name.last == head.commit && link.after != head.digest)?;
    Some((path, format!("it does not agree with {}", other.name)))
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
