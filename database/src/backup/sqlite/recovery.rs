//! What is done with a destination from outside: list, verify, restore. None of it needs the database to run.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::gather::{Note, Reached, gather};
use super::head;
use super::plan::{Following, Inventory, Plan, Target};
use super::restore::{Partial, put_in_place, remove_parts, take_folder};
use super::{Report, drill, lacking, segment};
use crate::backup::config::Config;
use crate::backup::destination::Destination;
use crate::backup::keys::Keys;
use crate::backup::name::{Generation, Kind, Name};
use crate::backup::{BackupError, DrillReport};
use crate::engine::sqlite::check_library;

/// A destination to recover from.
#[derive(Debug, Clone)]
pub struct Recovery {
    pub(super) destination: Destination,
    pub(super) keys: Arc<Keys>,
}

/// A state that was restored.
#[derive(Debug, Clone)]
pub struct RestoredState {
    /// The last commit in it, and when that was made.
    pub reached: Reached,
    /// What lies beyond it.
    pub following: Following,
    /// What the database holds.
    pub report: Report,
}

/// One generation, as `backup list` shows it.
#[derive(Debug, Clone)]
pub struct GenerationSummary {
    /// Its name.
    pub generation: String,
    /// The first commit that can be restored, which is its oldest base's, and the last.
    pub commits: (u64, u64),
    /// When these were made.
    pub times: (Timestamp, Timestamp),
    /// How many bases, segments and merged segments it has.
    pub files: [usize; 3],
    /// What they take.
    pub size_bytes: u64,
    /// What of it is missing, and so cannot be restored.
    pub fault: Option<String>,
}

impl Recovery {
    /// Makes the client of the configured destination.
    pub fn open(config: &Config) -> Result<Self, BackupError> {
        let settings = |error: process::ConfigError| BackupError::Settings(error.to_string());
        let place = config.place().map_err(settings)?.ok_or(BackupError::NotConfigured)?;
        let destination = Destination::open(&place, config)?;
        Ok(Self { destination, keys: Arc::new(config.keys().map_err(settings)?) })
    }

    /// Summarises what is there, oldest first.
    pub async fn list(&self) -> Result<Vec<GenerationSummary>, BackupError> {
        let listed = self.destination.list().await?;
        let inventory: Inventory = listed.iter().map(|(name, _)| name.clone()).collect();
        let mut summaries = Vec::new();
        for (generation, names) in inventory.generations() {
            let of_generation = listed.iter().filter(|(name, _)| name.generation == *generation);
            let time = |name: Option<&Name>| {
                Timestamp::from_microsecond(name.map_or(0, |name| name.at)).unwrap_or_default()
            };
            // Segments from before the oldest base restore nothing.
            let first = names.iter().filter(|name| name.kind == Kind::Base).min_by_key(|name| name.last);
            let last = names.iter().max_by_key(|name| (name.last, name.kind != Kind::Base));
            summaries.push(GenerationSummary {
                generation: generation.to_string(),
                commits: (first.map_or(0, |name| name.last), last.map_or(0, |name| name.last)),
                times: (time(first), time(last)),
                files: Kind::ALL.map(|kind| names.iter().filter(|name| name.kind == kind).count()),
                size_bytes: of_generation.map(|(_, size)| size).sum(),
                fault: self.first_lack(generation, names).await?,
            });
        }
        Ok(summaries)
    }

