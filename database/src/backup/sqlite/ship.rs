//! The thread that ships what was committed: one segment after the other, each naming the one before.
//!
//! It finds out where to go on ([`super::chain`]), then takes what waits in the [`Feed`], makes a segment of it and
//! stores it. In mode `sync` it starts at once, so that the commits that come meanwhile share the next segment; in
//! mode `async` it gathers for an interval. A segment that cannot be stored is tried until it can be; that it was
//! stored although the answer was lost shows when its name is taken by the same bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::board::Board;
use super::chain::{self, Chain};
use super::feed::{Entry, Feed, Safety};
use super::head::head_of;
use super::segment::{self, Link, Timed};
use super::wal::Commit;
use crate::backup::BackupError;
use crate::backup::config::{Config, Mode, OnUnreachable};
use crate::backup::destination::{Destination, DestinationError};
use crate::backup::figures;
use crate::backup::keys::Keys;
use crate::backup::name::{Kind, Name};
use crate::backup::standing::Standing;
use crate::engine::sqlite::Between;

/// About how much goes into one segment.
const SEGMENT_BYTES: u64 = 8 << 20;

/// The pauses between attempts at a destination that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often the head is stored that tells how far a generation went.
const HEAD_EVERY: Duration = Duration::from_secs(10);

/// How often it is looked whether the destination is there, while nothing is to be shipped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a stop waits for what was not shipped.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What shipping needs.
#[derive(Debug)]
pub(crate) struct Shipper {
    pub(crate) feed: Arc<Feed>,
    pub(crate) board: Arc<Board>,
    pub(crate) destination: Destination,
    pub(crate) keys: Arc<Keys>,
    pub(crate) config: Config,
    pub(crate) between: Between,
    /// The database file.
    pub(crate) database: std::path::PathBuf,
}

/// Why a segment was not stored.
pub(super) enum Lost {
    /// Somebody else continues this generation.
    Conflict,
    /// The process stops.
    Stopping,
}

