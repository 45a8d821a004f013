//! `backup verify`: every base against its manifest, and the log from the oldest base to the newest segment.
//!
//! Nothing is passed over in silence: what is found is named, file by file, and the inspection goes on.

use std::path::Path;

use super::chain;
use super::drill::Drill;
use super::files;
use super::inventory::{Base, Generation, NO_BASE};
use super::layout::Layout;
use super::log_check::LogFolder;
use super::plan::{PlanError, Target};
use super::restore;
use super::stop::Stop;
use super::tools::{Tool, Tools};
use crate::backup::{BackupError, Inspection};

/// What an inspection needs.
pub(super) struct Inspector<'a> {
    pub(super) layout: &'a Layout,
    pub(super) tools_folder: Option<&'a Path>,
    pub(super) scratch: &'a Path,
    /// What restores the end of each generation, if that is asked for.
    pub(super) deep: Option<Drill<'a>>,
}

impl Inspector<'_> {
    /// Reads everything; `begin` is told how many bytes there are and `note` of those that were read.
    pub(super) async fn run(
        &self,
        begin: impl Fn(u64),
        note: &dyn Fn(u64),
    ) -> Result<Inspection, BackupError> {
        let inventory = self.layout.read()?;
        if inventory.generations.is_empty() && inventory.unreadable.is_empty() {
            return Err(PlanError::Empty.into());
        }
        let bytes_of = |generation: &Generation| -> u64 {
            let bases: u64 = generation.bases.iter().map(|base| base.size_bytes).sum();
            bases + generation.segments.iter().map(|segment| segment.size_bytes).sum::<u64>()
        };
        let mut found = Inspection {
            size_bytes: inventory.generations.iter().map(bytes_of).sum(),
            generations: inventory.unreadable.len() as u64,
            faults: inventory.unreadable.into_iter().map(|one| (one.file, one.reason)).collect(),
            ..Inspection::default()
        };
        found.faults.extend(self.layout.fault_of_marker());
        begin(found.size_bytes);
        files::remove(self.scratch)?;
        std::fs::create_dir_all(self.scratch).map_err(|error| crate::backup::fault(self.scratch, error))?;
        for generation in &inventory.generations {
            found.generations += 1;
            found.files += (generation.bases.len() + generation.segments.len()) as u64;
            found.faults.extend(generation.faults.iter().cloned());
            // Whatever keeps one from being inspected does not keep the others from it.
            if let Err(error) = self.inspect(generation, &mut found, note).await {
                found.faults.push((generation.path(), format!("it cannot be verified: {error}")));
            }
        }
        files::remove(self.scratch)?;
        Ok(found)
    }

    async fn inspect(
        &self,
        generation: &Generation,
        found: &mut Inspection,
        note: &dyn Fn(u64),
    ) -> Result<(), BackupError> {
        let tools = Tools::new(self.tools_folder, generation.origin.major);
        tools.find(Tool::VerifyBackup).map_err(BackupError::Settings)?;
        let wal = self.layout.wal(&generation.name);
        for base in &generation.bases {
            let folder = self.layout.base(&generation.name, &base.name);
            match restore::check_base(&tools, &folder, None).await {
                Ok(()) => {}
                Err(BackupError::Damaged { reason, .. }) => {
                    found.faults.push((generation.path_of(&base.name), reason));
                }
                Err(error) => return Err(error),
            }
            note(base.size_bytes);
        }
        let Some(oldest) = generation.bases.first() else {
            found.faults.push((generation.path(), NO_BASE.to_owned()));
            return Ok(());
        };
        let bytes = generation.origin.segment_bytes;
        let is_whole = self.look_at_names(generation, oldest, found);
        if is_whole && tools.find(Tool::WalDump).is_ok() {
            let stretch = chain::follow(generation, oldest.timeline, oldest.start.segment(bytes), None);
            let log = LogFolder::link(self.scratch.join("wal"), &wal, &stretch.segments, bytes)?;
            let received = generation.received.map(|received| received.place);
            found.faults.extend(log.read(&tools, oldest.start, received).await?.err());
        }
        note(generation.segments.iter().map(|segment| segment.size_bytes).sum());
        if let (Some(drill), Some(newest)) = (&self.deep, generation.bases.last()) {
            let recovered = async {
                let plan = generation.plan(newest, Target::Latest)?;
                drill.recover(&plan, Stop::AtTarget, &|_| ()).await
            };
            if let Err(error) = recovered.await {
                found.faults.push((generation.path(), format!("its end cannot be restored: {error}")));
            }
        }
        Ok(())
    }

    /// Looks for gaps after each base; tells whether there is none after the oldest. A fault is named once.
    fn look_at_names(&self, generation: &Generation, oldest: &Base, found: &mut Inspection) -> bool {
        let bytes = generation.origin.segment_bytes;
        let follow =
            |base: &Base| chain::follow(generation, base.timeline, base.start.segment(bytes), None).fault;
        let mut faults: Vec<chain::Fault> = generation.bases.iter().filter_map(follow).collect();
        faults.dedup();
        found.faults.extend(faults.into_iter().map(|fault| (fault.file, fault.reason.to_owned())));
        follow(oldest).is_none()
    }
}