    /// Says what a generation lacks first.
    async fn first_lack(
        &self,
        generation: &Generation,
        names: &[Name],
    ) -> Result<Option<String>, BackupError> {
        let noted = async {
            let head = head::read_head(&self.destination, generation).await?;
            Ok((head, head::read_bases(&self.destination, generation).await?))
        };
        match noted.await {
            Ok((head, bases)) => {
                let faults = lacking::find(generation, names, head.as_ref(), bases.as_ref());
                Ok(faults.into_iter().next().map(|(_, reason)| reason))
            }
            Err(error @ BackupError::DamagedFile { .. }) => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Restores a state into a data directory that nobody has open; replaces a database there only with `force`,
    /// and then keeps the old one beside it. `begin` is told how many bytes are to come, then `note` of those that
    /// came.
    pub async fn restore(
        &self,
        target: Target,
        data: &Path,
        force: bool,
        begin: impl Fn(u64),
        note: Note<'_>,
    ) -> Result<RestoredState, BackupError> {
        check_library()?;
        let (inventory, plan, size) = self.find(target).await?;
        let _owner = take_folder(data, force)?;
        begin(size);
        let partial = Partial::of(data);
        let mut reached = self.make(&plan, partial.file(), note).await?;
        if reached.commit == plan.base.last {
            reached.at = self.time_of_base(&inventory, &plan.base).await;
        }
        let following = match reached.next {
            Some((commit, at)) => Following::Commit { commit, at },
            None => inventory.following(&plan.base.generation, reached.commit),
        };
        Ok(RestoredState { reached, following, report: put_in_place(partial.file(), data)? })
    }

    /// Restores the latest state into the folder `scratch` and has it checked, with nothing to compare it with.
    pub async fn drill(
        &self,
        scratch: &Path,
        begin: impl Fn(u64),
        note: Note<'_>,
    ) -> Result<DrillReport, BackupError> {
        check_library()?;
        begin(self.plan(Target::Latest).await?.1);
        Ok(drill::drill(self, None, scratch, note).await)
    }

    /// Finds the way to a state, and how many bytes it takes.
    pub(super) async fn plan(&self, target: Target) -> Result<(Plan, u64), BackupError> {
        self.find(target).await.map(|(_, plan, size)| (plan, size))
    }

    async fn find(&self, target: Target) -> Result<(Inventory, Plan, u64), BackupError> {
        let listed = self.destination.list().await?;
        let inventory: Inventory = listed.iter().map(|(name, _)| name.clone()).collect();
        let plan = inventory.plan(target)?;
        let generation = &plan.base.generation;
        let names: Vec<Name> =
            inventory.names().filter(|name| name.generation == *generation).cloned().collect();
        // What is asked for may lie where the end is missing, which the names that are left do not show.
        let may_lie_there = match target {
            Target::Latest => true,
            Target::Time(at) => names.iter().all(|name| name.at <= at),
            Target::Commit(_) => false,
        };
        if may_lie_there {
            let head = head::read_head(&self.destination, generation).await?;
            if let Some(reason) = lacking::fault_of_end(&names, head.as_ref()) {
                let last = names.iter().map(|name| name.last).max().unwrap_or(0);
                let reason = format!("{reason}; --at {last} restores what is left");
                return Err(BackupError::DamagedFile { name: generation.to_string(), reason });
            }
        }
        let is_needed = |name: &Name| *name == plan.base || plan.segments.contains(name);
        let size = listed.iter().filter(|(name, _)| is_needed(name)).map(|(_, size)| size).sum();
        Ok((inventory, plan, size))
    }

    /// Gives when the commit that a base ends with was made, which is before the base was; or else when that was.
    async fn time_of_base(&self, inventory: &Inventory, base: &Name) -> i64 {
        let mut own = inventory.names().filter(|name| name.generation == base.generation);
        let is_over =
            |name: &Name| name.kind != Kind::Base && name.first <= base.last && base.last <= name.last;
        let over: Vec<&Name> = own.by_ref().filter(|name| is_over(name)).collect();
        if let Some(name) = over.iter().find(|name| name.last == base.last) {
            return name.at;
        }
        // Only to be told: a segment that cannot be read is none that is needed.
        let single = over.iter().find(|name| name.kind == Kind::Segment);
        let read = async {
            let name = single?;
            let bytes = self.destination.get(&name.to_string()).await.ok()?;
            let segment = segment::decode(&bytes, name, &self.keys).ok()?;
            let place = usize::try_from(base.last - name.first).ok()?;
            Some(segment.commits.get(place)?.at)
        };
        read.await.unwrap_or(base.at)
    }

    /// Makes the database of a plan in a file, anew.
    pub(super) async fn make(
        &self,
        plan: &Plan,
        file: &Path,
        note: Note<'_>,
    ) -> Result<Reached, BackupError> {
        // What an earlier, broken attempt left.
        remove_parts(file);
        gather(&self.destination, &self.keys, plan, file, note).await
    }
}
