//! Carrying a plan out: the base is fetched and unpacked, and each segment's pages are written over it.
//!
//! Every file's digest, name and link to the one before is checked before a page of it is used. The file being
//! made is opened by nobody else; SQLite sees it when it is whole.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::object::{Digest, Fault};
use super::plan::{Plan, Target};
use super::segment::{self, Segment};
use super::snapshot;
use crate::backup::BackupError;
use crate::backup::destination::Destination;
use crate::backup::fault;
use crate::backup::keys::Keys;
use crate::backup::name::{Kind, Name};

/// Up to where a gathered database goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The last commit in it.
    pub commit: u64,
    /// When that was made, in microseconds since 1970.
    pub at: i64,
    /// The next commit and when it was made, where it was read.
    pub next: Option<(u64, i64)>,
}

/// Is told of bytes that came, out of how many a work takes.
pub type Note<'a> = &'a (dyn Fn(u64) + Sync);

/// Makes the database of a plan in the file `target`.
pub(super) async fn gather(
    destination: &Destination,
    keys: &Keys,
    plan: &Plan,
    target: &Path,
    note: Note<'_>,
) -> Result<Reached, BackupError> {
    let packed = crate::backup::beside(target, ".base");
    let fetched = snapshot::fetch(destination, &plan.base, &packed, note).await;
    let unpacked =
        fetched.and_then(|(_, digest)| Ok((snapshot::unpack(&packed, &plan.base, keys, target)?, digest)));
    let _ = std::fs::remove_file(&packed);
    let (head, digest) = unpacked?;
    let file =
        OpenOptions::new().read(true).write(true).open(target).map_err(|error| fault(target, error))?;
    let mut reached = Reached { commit: plan.base.last, at: plan.base.at, next: None };
    // The base itself is what the first segment follows, if it begins the generation.
    let mut before: Option<(Name, Digest)> = Some((plan.base.clone(), digest));
    let mut pages = head.pages;
    for name in &plan.segments {
        let bytes = destination.get(&name.to_string()).await?;
        let segment =
            segment::decode(&bytes, name, keys).map_err(|fault| BackupError::damaged_file(name, &fault))?;
        check_link(before.as_ref(), name, &segment)?;
        apply(&file, &segment, name, plan.stop, &mut reached, &mut pages)
            .map_err(|error| fault(target, error))?;
        note(bytes.len() as u64);
        before = Some((name.clone(), segment.after().clone()));
    }
    let size = u64::from(pages) * u64::from(head.page_bytes);
    file.set_len(size).and_then(|()| file.sync_all()).map_err(|error| fault(target, error))?;
    Ok(reached)
}

/// Fails when a segment does not name the one that was applied before it.
fn check_link(before: Option<&(Name, Digest)>, name: &Name, segment: &Segment) -> Result<(), BackupError> {
    let Some((last, digest)) = before else { return Ok(()) };
    // Over a base within a generation, and over what overlaps, there is no link to check.
    let is_next = last.kind != Kind::Base && last.last + 1 == name.first;
    match is_next && segment.head.before != *digest {
        true => {
            let reason = Fault::Misnamed { found: format!("a segment that does not follow {last}") };
            Err(BackupError::damaged_file(name, &reason))
        }
        false => Ok(()),
    }
}

fn apply(
    file: &File,
    segment: &Segment,
    name: &Name,
    stop: Target,
    reached: &mut Reached,
    pages: &mut u32,
) -> std::io::Result<()> {
    let page_bytes = u64::from(segment.head.page_bytes);
    for (place, timed) in segment.commits.iter().enumerate() {
        // A merged segment is one step over all its commits.
        let number = if name.kind == Kind::Merged { name.last } else { name.first + place as u64 };
        let is_beyond = match stop {
            Target::Latest => false,
            Target::Time(at) => timed.at > at,
            Target::Commit(last) => number > last,
        };
        if is_beyond {
            reached.next = Some((number, timed.at));
            break;
        }
        if number <= reached.commit {
            continue;
        }
        for (page, bytes) in &timed.commit.frames {
            let Some(index) = page.checked_sub(1) else { continue };
            file.write_all_at(bytes, u64::from(index) * page_bytes)?;
        }
        *pages = timed.commit.pages;
        *reached = Reached { commit: number, at: timed.at, next: None };
    }
    Ok(())
}
