//! Where shipping goes on: after the last segment at the destination, if the log proves that nothing lies between;
//! otherwise with a new generation over a new base.
//!
//! The proof: the last segment tells its place in the log, and a place has the running checksum of every frame
//! before it. If the log that is here has that place, it is the log that was shipped, up to there. A process
//! therefore leaves its log behind when it stops, as one that was killed does.

use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;

use super::head::{self, write_head};
use super::object::Digest;
use super::plan::Inventory;
use super::segment::Timed;
use super::ship::Shipper;
use super::snapshot::{self, Snapshot};
use super::wal::Place;
use super::{lineage, object, wal};
use crate::backup::BackupError;
use crate::backup::destination;
use crate::backup::name::{Generation, Kind, Name};

/// About how much of an older process's log is read at a time, in frames.
const LEFT_OVER_FRAMES: u32 = 1024;

/// The end of a chain: what the next segment follows.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) generation: Generation,
    /// The last commit's number.
    pub(crate) number: u64,
    /// Its time.
    pub(crate) at: i64,
    /// The log's place after it.
    pub(crate) place: Place,
    /// The database's pages after it.
    pub(crate) pages: u32,
    pub(crate) page_bytes: u32,
    /// The digest the next segment names.
    pub(crate) digest: Digest,
    pub(crate) is_head_stored: bool,
    /// The head as this process stored it last; another one there was stored by another process.
    pub(crate) stored_head: Option<Bytes>,
}

impl Chain {
    /// Gives the content of the generation's head: the last commit and the digest after it.
    pub(crate) fn head(&self) -> Bytes {
        write_head(self.number, &self.digest)
    }
}

/// Finds where to go on, or begins a generation.
pub(super) async fn establish(shipper: &Shipper, may_continue: bool) -> Result<Chain, BackupError> {
    // What follows will rest on it.
    shipper.destination.claim(&shipper.database.with_file_name(destination::NOTE))?;
    let listed = shipper.destination.list().await?;
    let inventory: Inventory = listed.into_iter().map(|(name, _)| name).collect();
    if may_continue {
        lineage::check(&shipper.database, newest_of(&inventory))?;
        match go_on(shipper, &inventory).await {
            Ok(Some(chain)) => return Ok(chain),
            Ok(None) => {}
            // Not what was shipped after all: a base holds whatever it is.
            Err(BackupError::Log { reason }) => {
                tracing::warn!(reason, "the log does not continue the backup")
            }
            Err(error) => return Err(error),
        }
    }
    begin(shipper, &inventory).await
}

/// Goes on with the newest generation, if the log here does.
async fn go_on(shipper: &Shipper, inventory: &Inventory) -> Result<Option<Chain>, BackupError> {
    let Some(mut chain) = find_end(shipper, inventory).await? else { return Ok(None) };
    match head::read_bases(&shipper.destination, &chain.generation).await {
        Ok(Some(_)) => {}
        // Of an older release.
        Ok(None) => {
            let names = inventory.names().filter(|name| name.generation == chain.generation);
            let bases = names.filter(|name| name.kind == Kind::Base).map(|name| name.last).collect();
            head::store_bases(&shipper.destination, &chain.generation, &bases).await?;
        }
        // No base could be added to them any more.
        Err(error) => return unless_damaged(error),
    }
    lineage::note(&shipper.database, &chain.generation)?;
    let offset = ship_left_over(shipper, &mut chain).await?;
    shipper.board.note_generation(&chain.generation.to_string(), offset, 0);
    tracing::info!(generation = %chain.generation, commit = chain.number, "the backup goes on");
    Ok(Some(chain))
}

/// Gives the end of the newest generation if the log here goes on from it.
async fn find_end(shipper: &Shipper, inventory: &Inventory) -> Result<Option<Chain>, BackupError> {
    let Some((generation, names)) = inventory.generations().next_back() else { return Ok(None) };
    let has_base = names.iter().any(|name| name.kind == Kind::Base);
    let is_chained = |name: &&Name| name.kind != Kind::Base;
    // The first base of a generation is what its first segment follows.
    let last = names.iter().filter(is_chained).max_by_key(|name| (name.last, name.kind == Kind::Segment));
    let Some(last) = last.or(names.iter().min_by_key(|name| name.last)).filter(|_| has_base) else {
        return Ok(None);
    };
    let read = match last.kind {
        Kind::Base => {
            snapshot::read_head(&shipper.destination, last, &snapshot::scratch(&shipper.database)?).await
        }
        _ => {
            let bytes = shipper.destination.get(&last.to_string()).await?;
            let checked = object::check(&bytes, last);
            checked
                .map(|(head, digest, _)| (head, digest))
                .map_err(|fault| BackupError::damaged_file(last, &fault))
        }
    };
    let (head, digest) = match read {
        Ok(read) => read,
        Err(error) => return unless_damaged(error),
    };
    let opened = &shipper.feed.opened.0;
    let goes_on = head.place.frames <= opened.frames
        && head.place.salts != [0, 0]
        && shipper.feed.log().place_at(head.place.frames).map_err(wal::LogError::from)? == Some(head.place);
    Ok(goes_on.then(|| Chain {
        generation: generation.clone(),
        number: last.last,
        at: last.at,
        place: head.place,
        pages: head.pages,
        page_bytes: head.page_bytes,
        digest: head.after.unwrap_or(digest),
        is_head_stored: false,
        stored_head: None,
    }))
}

