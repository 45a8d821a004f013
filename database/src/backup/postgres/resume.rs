//! With which generation a reception goes on.
//!
//! **Whatever interrupts this, the next start finds out.** A generation is begun before its slot is made, so a slot that is
//! there is never taken for one that kept what follows on an older generation: the newest one, of which nothing was received,
//! gets a slot made anew. And what was received goes on only if it is in the history of the server ([`super::descent`]),
//! wherever that has its slot from.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use jiff::Timestamp;

use super::descent::{End, History, Line, fault_of};
use super::files;
use super::inventory::{Generation, Inventory, Origin};
use super::judge::Facts;
use super::layout::Layout;
use super::lsn::{Lsn, SegmentName};
use super::receive::Receiver;
use super::server::{self, Look};
use super::tools::Tools;
use crate::backup::{BackupError, fault, name};
use crate::engine::postgres::session::Session;

/// How much of a segment is read at a time to find its end.
const PIECE: usize = 64 << 10;

/// The newest generation at a destination.
enum Newest {
    /// There is none, or it is another cluster's, or unknown.
    None,
    /// It was begun, and nothing of it was received.
    Begun(String),
    /// It goes on if the server's log does.
    Received(Generation),
}

impl Receiver {
    /// Gives the generation that goes on, or begins another, with a slot of its own. `is_broken` is said when the server
    /// has not what comes next.
    pub(super) async fn generation(
        &self,
        session: &Session,
        facts: &Facts,
        tools: &Tools,
        is_broken: bool,
    ) -> Result<String, String> {
        let Look { flushed, slot, .. } = server::look(session, self.slot()).await?;
        let is_whole = slot.as_ref().is_some_and(|slot| !slot.is_lost) && !is_broken;
        let origin = Origin {
            system: facts.system.clone(),
            major: facts.major(),
            segment_bytes: u64::try_from(facts.segment_bytes).unwrap_or(0),
        };
        let (layout, data, own) = (self.layout.clone(), self.data.clone(), origin.clone());
        let finding = move || {
            // What follows will rest on it.
            layout.claim(&data).map_err(said)?;
            find(&layout, &own)
        };
        let begun = match self.calls.call(finding).await? {
            Newest::Received(newest) => {
                let (name, base) =
                    (newest.name.clone(), newest.bases.last().map(|base| (base.end, base.ended)));
                let fault = match is_whole {
                    true => self.fault_of_line(session, tools, newest, flushed).await?,
                    false => Some("the server does not keep what follows on it".to_owned()),
                };
                let Some(fault) = fault else {
                    self.board.note_generation(&name, base);
                    return Ok(name);
                };
                tracing::warn!(
                    generation = name,
                    reason = fault,
                    "the log's backup does not go on in this generation"
                );
                None
            }
            Newest::Begun(name) => Some(name),
            Newest::None => None,
        };
        if slot.as_ref().is_some_and(|slot| slot.is_active) {
            return Err(format!(
                "the slot `{}` is in use; give each destination its own in database.backup.postgres.slot",
                self.slot()
            ));
        }
        let layout = self.layout.clone();
        let generation = match begun {
            Some(begun) => begun,
            None => self.calls.call(move || begin(&layout, &origin)).await?,
        };
        self.board.note_generation(&generation, None);
        if slot.is_some() {
            server::drop_slot(session, self.slot()).await?;
        }
        server::create_slot(session, self.slot()).await?;
        tracing::info!(generation, slot = self.slot(), "a generation of the log's backup begins");
        Ok(generation)
    }

    /// Says why the server's log does not go on from where a generation ends; `None` if it does.
    async fn fault_of_line(
        &self,
        session: &Session,
        tools: &Tools,
        newest: Generation,
        flushed: Lsn,
    ) -> Result<Option<String>, String> {
        let timeline = server::timeline(session).await?;
        let history = server::history(tools, &self.login, timeline).await?;
        let (layout, line) = (self.layout.clone(), Line { timeline, history, flushed });
        let judging = move || match end_of(&layout, &newest, timeline).map_err(said)? {
            Some(end) => Ok(fault_of(&end, &line)),
            None => Ok(Some("its log is not there any more".to_owned())),
        };
        self.calls.call(judging).await
    }
}

