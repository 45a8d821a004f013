//! What is done with a destination from outside: list, verify, restore, drill. None of it needs the server to run.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use process::Secret;

use super::drill::Drill;
use super::files::Purpose;
use super::inspect::Inspector;
use super::inventory::{Inventory, NO_BASE};
use super::layout::Layout;
use super::login::Login;
use super::lsn::Lsn;
use super::plan::Target;
use super::restore::{Restore, Restored};
use super::stop::Stop;
use super::tools::Tools;
use crate::backup::config::{Config, Place};
use crate::backup::{BackupError, DrillReport, Inspection};
use crate::engine::postgres::session::schema_of;

/// A destination to recover from.
#[derive(Debug, Clone)]
pub struct Recovery {
    layout: Layout,
    tools_folder: Option<PathBuf>,
    login: Login,
    schema: String,
}

/// One base, as `backup list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSummary {
    /// The reception it belongs to.
    pub generation: String,
    /// Its name.
    pub base: String,
    /// The timeline it was taken on.
    pub timeline: u32,
    /// From where on states can be restored, and since when that is.
    pub end: (Lsn, Timestamp),
    /// The last segment of the log that follows it.
    pub last_segment: String,
    /// What it takes, without the log.
    pub size_bytes: u64,
    /// Why its last state cannot be restored, if so.
    pub fault: Option<String>,
}

impl Recovery {
    /// Takes the configured destination; the server's URL tells the user and the database of drills.
    pub fn open(config: &Config, url: &Secret) -> Result<Self, BackupError> {
        let login = Login::of(url.expose()).map_err(BackupError::Settings)?;
        Ok(Self {
            layout: layout(config)?,
            tools_folder: config.postgres.tools.clone(),
            login,
            schema: schema_of(url.expose()),
        })
    }

    /// Lists the bases that are there, oldest first.
    pub fn list(&self) -> Result<Vec<BaseSummary>, BackupError> {
        let inventory = self.layout.read()?;
        let summaries = inventory.generations.iter().flat_map(|generation| {
            generation.bases.iter().map(|base| {
                let plan = generation.plan(base, Target::Latest);
                let last = plan.as_ref().ok().and_then(|plan| plan.segments.last());
                BaseSummary {
                    generation: generation.name.clone(),
                    base: base.name.clone(),
                    timeline: base.timeline,
                    end: (base.end, base.ended),
                    last_segment: last
                        .map_or_else(String::new, |last| last.write(generation.origin.segment_bytes)),
                    size_bytes: base.size_bytes,
                    fault: plan.err().map(|error| error.to_string()),
                }
            })
        });
        Ok(summaries.collect())
    }

    /// Names the generations of which nothing can be restored: those that cannot be read, by the file, and those without a
    /// base, and why.
    pub fn unusable(&self) -> Result<Vec<(String, String)>, BackupError> {
        let Inventory { generations, unreadable } = self.layout.read()?;
        let baseless = generations.iter().filter(|generation| generation.bases.is_empty());
        let baseless = baseless.map(|generation| (generation.path(), NO_BASE.to_owned()));
        let unreadable = unreadable.into_iter().map(|one| (one.file, one.reason));
        let mut unusable: Vec<_> = unreadable.chain(baseless).collect();
        unusable.sort();
        Ok(unusable)
    }

    /// Reads everything and names what is damaged or missing; with `deep` the end of each generation is also restored in
    /// the folder `scratch` and recovered by a server. `begin` is told how many bytes there are.
    pub async fn inspect(
        &self,
        deep: bool,
        scratch: &Path,
        begin: impl Fn(u64),
        note: &dyn Fn(u64),
    ) -> Result<Inspection, BackupError> {
        let trial = scratch.join("trial");
        let deep = deep.then(|| self.drill_in(&trial));
        let inspector =
            Inspector { layout: &self.layout, tools_folder: self.tools_folder.as_deref(), scratch, deep };
        inspector.run(begin, note).await
    }

    /// Makes a data folder from which PostgreSQL recovers a state once it is started; starts nothing. `begin` is told
    /// how many bytes are to come, then `note` of those that came.
    pub async fn restore(
        &self,
        target: Target,
        to: &Path,
        begin: impl Fn(u64),
        note: &dyn Fn(u64),
    ) -> Result<Restored, BackupError> {
        let plan = self.layout.read()?.plan(target)?;
        begin(plan.base.size_bytes);
        let tools = Tools::new(self.tools_folder.as_deref(), plan.major);
        let restore = Restore {
            layout: &self.layout,
            plan: &plan,
            tools: &tools,
            stop: Stop::AtTarget,
            wal: None,
            purpose: Purpose::Kept,
            note,
        };
        restore.make(to).await
    }

    /// Restores the latest state in the folder `scratch` and has a server recover it, with nothing to compare it with.
    pub async fn drill(
        &self,
        scratch: &Path,
        begin: impl Fn(u64),
        note: &dyn Fn(u64),
    ) -> Result<DrillReport, BackupError> {
        begin(self.layout.read()?.plan(Target::Latest)?.base.size_bytes);
        Ok(self.drill_in(scratch).run(None, note).await)
    }

    fn drill_in<'a>(&'a self, scratch: &'a Path) -> Drill<'a> {
        let (layout, login) = (&self.layout, &self.login);
        Drill { layout, tools_folder: self.tools_folder.as_deref(), login, schema: &self.schema, scratch }
    }
}

/// Gives the folder a destination names: PostgreSQL's programs write into nothing else.
pub(super) fn layout(config: &Config) -> Result<Layout, BackupError> {
    let settings = |error: process::ConfigError| BackupError::Settings(error.to_string());
    match config.place().map_err(settings)?.ok_or(BackupError::NotConfigured)? {
        Place::Folder(folder) => Ok(Layout::open(&folder, config)?),
        Place::Bucket { .. } => Err(BackupError::Settings(crate::backup::config::ONLY_FOLDERS.to_owned())),
    }
}