impl Shipper {
    /// Ships until the feed is closed and empty, or the destination fails after that.
    pub(crate) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        // The chain of a running process can be continued once; after a break only a base makes a new one.
        let mut may_continue = true;
        while !self.feed.is_closed() || may_continue {
            match chain::establish(&self, may_continue).await {
                Ok(chain) => {
                    may_continue = false;
                    pause = FIRST_PAUSE;
                    self.board.notes.note_standing(Standing::Shipping);
                    if !self.follow(chain).await {
                        break;
                    }
                    self.board.notes.note_standing(Standing::Starting);
                }
                Err(error) => {
                    self.note_failure(&error.to_string());
                    if self.feed.is_closed() {
                        break;
                    }
                    self.rest(&mut pause).await;
                }
            }
        }
        self.feed.answer_all(Safety::Unknown);
    }

    /// Continues a chain until it breaks; false when the process stops.
    async fn follow(&self, mut chain: Chain) -> bool {
        let mut head_due = Timestamp::now();
        loop {
            let closed = self.feed.is_closed();
            let taken = match self.feed.take(SEGMENT_BYTES) {
                Ok(taken) => taken,
                Err(reason) => {
                    tracing::warn!(reason, "the chain of segments is given up; a new generation begins");
                    return !closed;
                }
            };
            if taken.is_empty() {
                if self.look() && (closed || Timestamp::now() >= head_due) {
                    self.store_head(&mut chain).await;
                    head_due = Timestamp::now() + HEAD_EVERY;
                }
                if closed {
                    return false;
                }
                self.wait().await;
                continue;
            }
            match self.ship(&mut chain, taken).await {
                Ok(()) => {}
                Err(Lost::Conflict) => {
                    self.feed.break_off("another process continues the generation".to_owned());
                }
                Err(Lost::Stopping) => return false,
            }
            if Timestamp::now() >= head_due {
                self.store_head(&mut chain).await;
                head_due = Timestamp::now() + HEAD_EVERY;
            }
        }
    }

    /// Looks whether the destination is there, also while nothing is written.
    fn look(&self) -> bool {
        match self.destination.check() {
            Ok(()) => {
                // What failed to be stored says for itself when it goes again; here nothing waits.
                self.board.notes.note_standing(Standing::Shipping);
                true
            }
            Err(error) => {
                self.note_failure(&error.to_string());
                false
            }
        }
    }

    /// Waits until something is to be shipped, or the next look is due.
    async fn wait(&self) {
        if tokio::time::timeout(LOOK_EVERY, self.feed.news()).await.is_err() {
            return;
        }
        if self.config.mode == Mode::Async && !self.feed.is_closed() {
            tokio::time::sleep(self.config.interval).await;
        }
    }

    async fn ship(&self, chain: &mut Chain, mut taken: Vec<Entry>) -> Result<(), Lost> {
        let commits = match self.read_commits(chain, &mut taken) {
            Ok(commits) => commits,
            Err(error) => {
                self.feed.break_off(error.to_string());
                // The next generation's base holds them; nobody waits for that.
                taken.iter_mut().for_each(|entry| entry.answer(Safety::Unknown));
                return Ok(());
            }
        };
        let stored = self.store(chain, commits, || {
            taken.iter_mut().for_each(|entry| entry.answer(self.unreachable_answer()));
        });
        let stored = stored.await;
        if stored.is_ok()
            && let Some(last) = taken.last()
        {
            self.board.note_shipped(last.ordinal);
            self.feed.caught_up(chain.place);
        }
        let safety = if stored.is_ok() { Safety::Safe } else { Safety::Unknown };
        taken.iter_mut().for_each(|entry| entry.answer(safety));
        stored
    }

    /// Gives the commits of what was taken, from memory or the log, and moves the chain's place behind them.
    fn read_commits(
        &self,
        chain: &mut Chain,
        taken: &mut [Entry],
    ) -> Result<Vec<Timed>, super::wal::LogError> {
        let mut commits = Vec::with_capacity(taken.len());
        for entry in taken {
            let (commit, place) = match entry.copy.take() {
                Some((commit, place)) => (Some(commit), place),
                None => {
                    let (read, place) = self.feed.log().read(&chain.place, entry.end, false)?;
                    (read.into_iter().reduce(join), place)
                }
            };
            chain.place = place;
            // Wall time may go back; in a chain it does not.
            chain.at = chain.at.max(entry.at.as_microsecond());
            let empty = Commit { pages: chain.pages, frames: Vec::new() };
            let commit = commit.unwrap_or(empty);
            chain.pages = commit.pages;
            commits.push(Timed { at: chain.at, commit });
        }
        Ok(commits)
    }

    /// Stores the next segment of a chain, however long that takes; `give_notice` is called when it does not go.
    pub(super) async fn store(
        &self,
        chain: &mut Chain,
        commits: Vec<Timed>,
        mut give_notice: impl FnMut(),
    ) -> Result<(), Lost> {
        let name = Name {
            generation: chain.generation.clone(),
            kind: Kind::Segment,
            first: chain.number + 1,
            last: chain.number + commits.len() as u64,
            at: chain.at,
        };
        let link = Link {
            page_bytes: chain.page_bytes,
            place: chain.place,
            before: chain.digest.clone(),
            after: None,
        };
        let encoded = segment::encode(&name, &link, &commits, &self.keys);
        drop(commits);
        // Writing into memory fails only if the recipients cannot be used, which was checked.
        let (bytes, digest) = encoded.map_err(|error| {
            self.note_failure(&error.to_string());
            Lost::Conflict
        })?;
        let mut pause = FIRST_PAUSE;
        let mut patience = None;
        loop {
            match self.put(&name, &bytes).await {
                Ok(()) => break,
                Err(DestinationError::Exists { .. }) => return Err(Lost::Conflict),
                Err(error) => self.note_failure(&error.to_string()),
            }
            give_notice();
            if self.feed.is_closed() {
                let until = *patience.get_or_insert_with(|| Timestamp::now() + STOP_PATIENCE);
                if Timestamp::now() >= until {
                    return Err(Lost::Stopping);
                }
            }
            self.rest(&mut pause).await;
        }
        figures::count_stored(Kind::Segment.folder(), bytes.len() as u64);
        self.board.notes.note_standing(Standing::Shipping);
        chain.number = name.last;
        chain.digest = digest;
        chain.is_head_stored = false;
        Ok(())
    }

    /// Stores a file; one that is there already with the same bytes was stored before the answer was lost.
    async fn put(&self, name: &Name, bytes: &Bytes) -> Result<(), DestinationError> {
        let text = name.to_string();
        match self.destination.put_new(&text, bytes.clone()).await {
            Err(DestinationError::Exists { .. }) if self.destination.get(&text).await? == *bytes => Ok(()),
            stored => stored,
        }
    }

    /// Stores how far the generation went, so that a missing end is noticed, and notices a process that goes on with
    /// the same generation, as one in a copy of this machine does, and that the destination was emptied. Then this
    /// one begins another.
    async fn store_head(&self, chain: &mut Chain) {
        let (name, head) = (head_of(&chain.generation), chain.head());
        if let Some(own) = &chain.stored_head {
            let why = match self.destination.get(&name).await {
                Ok(found) if found != *own => Some("another process goes on with the generation"),
                Err(DestinationError::Missing { .. }) => {
                    Some("the generation's head is gone from the destination")
                }
                _ => None,
            };
            if let Some(why) = why {
                self.feed.break_off(why.to_owned());
                return;
            }
        }
        if chain.is_head_stored {
            return;
        }
        match self.destination.replace(&name, head.clone()).await {
            Ok(()) => {
                chain.is_head_stored = true;
                chain.stored_head = Some(head);
            }
            Err(error) => tracing::debug!(%error, "the generation's head was not stored"),
        }
    }

    /// What waiting writers are told while the destination cannot be reached.
    fn unreachable_answer(&self) -> Safety {
        match self.config.on_unreachable() {
            OnUnreachable::Continue => Safety::Safe,
            OnUnreachable::Block => Safety::Unknown,
        }
    }

    fn note_failure(&self, reason: &str) {
        self.board.notes.note_standing(Standing::Unreachable { reason: reason.to_owned() });
        self.feed.answer_all(self.unreachable_answer());
    }

    async fn rest(&self, pause: &mut Duration) {
        // Jitter is not needed: there is one shipper a destination.
        let stopped = async {
            while !self.feed.is_closed() {
                self.feed.news().await;
            }
        };
        let _ = tokio::time::timeout(*pause, stopped).await;
        if self.feed.is_closed() {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }
}

fn join(mut one: Commit, next: Commit) -> Commit {
    one.append(next);
    one
}

impl From<Lost> for BackupError {
    fn from(_: Lost) -> Self {
        Self::Stopping
    }
}
