//! With which generation a reception goes on.

use std::fs;

use jiff::Timestamp;

use super::inventory::{Generation, Inventory, Origin};
use super::judge::Facts;
use super::layout::Layout;
use super::receive::Receiver;
use super::server;
use crate::backup::{BackupError, fault, name};
use crate::engine::postgres::session::Session;

impl Receiver {
    /// Gives the generation that goes on, or begins another, with a slot of its own. `is_broken` is said when the server
    /// has lost what comes next.
    pub(super) async fn generation(
        &self,
        session: &Session,
        facts: &Facts,
        is_broken: bool,
    ) -> Result<String, String> {
        let slot = server::look(session, self.slot()).await?.slot;
        let is_whole = slot.as_ref().is_some_and(|slot| !slot.is_lost) && !is_broken;
        let (layout, data, system) = (self.layout.clone(), self.data.clone(), facts.system.clone());
        let resuming = move || {
            // What follows will rest on it.
            layout.claim(&data).map_err(|error| error.to_string())?;
            resume(&layout, &system, is_whole)
        };
        if let Some(newest) = self.calls.call(resuming).await? {
            let base = newest.bases.last().map(|base| (base.end, base.ended));
            self.board.note_generation(&newest.name, base);
            return Ok(newest.name);
        }
        match slot {
            Some(slot) if slot.is_active => {
                return Err(format!(
                    "the slot `{}` is in use; give each destination its own in database.backup.postgres.slot",
                    self.slot()
                ));
            }
            Some(slot) if slot.is_lost || is_broken => {
                server::drop_slot(session, self.slot()).await?;
                server::create_slot(session, self.slot()).await?;
            }
            Some(_) => {}
            None => server::create_slot(session, self.slot()).await?,
        }
        let origin = Origin {
            system: facts.system.clone(),
            major: facts.major(),
            segment_bytes: u64::try_from(facts.segment_bytes).unwrap_or(0),
        };
        let layout = self.layout.clone();
        let generation = self.calls.call(move || begin(&layout, &origin)).await?;
        self.board.note_generation(&generation, None);
        tracing::info!(generation, slot = self.slot(), "a generation of the log's backup begins");
        Ok(generation)
    }
}

/// Begins a generation after all that are there.
fn begin(layout: &Layout, origin: &Origin) -> Result<String, String> {
    let said = |error: BackupError| error.to_string();
    let Inventory { generations, unreadable } = layout.read().map_err(said)?;
    let names = generations.iter().map(|one| &one.name).chain(unreadable.iter().map(|one| &one.name));
    let newest = names.max().map(String::as_str);
    let generation = name::Generation::after(newest, Timestamp::now(), rand::random()).to_string();
    layout.begin(&generation, origin).map_err(said)?;
    Ok(generation)
}

/// Finds the generation that goes on if the slot `is_whole`, and makes it ready.
fn resume(layout: &Layout, system: &str, is_whole: bool) -> Result<Option<Generation>, String> {
    let said = |error: BackupError| error.to_string();
    let Inventory { mut generations, unreadable } = layout.read().map_err(said)?;
    let last = generations.pop();
    // What the slot keeps goes on from the last one: in an older one it would come after a gap.
    let hidden = unreadable.last();
    let hidden = hidden.filter(|hidden| last.as_ref().is_none_or(|last| hidden.name > last.name));
    if let Some(hidden) = hidden.filter(|hidden| !hidden.is_damaged) {
        return Err(format!("{}: {}", hidden.file, hidden.reason));
    }
    let newest = last.filter(|last| is_whole && hidden.is_none() && last.origin.system == system);
    if let Some(newest) = &newest {
        remove_unfinished(layout, newest).map_err(said)?;
    }
    Ok(newest)
}

/// Removes a segment that a crash left before it had its length: it holds nothing, and pg_receivewal would refuse it.
fn remove_unfinished(layout: &Layout, generation: &Generation) -> Result<(), BackupError> {
    let bytes = generation.origin.segment_bytes;
    let is_short = |size_bytes: u64| size_bytes < bytes;
    let short = generation.segments.iter().filter(|one| one.name.is_partial && is_short(one.size_bytes));
    for segment in short {
        let file = layout.wal(&generation.name).join(segment.name.write(bytes));
        fs::remove_file(&file).map_err(|error| fault(&file, error))?;
    }
    Ok(())
}
