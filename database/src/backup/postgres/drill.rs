//! The restore drill: a restore beside, recovered by a server of its own, whose content is compared with the database's.

use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;

use super::files::{self, Purpose};
use super::layout::Layout;
use super::login::Login;
use super::lsn::Lsn;
use super::plan::{Plan, Target};
use super::restore::{self, Restore};
use super::stop::Stop;
use super::tools::Tools;
use super::trial::{Ground, Trial};
use crate::backup::BackupError;
use crate::backup::status::{DrillReport, Position};
use crate::copy::Summary;
use crate::engine::postgres::transfer;

/// What a drill needs.
pub(super) struct Drill<'a> {
    pub(super) layout: &'a Layout,
    pub(super) tools_folder: Option<&'a Path>,
    pub(super) login: &'a Login,
    pub(super) schema: &'a str,
    pub(super) scratch: &'a Path,
}

impl Drill<'_> {
    /// Restores the state before a place in the log and compares its content, or the latest state without anything to
    /// compare it with.
    ///
    /// Whatever fails is the report's fault: a drill that cannot be carried out is a backup that cannot be restored.
    pub(super) async fn run(&self, expected: Option<(Lsn, Summary)>, note: &dyn Fn(u64)) -> DrillReport {
        let began = Instant::now();
        let target = expected.as_ref().map_or(Target::Latest, |(place, _)| Target::Lsn(*place));
        let done = async {
            let plan = self.layout.read()?.plan(target)?;
            let stop = expected.as_ref().map_or(Stop::AtTarget, |(place, _)| Stop::Before(*place));
            let found = self.recover(&plan, stop, note).await?;
            match &expected {
                Some((_, content)) if *content != found => {
                    Err(BackupError::Log { reason: "what was restored is not what the database held".into() })
                }
                _ => Ok(plan.base.end),
            }
        };
        let done = done.await;
        let reached = expected.map(|(place, _)| place).or(done.as_ref().ok().copied()).unwrap_or_default();
        DrillReport {
            at: Timestamp::now(),
            position: Position::Lsn(reached),
            seconds: began.elapsed().as_secs_f64(),
            fault: done.err().map(|error| error.to_string()),
        }
    }

    /// Restores in the scratch folder, has a server recover it, and gives what that holds.
    pub(super) async fn recover(
        &self,
        plan: &Plan,
        stop: Stop,
        note: &dyn Fn(u64),
    ) -> Result<Summary, BackupError> {
        let ground = Ground::choose(self.scratch)?;
        files::remove(&ground.scratch)?;
        let recovered = self.recover_in(plan, stop, &ground, note).await;
        let removed = files::remove(&ground.scratch);
        recovered.and_then(|summary| removed.map(|()| summary))
    }

    async fn recover_in(
        &self,
        plan: &Plan,
        stop: Stop,
        ground: &Ground,
        note: &dyn Fn(u64),
    ) -> Result<Summary, BackupError> {
        let (scratch, tools) = (&ground.scratch, Tools::new(self.tools_folder, plan.major));
        if let Some(parent) = scratch.parent() {
            std::fs::create_dir_all(parent).map_err(|error| crate::backup::fault(parent, error))?;
        }
        files::make_private(scratch)?;
        // The other user may not read the destination.
        let wal = ground.user.map(|_| scratch.join("wal"));
        if let Some(wal) = &wal {
            restore::copy_log(self.layout, plan, wal)?;
        }
        let data = scratch.join("data");
        let making = Restore {
            layout: self.layout,
            plan,
            tools: &tools,
            stop,
            wal: wal.as_deref(),
            purpose: Purpose::Scratch,
            note,
        };
        making.make(&data).await?;
        if let Some(user) = ground.user {
            files::give_away(scratch, user)?;
        }
        let trial = Trial::start(&tools, &data, ground, self.login, self.schema).await?;
        let content = transfer::content_of(trial.url()).await;
        trial.stop().await;
        content.map_err(|error| BackupError::Log { reason: format!("the restored database: {error}") })
    }
}
