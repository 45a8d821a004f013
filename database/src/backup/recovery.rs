//! What is done with a destination from outside: list, verify, restore. None of it needs the database to run.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::config::Config;
use super::destination::Destination;
use super::gather::{Note, Reached, gather};
use super::keys::Keys;
use super::name::{Generation, Kind, Name, head_of};
use super::plan::{Inventory, Plan, Target};
use super::restore::{put_in_place, take_folder};
use super::{BackupError, DestinationError, DrillReport, Report, beside, drill};
use crate::engine::sqlite::{check_library, database_file};

/// A destination to recover from.
#[derive(Debug, Clone)]
pub struct Recovery {
    pub(super) destination: Destination,
    pub(super) keys: Arc<Keys>,
}

/// How far a generation went.
#[derive(Debug)]
pub(super) struct GenerationHead {
    pub(super) commit: u64,
    pub(super) digest: String,
}

/// One generation, as `backup list` shows it.
#[derive(Debug, Clone)]
pub struct GenerationSummary {
    /// Its name.
    pub generation: String,
    /// The commits of its first base and of its last segment.
    pub commits: (u64, u64),
    /// When these were made.
    pub times: (Timestamp, Timestamp),
    /// How many bases, segments and merged segments it has.
    pub files: [usize; 3],
    /// What they take.
    pub size_bytes: u64,
    /// Why its last state cannot be restored, if so.
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
        let summaries = inventory.generations().map(|(generation, names)| {
            let size_bytes =
                listed.iter().filter(|(name, _)| name.generation == *generation).map(|(_, size)| size).sum();
            let alone: Inventory = names.iter().cloned().collect();
            let ends = |pick: fn(&Name) -> u64, by: fn(&Name) -> i64| {
                let commits = (names.iter().map(pick).min(), names.iter().map(pick).max());
                let times = (names.iter().map(by).min(), names.iter().map(by).max());
                (commits, times)
            };
            let ((first, last), (began, ended)) = ends(|name| name.last, |name| name.at);
            let time = |at: Option<i64>| Timestamp::from_microsecond(at.unwrap_or(0)).unwrap_or_default();
            GenerationSummary {
                generation: generation.to_string(),
                commits: (first.unwrap_or(0), last.unwrap_or(0)),
                times: (time(began), time(ended)),
                files: Kind::ALL.map(|kind| names.iter().filter(|name| name.kind == kind).count()),
                size_bytes,
                fault: alone.plan(Target::Latest).err().map(|error| error.to_string()),
            }
        });
        Ok(summaries.collect())
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
    ) -> Result<(Reached, Report), BackupError> {
        check_library()?;
        let (plan, size) = self.plan(target).await?;
        let _owner = take_folder(data, force)?;
        begin(size);
        let partial = beside(&database_file(data), ".partial");
        let reached = self.make(&plan, &partial, note).await?;
        Ok((reached, put_in_place(&partial, data)?))
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
        let listed = self.destination.list().await?;
        let inventory: Inventory = listed.iter().map(|(name, _)| name.clone()).collect();
        let plan = inventory.plan(target)?;
        if !matches!(target, Target::Commit(_)) {
            self.check_end(&inventory, &plan).await?;
        }
        let is_needed = |name: &Name| *name == plan.base || plan.segments.contains(name);
        let size = listed.iter().filter(|(name, _)| is_needed(name)).map(|(_, size)| size).sum();
        Ok((plan, size))
    }

    /// Fails when the end of a plan's generation is missing, which its names alone do not show: what is asked for
    /// may lie there.
    async fn check_end(&self, inventory: &Inventory, plan: &Plan) -> Result<(), BackupError> {
        let generation = &plan.base.generation;
        let Some(head) = self.head(generation).await? else { return Ok(()) };
        let last =
            inventory.names().filter(|name| name.generation == *generation).map(|name| name.last).max();
        match last.unwrap_or(0) {
            last if head.commit > last => Err(BackupError::DamagedFile {
                name: generation.to_string(),
                reason: format!("commit {} was stored and the last that is there is {last}", head.commit),
            }),
            _ => Ok(()),
        }
    }

    /// Reads how far a generation went; it is stored every few seconds, so it may be behind.
    pub(super) async fn head(&self, generation: &Generation) -> Result<Option<GenerationHead>, BackupError> {
        let name = head_of(generation);
        let bytes = match self.destination.get(&name).await {
            Ok(bytes) => bytes,
            Err(DestinationError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = String::from_utf8_lossy(&bytes);
        let parsed =
            text.strip_suffix('\n').and_then(|line| line.split_once(' ')).and_then(|(commit, digest)| {
                Some(GenerationHead { commit: commit.parse().ok()?, digest: digest.to_owned() })
            });
        let unreadable = || BackupError::DamagedFile { name, reason: "it cannot be read".into() };
        parsed.map(Some).ok_or_else(unreadable)
    }

    /// Makes the database of a plan in a file, anew.
    pub(super) async fn make(
        &self,
        plan: &Plan,
        file: &Path,
        note: Note<'_>,
    ) -> Result<Reached, BackupError> {
        // What an earlier, broken attempt left.
        for part in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(beside(file, part));
        }
        gather(&self.destination, &self.keys, plan, file, note).await
    }
}
