//! The thread that keeps a destination in order: new bases, merged segments, retention, restore drills.
//!
//! What it does can wait: shipping goes on beside it, and a stop ends it in the middle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::board::Board;
use super::feed::Feed;
use super::head::{self, bases_of, head_of};
use super::plan::Inventory;
use super::retention::{self, Horizon};
use super::snapshot::{self, Snapshot};
use super::{Recovery, drill, merge};
use crate::backup::config::Config;
use crate::backup::name::{Generation, Kind, Name};
use crate::backup::orders::{Inbox, Order};
use crate::backup::standing::Standing;
use crate::backup::status::{DrillReport, Position};
use crate::backup::{BackupError, BaseReport};
use crate::engine::sqlite::Between;

/// How often it looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How soon something that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// For how many times the deadline of one call nothing may be shipped while that is waited for.
const SHIPPING_PATIENCE: u32 = 2;

/// What it does, as those are told who wait for it.
const BASE: &str = "a base";
const MERGE: &str = "the merging of segments and the removal of old ones";
const DRILL: &str = "a restore drill";

/// What is told of a base that failed.
const NO_BASE: &str = "a new base was not stored";

/// What keeping needs.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) feed: Arc<Feed>,
    pub(crate) board: Arc<Board>,
    pub(crate) recovery: Recovery,
    pub(crate) config: Config,
    pub(crate) between: Between,
    pub(crate) database: PathBuf,
    pub(crate) orders: Inbox,
}

/// When what is due next.
struct Due {
    base: Instant,
    merge: Option<Instant>,
    drill: Option<Instant>,
}

