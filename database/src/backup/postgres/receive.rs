//! Keeps pg_receivewal running, and looks every second how far it is.
//!
//! It streams by a slot of ours, by which the server keeps what was not received. The slot is also what proves that
//! nothing was missed: while it is there the newest generation at the destination goes on, over our restarts and the
//! server's. Where it is gone (a restored server, a promoted standby, an administrator who made room) another
//! generation begins, with a base of its own.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::inventory::Origin;
use super::judge::{Facts, Verdict};
use super::layout::Layout;
use super::login::Login;
use super::lsn::{Lsn, SegmentName};
use super::program::Program;
use super::received::{self, Boundary};
use super::server;
use super::tools::{Tool, Tools};
use crate::backup::config::{Config, Mode};
use crate::backup::name;
use crate::backup::standing::Standing;
use crate::engine::postgres::session::{Server, Session};

/// The pauses before pg_receivewal is started again; they double, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often it is looked whether somebody else still backs the server up.
const KEPT_OFF: Duration = Duration::from_secs(30);

/// After running that long, the next pause is the first again.
const STEADY: Duration = Duration::from_secs(10);

/// How often it is looked how far it is: until it goes, and then.
const LOOK_SOON: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_secs(1);

/// How long it must have run to be taken at its word: one that cannot use the slot ends at once.
const PROVEN: Duration = Duration::from_millis(300);

/// How often and how long it is looked, before a stop, whether all was received.
const END_PAUSE: Duration = Duration::from_millis(50);
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What pg_receivewal says when the server has not what comes next any more.
const REMOVED: &str = "has already been removed";

/// What receiving needs.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) server: Server,
    pub(super) login: Login,
    pub(super) config: Config,
    pub(super) layout: Layout,
    pub(super) board: Arc<Board>,
    pub(super) stop: CancellationToken,
}

/// Why nothing is received at present.
enum Pause {
    /// We were told to stop.
    Stopped,
    /// Somebody else does it.
    KeptOff(String),
    /// Something failed.
    Failed(String),
}

impl From<String> for Pause {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl Receiver {
    /// Receives until it is told to stop.
    pub(super) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        // Set when the server has lost what comes next, which only another generation mends.
        let mut is_broken = false;
        loop {
            let began = Instant::now();
            let why = self.receive(&mut is_broken).await;
            self.board.note_pause();
            match why {
                Pause::Stopped => return,
                Pause::KeptOff(reason) => {
                    // What mode `sync` promises nobody keeps then.
                    self.board.note_standing(match self.config.mode {
                        Mode::Async => Standing::KeptOff { reason },
                        Mode::Sync => Standing::NotSynchronous { reason },
                    });
                    pause = KEPT_OFF;
                }
                Pause::Failed(reason) => {
                    self.board.note_standing(Standing::Unreachable { reason });
                    if began.elapsed() >= STEADY {
                        pause = FIRST_PAUSE;
                    }
                }
            }
            if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn receive(&self, is_broken: &mut bool) -> Pause {
        match self.try_receive(is_broken).await {
            Ok(pause) | Err(pause) => pause,
        }
    }

    async fn try_receive(&self, is_broken: &mut bool) -> Result<Pause, Pause> {
        let preparing = async {
            let session = server::connect(&self.server).await?;
            let facts = server::facts(&session, self.slot()).await?;
            match facts.judge() {
                Verdict::Receive => {}
                Verdict::KeepOff(reason) => return Err(Pause::KeptOff(reason)),
                Verdict::Refuse(reason) => return Err(Pause::Failed(reason)),
            }
            let tools = Tools::new(self.config.postgres.tools.as_deref(), facts.major());
            // Before the slot is made: without its reader a slot only fills the server's disk.
            tools.find(Tool::ReceiveWal)?;
            let generation = self.generation(&session, &facts, *is_broken).await?;
            Ok((session, tools, generation))
        };
        let prepared = self.stop.run_until_cancelled(preparing).await;
        let (session, tools, generation) = prepared.unwrap_or(Err(Pause::Stopped))?;
        *is_broken = false;
        let mut program = self.start(&tools, &generation)?;
        let (began, mut session) = (Instant::now(), Some(session));
        let mut boundary = Boundary::default();
        loop {
            let is_shipping = self.board.standing() == Standing::Shipping;
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.note_end(&mut session, &generation, &mut boundary).await;
                    program.stop().await;
                    return Ok(Pause::Stopped);
                }
                ended = program.end() => {
                    let reason = ended.reason();
                    *is_broken = reason.contains(REMOVED);
                    return Err(format!("pg_receivewal ended: {reason}").into());
                }
                () = tokio::time::sleep(if is_shipping { LOOK } else { LOOK_SOON }) => {}
            }
            match self.look(&mut session, began.elapsed() >= PROVEN, &generation, &mut boundary).await {
                Ok(standing) => self.board.note_standing(standing),
                Err(Pause::Failed(reason)) => {
                    // It may still receive; that is not known.
                    session = None;
                    self.board.note_pause();
                    self.board.note_standing(Standing::Unreachable { reason });
                }
                Err(pause) => {
                    program.stop().await;
                    return Err(pause);
                }
            }
        }
    }

    fn slot(&self) -> &str {
        &self.config.postgres.slot
    }

