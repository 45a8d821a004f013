//! Keeps pg_receivewal running, and looks every second how far it is.
//!
//! It streams by a slot of ours, by which the server keeps what was not received. While that is there, and the server is
//! still in the history of what was received, the newest generation at the destination goes on, over our restarts and the
//! server's ([`super::resume`]). Otherwise (a restored server, a standby that took over and lacks something, an
//! administrator who made room) another generation begins, with a base of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::calls::Calls;
use super::judge::{Facts, Verdict};
use super::keeper::NO_BASE;
use super::layout::Layout;
use super::login::Login;
use super::lsn::Lsn;
use super::program::Program;
use super::received::{self, Boundary};
use super::server::{self, Look, Slot};
use super::stall::{Pace, Progress};
use super::tools::{Tool, Tools};
use crate::backup::config::{Config, Mode};
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

/// How long the server may take to tell how far it is.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// How long it must have run to be taken at its word: one that cannot use the slot ends at once.
const PROVEN: Duration = Duration::from_millis(300);

/// How often and how long it is looked, before a stop, whether all was received.
const END_PAUSE: Duration = Duration::from_millis(50);
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What the server says when it has not what comes next: any more, in its history, or yet.
const BROKEN: [&str; 3] =
    ["has already been removed", "is not in this server's history", "is ahead of the WAL flush position"];

/// What receiving needs.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) server: Server,
    pub(super) login: Login,
    pub(super) config: Config,
    pub(super) layout: Layout,
    pub(super) calls: Calls,
    /// The role's own folder, with a note of the destination.
    pub(super) data: PathBuf,
    pub(super) board: Arc<Board>,
    pub(super) stop: CancellationToken,
}

/// One run of pg_receivewal.
struct Course {
    generation: String,
    /// The connection by which the server is asked.
    session: Option<Session>,
    began: Instant,
    boundary: Boundary,
    progress: Progress,
}