/// Begins a generation after all that are there.
fn begin(layout: &Layout, origin: &Origin) -> Result<String, String> {
    let Inventory { generations, unreadable } = layout.read().map_err(said)?;
    let names = generations.iter().map(|one| &one.name).chain(unreadable.iter().map(|one| &one.name));
    let newest = names.max().map(String::as_str);
    let generation = name::Generation::after(newest, Timestamp::now(), rand::random()).to_string();
    let begun = layout.begin(&generation, origin);
    if begun.is_err() {
        // It is tried again, under another name.
        let _ = files::remove(&layout.generation(&generation));
    }
    begun.map_err(said)?;
    Ok(generation)
}

/// Finds the newest generation, and makes it ready to go on.
fn find(layout: &Layout, origin: &Origin) -> Result<Newest, String> {
    let Inventory { mut generations, unreadable } = layout.read().map_err(said)?;
    let last = generations.pop();
    // What the server keeps goes on from the last one: in an older one it would come after a gap.
    let hidden = unreadable.last();
    let hidden = hidden.filter(|hidden| last.as_ref().is_none_or(|last| hidden.name > last.name));
    if let Some(hidden) = hidden.filter(|hidden| !hidden.is_damaged) {
        return Err(format!("{}: {}", hidden.file, hidden.reason));
    }
    let newest = last.filter(|last| hidden.is_none() && last.origin.system == origin.system);
    let Some(mut newest) = newest else { return Ok(Newest::None) };
    remove_unfinished(layout, &mut newest).map_err(said)?;
    Ok(match newest.segments.is_empty() && newest.bases.is_empty() {
        true if newest.origin == *origin => Newest::Begun(newest.name),
        true => Newest::None,
        false => Newest::Received(newest),
    })
}

/// Removes a segment that a crash left before it had its length: it holds nothing, and pg_receivewal would refuse it.
fn remove_unfinished(layout: &Layout, generation: &mut Generation) -> Result<(), BackupError> {
    let bytes = generation.origin.segment_bytes;
    let (short, whole) = generation
        .segments
        .drain(..)
        .partition::<Vec<_>, _>(|segment| segment.name.is_partial && segment.size_bytes < bytes);
    generation.segments = whole;
    for segment in short {
        let file = layout.wal(&generation.name).join(segment.name.write(bytes));
        fs::remove_file(&file).map_err(|error| fault(&file, error))?;
    }
    Ok(())
}

/// Finds where a generation ends, for a server on a timeline; `None` if nothing of its log is there.
fn end_of(layout: &Layout, generation: &Generation, server: u32) -> Result<Option<End>, BackupError> {
    let (bytes, wal) = (generation.origin.segment_bytes, layout.wal(&generation.name));
    let Some(SegmentName { timeline, number, .. }) = generation.segments.last().map(|last| last.name) else {
        return Ok(None);
    };
    let file = wal.join(format!("{timeline:08X}.history"));
    let history = match fs::read_to_string(&file) {
        Ok(text) => Some(History::read(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(fault(&file, error)),
    };
    let noted = generation.received.map(|received| received.place).unwrap_or_default();
    let is_whole = |segment: &SegmentName| *segment == SegmentName { timeline, number, is_partial: false };
    let place = if timeline == server {
        // The end of a record, which was flushed at the server; behind it there may be a part of one.
        noted
    } else if generation.segments.iter().any(|segment| is_whole(&segment.name)) {
        noted.max(Lsn((number + 1) * bytes))
    } else {
        let file = wal.join(SegmentName { timeline, number, is_partial: true }.write(bytes));
        noted.max(Lsn(number * bytes + written(&file).map_err(|error| fault(&file, error))?))
    };
    Ok(Some(End { timeline, history, place }))
}

/// Tells how long a file is without the zeros at its end, with which pg_receivewal makes it.
fn written(file: &Path) -> io::Result<u64> {
    let file = File::open(file)?;
    let mut end = file.metadata()?.len();
    let mut piece = vec![0; PIECE];
    while end > 0 {
        let begin = end.saturating_sub(PIECE as u64);
        let piece = &mut piece[..usize::try_from(end - begin).unwrap_or(PIECE)];
        file.read_exact_at(piece, begin)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

fn said(error: BackupError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_segment_ends_before_its_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("segment");
        for (at, length) in [(0, 1), (7, 64), (PIECE - 1, 3 * PIECE), (PIECE, 3 * PIECE), (9, PIECE + 10)] {
            let mut bytes = vec![0u8; length];
            bytes[at] = 1;
            fs::write(&file, &bytes).unwrap();
            assert_eq!(written(&file).unwrap(), at as u64 + 1, "{length}");
        }
        for length in [0, 9, 2 * PIECE + 5] {
            fs::write(&file, vec![0u8; length]).unwrap();
            assert_eq!(written(&file).unwrap(), 0);
        }
    }
}