/// Says what is damaged, so that a new generation begins: it stays so however often it is read. Any other error, as of a
/// destination that cannot be reached, is one to be tried again after.
fn unless_damaged(error: BackupError) -> Result<Option<Chain>, BackupError> {
    match error {
        BackupError::DamagedFile { name, reason } => {
            tracing::error!(file = name, reason, "the newest generation is damaged; a new one begins");
            Ok(None)
        }
        error => Err(error),
    }
}

/// Ships what an older process committed and did not ship; gives the offset of this process's numbers.
async fn ship_left_over(shipper: &Shipper, chain: &mut Chain) -> Result<u64, BackupError> {
    let (opened, at) = shipper.feed.opened;
    while chain.place.frames < opened.frames {
        let mut until = chain.place.frames.saturating_add(LEFT_OVER_FRAMES).min(opened.frames);
        // A commit longer than that is read whole.
        let (commits, end) = loop {
            let (commits, end) = shipper.feed.log().read(&chain.place, until, false)?;
            if !commits.is_empty() || until >= opened.frames {
                break (commits, end);
            }
            until = until.saturating_mul(2).min(opened.frames);
        };
        if commits.is_empty() {
            break;
        }
        chain.place = end;
        chain.pages = commits.last().map_or(chain.pages, |commit| commit.pages);
        chain.at = chain.at.max(at.as_microsecond());
        let commits = commits.into_iter().map(|commit| Timed { at: chain.at, commit }).collect();
        shipper.store(chain, commits, || ()).await?;
    }
    Ok(chain.number)
}

/// Begins a generation: a base of the present state is stored, and from it on everything is copied.
async fn begin(shipper: &Shipper, inventory: &Inventory) -> Result<Chain, BackupError> {
    let snapshot = Snapshot::begin(&shipper.between, &shipper.database, &shipper.feed, true).await?;
    let (mark, answers) = (snapshot.mark, snapshot.answers);
    let newest = newest_of(inventory).map(Generation::to_string);
    let generation = Generation::after(newest.as_deref(), Timestamp::now(), rand::random());
    // Before anything of it is stored, so that what is there and is newer was begun by another.
    lineage::note(&shipper.database, &generation)?;
    // Never below the ordinal, so that numbers and ordinals of this process differ by what is not negative.
    let number = (inventory.highest() + 1).max(mark.ordinal);
    // Later than all there is, whatever the clock says, so that the newest generation has the latest times.
    let latest = inventory.names().map(|name| name.at).max().unwrap_or(0);
    let at = Timestamp::now().as_microsecond().max(latest + 1);
    let name = Name { generation: generation.clone(), kind: Kind::Base, first: number, last: number, at };
    let stored = snapshot::store(snapshot.source, &name, mark.place, shipper_store(shipper)).await;
    let safety = if stored.is_ok() { super::feed::Safety::Safe } else { super::feed::Safety::Unknown };
    answers.into_iter().for_each(|answer| answer(safety));
    let stored = stored?;
    shipper.board.note_generation(&generation.to_string(), number - mark.ordinal, mark.ordinal);
    shipper.board.note_base(number, Timestamp::from_microsecond(at).unwrap_or_default());
    tracing::info!(%generation, commit = number, "a new generation of the backup begins");
    Ok(Chain {
        generation,
        number,
        at,
        place: mark.place,
        pages: stored.pages,
        page_bytes: stored.page_bytes,
        stored_head: Some(write_head(number, &stored.digest)),
        digest: stored.digest,
        is_head_stored: true,
    })
}

fn newest_of(inventory: &Inventory) -> Option<&Generation> {
    inventory.generations().next_back().map(|(generation, _)| generation)
}

/// What storing a base needs of the shipper.
fn shipper_store(shipper: &Shipper) -> snapshot::Store<'_> {
    let scratch: PathBuf = snapshot::scratch_path(&shipper.database).join("shipping");
    snapshot::Store {
        destination: &shipper.destination,
        keys: &shipper.keys,
        notes: &shipper.board.notes,
        feed: &shipper.feed,
        scratch,
        begins: true,
    }
}