impl Keeper {
    /// Keeps until the feed is closed.
    pub(crate) async fn run(mut self) {
        let closed = Arc::clone(&self.feed);
        tokio::select! {
            () = closed.closed() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        let now = Instant::now();
        let at = |every: Duration| (!every.is_zero()).then(|| now + every);
        let mut due = Due {
            base: now + self.time_to_base().await,
            merge: at(self.config.merge_every),
            drill: at(self.config.drill_every),
        };
        loop {
            match tokio::time::timeout(LOOK_EVERY, self.orders.recv()).await {
                Ok(None) => return,
                Ok(Some(Order::Base(ticket))) => {
                    let storing = async {
                        let stored = self.store_base().await;
                        if stored.is_ok() {
                            self.board.notes.note_upkeep(NO_BASE, &stored);
                            due.base = Instant::now() + self.config.base_every;
                        }
                        stored
                    };
                    self.orders.during(BASE, ticket.serve(storing)).await;
                }
                Ok(Some(Order::Drill(ticket))) => {
                    self.orders.during(DRILL, ticket.serve(self.drill())).await;
                }
                Err(_) => self.do_what_is_due(&mut due).await,
            }
        }
    }

    async fn do_what_is_due(&self, due: &mut Due) {
        if self.board.notes.standing() != Standing::Shipping {
            return;
        }
        let now = Instant::now();
        if now >= due.base {
            let stored = self.orders.during(BASE, self.store_base()).await;
            due.base = Instant::now() + self.after(&stored, self.config.base_every, NO_BASE);
        }
        if due.merge.is_some_and(|merge| now >= merge) {
            let merged = self.orders.during(MERGE, self.merge_and_forget()).await;
            let pause =
                self.after(&merged, self.config.merge_every, "old segments were not merged or removed");
            due.merge = Some(Instant::now() + pause);
        }
        if due.drill.is_some_and(|drill| now >= drill) {
            let drilled = self.orders.during(DRILL, self.drill()).await;
            due.drill = Some(
                Instant::now() + self.after(&drilled, self.config.drill_every, "the restore drill failed"),
            );
        }
    }

    /// Notes how something went, and tells how soon it is due again.
    fn after<T>(&self, done: &Result<T, BackupError>, every: Duration, what: &'static str) -> Duration {
        self.board.notes.note_upkeep(what, done);
        match done {
            Ok(_) | Err(BackupError::Stopping) => every,
            Err(_) => every.min(AGAIN_AFTER),
        }
    }

    /// How long the newest base will do, judged by its age.
    async fn time_to_base(&self) -> Duration {
        let newest = self.recovery.destination.list().await.ok().and_then(|listed| {
            listed
                .into_iter()
                .filter(|(name, _)| name.kind == Kind::Base)
                .map(|(name, _)| name)
                .max_by_key(|name| name.at)
        });
        let Some(base) = newest else { return self.config.base_every };
        let at = Timestamp::from_microsecond(base.at).unwrap_or_default();
        self.board.note_base(base.last, at);
        let age = Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default();
        self.config.base_every.saturating_sub(age)
    }

    /// Stores a base in the present generation.
    async fn store_base(&self) -> Result<BaseReport, BackupError> {
        let (text, offset) = self.board.numbering().ok_or(BackupError::Busy)?;
        let snapshot = Snapshot::begin(&self.between, &self.database, &self.feed, false).await?;
        let mark = snapshot.mark;
        let number = offset + mark.ordinal;
        // A base beyond what was shipped would belong to no chain.
        self.wait_until_shipped(mark.ordinal).await?;
        let names: Vec<Name> =
            self.recovery.destination.list().await?.into_iter().map(|(name, _)| name).collect();
        let generation = names.iter().map(|name| &name.generation).find(|found| found.to_string() == text);
        let generation: Generation = generation.cloned().ok_or(BackupError::Busy)?;
        // Never before a commit it holds, whatever the clock says.
        let latest = names.iter().map(|name| name.at).max().unwrap_or(0);
        let at = Timestamp::now().as_microsecond().max(latest);
        let name = Name { generation, kind: Kind::Base, first: number, last: number, at };
        let is_there = |found: &&Name| found.kind == Kind::Base && found.last == number;
        let bytes = match names.iter().find(is_there) {
            Some(_) => 0,
            None => {
                let store = snapshot::Store {
                    destination: &self.recovery.destination,
                    keys: &self.recovery.keys,
                    notes: &self.board.notes,
                    feed: &self.feed,
                    scratch: snapshot::scratch_path(&self.database).join("keeper"),
                    begins: false,
                };
                snapshot::store(snapshot.source, &name, mark.place, store).await?.bytes
            }
        };
        // The chain may have been given up meanwhile.
        if self.board.numbering().is_none_or(|(now, _)| now != text) {
            self.recovery.destination.remove(&name.to_string()).await?;
            return Err(BackupError::Busy);
        }
        let noted = self.note_bases(&name.generation, |bases| _ = bases.insert(number)).await;
        if let Err(BackupError::DamagedFile { name, reason }) = &noted {
            // No base could be added to it any more, and each attempt would leave another one there.
            tracing::error!(file = name, reason, "the generation is damaged; a new one begins");
            self.feed.break_off(format!("{name} is damaged"));
        }
        noted?;
        let time = Timestamp::from_microsecond(at).unwrap_or_default();
        self.board.note_base(number, time);
        tracing::info!(commit = number, bytes, "a base was stored");
        Ok(BaseReport { position: Position::Commit(number), at: time, size_bytes: bytes })
    }

    /// Waits for the destination to have a commit, for as long as it gets on.
    async fn wait_until_shipped(&self, ordinal: u64) -> Result<(), BackupError> {
        let (mut shipped, mut since) = (self.board.shipped_ordinal(), Instant::now());
        while shipped < ordinal {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.board.shipped_ordinal();
            if now > shipped {
                (shipped, since) = (now, Instant::now());
            }
            if since.elapsed() >= self.config.timeout * SHIPPING_PATIENCE {
                let reason = match self.board.notes.standing() {
                    Standing::Unreachable { reason } => format!(": {reason}"),
                    _ => String::new(),
                };
                return Err(BackupError::Log {
                    reason: format!(
                        "commits before this were to be shipped first, and nothing was for {} s{reason}",
                        since.elapsed().as_secs()
                    ),
                });
            }
        }
        Ok(())
    }

    /// Merges what is due and removes what is not needed any more.
    ///
    /// What cannot be merged, because a segment is damaged or sealed for another key, keeps nothing else from being
    /// removed, nor do noted bases that are damaged: a destination must not grow without end for it.
    async fn merge_and_forget(&self) -> Result<(), BackupError> {
        let destination = &self.recovery.destination;
        let (continued, _) = self.board.numbering().ok_or(BackupError::Busy)?;
        let mut fault = None;
        let now = Timestamp::now().as_microsecond();
        let before = |kept: Duration| now.saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
        if self.recovery.keys.can_read_own() {
            let inventory = self.inventory().await?;
            let window = i64::try_from(self.config.merge_every.as_micros()).unwrap_or(i64::MAX);
            for (_, names) in inventory.generations() {
                for stretch in merge::plan(names, window, now) {
                    let merged = merge::merge(destination, &self.recovery.keys, &stretch).await;
                    fault = fault.or(merged.err());
                }
            }
        }
        let inventory = self.inventory().await?;
        // Before anything is removed, whose need nobody knows.
        if let Some((newest, _)) = inventory.generations().next_back()
            && newest.to_string() > continued
        {
            return Err(BackupError::Contested { continued, newest: newest.to_string() });
        }
        let horizon =
            Horizon { moments: before(self.config.keep), commits: before(self.config.keep_commits) };
        let gone = retention::decide(&inventory, horizon, &continued).map_err(BackupError::Settings)?;
        // First, so that what is removed is not missed.
        for (generation, names) in inventory.generations() {
            let bases: Vec<u64> = names
                .iter()
                .filter(|name| name.kind == Kind::Base && gone.contains(name))
                .map(|name| name.last)
                .collect();
            if !bases.is_empty() {
                match self.note_bases(generation, |noted| noted.retain(|base| !bases.contains(base))).await {
                    // Damaged, they miss nothing.
                    Err(error @ BackupError::DamagedFile { .. }) => fault = fault.or(Some(error)),
                    noted => noted?,
                }
            }
        }
        for name in &gone {
            destination.remove(&name.to_string()).await?;
        }
        for (generation, names) in inventory.generations() {
            if names.iter().all(|name| gone.contains(name)) {
                destination.remove(&head_of(generation)).await?;
                destination.remove(&bases_of(generation)).await?;
            }
        }
        if !gone.is_empty() {
            tracing::info!(
                files = gone.len(),
                "what is older than is kept was removed from the backup destination"
            );
        }
        fault.map_or(Ok(()), Err)
    }

    /// Changes which bases a generation must have; of an older release's nothing is noted.
    async fn note_bases(
        &self,
        generation: &Generation,
        change: impl FnOnce(&mut head::Bases),
    ) -> Result<(), BackupError> {
        let destination = &self.recovery.destination;
        if let Some(mut bases) = head::read_bases(destination, generation).await? {
            change(&mut bases);
            head::store_bases(destination, generation, &bases).await?;
        }
        Ok(())
    }

    async fn inventory(&self) -> Result<Inventory, BackupError> {
        Ok(self.recovery.destination.list().await?.into_iter().map(|(name, _)| name).collect())
    }

    /// Restores the present state beside and compares it with the database.
    async fn drill(&self) -> Result<DrillReport, BackupError> {
        let (_, offset) = self.board.numbering().ok_or(BackupError::Busy)?;
        let snapshot = Snapshot::begin(&self.between, &self.database, &self.feed, false).await?;
        let expected = drill::content_of(&snapshot.source, &self.database)?;
        drop(snapshot.source);
        self.wait_until_shipped(snapshot.mark.ordinal).await?;
        let commit = offset + snapshot.mark.ordinal;
        let scratch = snapshot::scratch_path(&self.database).join("drill");
        let report = drill::drill(&self.recovery, Some((commit, expected)), &scratch, &|_| ()).await;
        self.board.notes.note_drill(report.clone());
        match &report.fault {
            None => {
                tracing::info!(commit, seconds = report.seconds, "the restore drill gave what was backed up")
            }
            Some(fault) => tracing::error!(commit, fault, "the restore drill failed"),
        }
        Ok(report)
    }
}