/// Why nothing is received at present.
enum Pause {
    /// We were told to stop.
    Stopped,
    /// Somebody else does it.
    KeptOff(String),
    /// Something failed.
    Failed(String),
    /// The receiver is of no use any more: it gets nothing on, or writes elsewhere.
    Useless(String),
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
                    self.board.notes.note_standing(match self.config.mode {
                        Mode::Async => Standing::KeptOff { reason },
                        Mode::Sync => Standing::NotSynchronous { reason },
                    });
                    pause = KEPT_OFF;
                }
                Pause::Failed(reason) | Pause::Useless(reason) => {
                    self.board.notes.note_standing(Standing::Unreachable { reason });
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
            let generation = self.generation(&session, &facts, &tools, *is_broken).await?;
            Ok((session, tools, generation))
        };
        let prepared = self.stop.run_until_cancelled(preparing).await;
        let (session, tools, generation) = prepared.unwrap_or(Err(Pause::Stopped))?;
        *is_broken = false;
        let mut program = self.start(&tools, &generation)?;
        let began = Instant::now();
        let mut course = Course {
            generation,
            session: Some(session),
            began,
            boundary: Boundary::default(),
            progress: Progress::new(began, self.config.timeout),
        };
        loop {
            let is_shipping = self.board.notes.standing() == Standing::Shipping;
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.note_end(&mut course).await;
                    program.stop().await;
                    return Ok(Pause::Stopped);
                }
                ended = program.end() => {
                    let reason = ended.reason();
                    *is_broken = ended.said.iter().any(|line| BROKEN.iter().any(|words| line.contains(words)));
                    return Err(format!("pg_receivewal ended: {reason}").into());
                }
                () = tokio::time::sleep(if is_shipping { LOOK } else { LOOK_SOON }) => {}
            }
            match self.look(&mut course).await {
                Ok(standing) => self.board.notes.note_standing(standing),
                Err(Pause::Failed(reason)) => {
                    // It may still receive; that is not known.
                    course.session = None;
                    course.progress = Progress::new(Instant::now(), self.config.timeout);
                    self.board.note_pause();
                    self.board.notes.note_standing(Standing::Unreachable { reason });
                }
                Err(pause) => {
                    program.stop().await;
                    return Err(pause);
                }
            }
        }
    }

    pub(super) fn slot(&self) -> &str {
        &self.config.postgres.slot
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
    async fn note_end(&self, course: &mut Course) {
        course.boundary.forget();
        let noting = async {
            while let Some(session) = course.session.take() {
                let Ok(Look { at, inserted, slot: Some(slot), .. }) =
                    server::look(&session, self.slot()).await
                else {
                    return;
                };
                let noted = self.note_received(course, at, inserted, slot.received).await;
                if noted.is_err() || slot.received >= inserted {
                    return;
                }
                course.session = Some(session);
                tokio::time::sleep(END_PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(END_PATIENCE, noting).await;
    }

    async fn note_received(
        &self,
        course: &mut Course,
        at: Timestamp,
        inserted: Lsn,
        received: Lsn,
    ) -> Result<(), String> {
        let Some(news) = course.boundary.note(at, inserted, received) else { return Ok(()) };
        let file = self.layout.received(&course.generation);
        let storing = move || received::store(&file, news).map_err(|error| error.to_string());
        let stored = self.calls.call(storing).await;
        stored.map_err(|reason| format!("how far the log was received cannot be noted: {reason}"))
    }

    /// Fails unless what is received lies where it should.
    async fn check_destination(&self) -> Result<(), Pause> {
        let layout = self.layout.clone();
        let check = move || Ok(layout.check().map_err(|error| Pause::Useless(error.to_string())));
        self.calls.call(check).await?
    }

    /// Asks the server how far it is.
    async fn ask(&self, kept: &mut Option<Session>) -> Result<(Facts, Look), String> {
        let session = match kept.take() {
            Some(session) if !session.is_closed() => session,
            _ => server::connect(&self.server).await?,
        };
        let facts = server::facts(&session, self.slot()).await?;
        let look = server::look(&session, self.slot()).await?;
        *kept = Some(session);
        Ok((facts, look))
    }

    /// Looks how far it is, and whether what was found at the start still holds.
    async fn look(&self, course: &mut Course) -> Result<Standing, Pause> {
        let asked = tokio::time::timeout(LOOK_DEADLINE, self.ask(&mut course.session)).await;
        let (facts, look) =
            asked.unwrap_or_else(|_| Err(format!("the server does not answer within {LOOK_DEADLINE:?}")))?;
        if let Verdict::KeepOff(reason) = facts.judge() {
            return Err(Pause::KeptOff(reason));
        }
        let Look { at, flushed, inserted, slot } = look;
        let slot = slot.ok_or_else(|| format!("the slot `{}` was dropped", self.slot()))?;
        self.check_destination().await?;
        let is_receiving = slot.is_active && course.began.elapsed() >= PROVEN;
        self.note_received(course, at, inserted, slot.received).await?;
        let waiting = facts.fault_of_waiting(self.slot());
        let is_synchronous = is_receiving && waiting.is_none();
        self.board.note_look(flushed, slot.received, is_receiving, is_synchronous);
        let pace = course.progress.note(Instant::now(), flushed, slot.received, slot.is_active);
        if let Pace::Lost(stood) = pace {
            return Err(Pause::Useless(format!(
                "{}; it is started again",
                self.describe_stall(&slot, stood)
            )));
        }
        let behind = flushed.0.saturating_sub(slot.received.0);
        Ok(match (self.config.mode, waiting) {
            _ if behind > self.config.log_limit => Standing::Unreachable {
                reason: format!(
                    "the backup is behind by {}, which the slot `{}` keeps on the server's disk (log_limit {})",
                    process::size::format(behind),
                    self.slot(),
                    process::size::format(self.config.log_limit)
                ),
            },
            _ if let Pace::Stalled(stood) = pace => {
                Standing::Stalled { reason: self.describe_stall(&slot, stood) }
            }
            (Mode::Sync, Some(reason)) => Standing::NotSynchronous { reason },
            // Without a base the log restores nothing.
            _ if !is_receiving || self.board.base().is_none() => match self.board.notes.standing() {
                failing @ Standing::Unreachable { .. } if !is_receiving => failing,
                _ => {
                    match self.board.notes.fault_of_upkeep(NO_BASE).filter(|_| self.board.base().is_none()) {
                        Some(reason) => Standing::Unreachable {
                            reason: format!(
                                "the generation has no base, so nothing of it can be restored: {reason}"
                            ),
                        },
                        None => Standing::Starting,
                    }
                }
            },
            _ => Standing::Shipping,
        })
    }

    /// Says that the receiver gets nothing on, and how far it is behind.
    fn describe_stall(&self, slot: &Slot, stood: Duration) -> String {
        let status = self.board.status();
        let how = match slot.is_active {
            true => "is connected and has confirmed nothing",
            false => "runs and has not been connected",
        };
        format!(
            "pg_receivewal {how} for {} s; the backup is behind by {} bytes and {:.0} s: the server's log is flushed to \
             {} and received to {}",
            stood.as_secs(),
            status.lag_bytes,
            status.lag_seconds,
            status.flushed,
            status.received
        )
    }
}