    /// Gives the generation that goes on, or begins another, with a slot of its own.
    async fn generation(&self, session: &Session, facts: &Facts, is_broken: bool) -> Result<String, String> {
        let slot = server::look(session, self.slot()).await?.slot;
        let inventory = self.layout.read().map_err(|error| error.to_string())?;
        let last = inventory.generations.last();
        let newest = last.filter(|newest| newest.origin.system == facts.system);
        // What the slot keeps goes on from the last one: in an older one it would come after a gap.
        let hidden = inventory.unreadable.last();
        let hidden = hidden.filter(|hidden| last.is_none_or(|last| hidden.name > last.name));
        if let Some(hidden) = hidden.filter(|hidden| !hidden.is_damaged) {
            return Err(format!("{}: {}", hidden.file, hidden.reason));
        }
        let is_whole = hidden.is_none() && slot.as_ref().is_some_and(|slot| !slot.is_lost) && !is_broken;
        if let (true, Some(newest)) = (is_whole, newest) {
            self.remove_unfinished(&newest.name, newest.origin.segment_bytes)?;
            let base = newest.bases.last().map(|base| (base.end, base.ended));
            self.board.note_generation(&newest.name, base);
            return Ok(newest.name.clone());
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
        let generation = name::Generation::new(Timestamp::now(), rand::random()).to_string();
        let origin = Origin {
            system: facts.system.clone(),
            major: facts.major(),
            segment_bytes: u64::try_from(facts.segment_bytes).unwrap_or(0),
        };
        self.layout.begin(&generation, &origin).map_err(|error| error.to_string())?;
        self.board.note_generation(&generation, None);
        tracing::info!(generation, slot = self.slot(), "a generation of the log's backup begins");
        Ok(generation)
    }

    /// Removes a segment that a crash left before it had its length: it holds nothing, and pg_receivewal would refuse it.
    fn remove_unfinished(&self, generation: &str, segment_bytes: u64) -> Result<(), String> {
        let segments =
            self.layout.read_segments(generation, segment_bytes).map_err(|error| error.to_string())?;
        let is_short = |name: SegmentName, bytes: u64| name.is_partial && bytes < segment_bytes;
        for segment in segments.iter().filter(|segment| is_short(segment.name, segment.size_bytes)) {
            let file = self.layout.wal(generation).join(segment.name.write(segment_bytes));
            fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(())
    }

    fn start(&self, tools: &Tools, generation: &str) -> Result<Program, String> {
        let mut command = tools.command(Tool::ReceiveWal)?;
        command.arg("--directory").arg(self.layout.wal(generation));
        // Flushed as it comes, in both modes: what is told to be received is safe.
        command.args(["--slot", self.slot(), "--synchronous", "--no-loop", "--no-password", "--verbose"]);
        command.args(["--status-interval", "1"]);
        self.login.apply(&mut command, self.slot());
        let say = |_, line: &str| tracing::debug!(line, "pg_receivewal");
        let program = Program::start(command, None, Signal::TERM, say);
        let program = program.map_err(|error| format!("pg_receivewal cannot be started: {error}"))?;
        self.board.note_start();
        Ok(program)
    }

    /// Notes how far the log was received before the receiver is stopped, if the server tells soon.
    async fn note_end(&self, kept: &mut Option<Session>, generation: &str, boundary: &mut Boundary) {
        let noting = async {
            while let Some(session) = kept.take() {
                let Ok(look) = server::look(&session, self.slot()).await else { return };
                let Some(slot) = look.slot else { return };
                self.note_received(generation, boundary.note(look.inserted, slot.received));
                if slot.received >= look.inserted {
                    return;
                }
                *kept = Some(session);
                tokio::time::sleep(END_PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(END_PATIENCE, noting).await;
    }

    fn note_received(&self, generation: &str, place: Option<Lsn>) {
        let Some(place) = place else { return };
        if let Err(error) = received::store(&self.layout.received(generation), place) {
            tracing::warn!(%error, "how far the log was received cannot be noted");
        }
    }

    /// Looks how far it is, and whether what was found at the start still holds.
    async fn look(
        &self,
        kept: &mut Option<Session>,
        is_proven: bool,
        generation: &str,
        boundary: &mut Boundary,
    ) -> Result<Standing, Pause> {
        let session = match kept.take() {
            Some(session) if !session.is_closed() => session,
            _ => server::connect(&self.server).await?,
        };
        let facts = server::facts(&session, self.slot()).await?;
        if let Verdict::KeepOff(reason) = facts.judge() {
            return Err(Pause::KeptOff(reason));
        }
        let look = server::look(&session, self.slot()).await?;
        *kept = Some(session);
        let slot = look.slot.ok_or_else(|| format!("the slot `{}` was dropped", self.slot()))?;
        let is_receiving = slot.is_active && is_proven;
        self.note_received(generation, boundary.note(look.inserted, slot.received));
        let waiting = facts.fault_of_waiting(self.slot());
        let is_synchronous = is_receiving && waiting.is_none();
        self.board.note_look(look.flushed, slot.received, is_receiving, is_synchronous);
        let behind = look.flushed.0.saturating_sub(slot.received.0);
        Ok(match (self.config.mode, waiting) {
            _ if behind > self.config.log_limit => Standing::Unreachable {
                reason: format!(
                    "the backup is behind by {}, which the slot `{}` keeps on the server's disk (log_limit {})",
                    process::size::format(behind),
                    self.slot(),
                    process::size::format(self.config.log_limit)
                ),
            },
            (Mode::Sync, Some(reason)) => Standing::NotSynchronous { reason },
            // Without a base the log restores nothing.
            _ if !is_receiving || self.board.base().is_none() => match self.board.standing() {
                failing @ Standing::Unreachable { .. } if !is_receiving => failing,
                _ => Standing::Starting,
            },
            _ => Standing::Shipping,
        })
    }
}
