//! The thread that keeps a destination in order: new bases, retention, restore drills.
//!
//! What it does can wait: the log is received beside it, and a stop ends it in the middle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::base::Maker;
use super::board::Board;
use super::drill::Drill;
use super::files;
use super::layout::Layout;
use super::login::Login;
use super::retention;
use crate::backup::config::Config;
use crate::backup::orders::{Inbox, Order};
use crate::backup::status::Position;
use crate::backup::{BackupError, BaseReport, DrillReport, figures};
use crate::engine::postgres::session::Server;
use crate::engine::postgres::transfer;

/// How often it looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How soon something that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How soon at first, if it is a base and there is none: that pause doubles, up to the other.
const AGAIN_SOON: Duration = Duration::from_secs(5);

/// How often what is older than is kept is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// How long a drill waits until what it compares was received.
const LOG_PATIENCE: Duration = Duration::from_secs(60);

/// What it does, as those are told who wait for it.
const BASE: &str = "a base";
const REMOVAL: &str = "the removal of what is older than is kept";
const DRILL: &str = "a restore drill";

/// What is told of a base that failed.
pub(super) const NO_BASE: &str = "a base was not made";

/// What keeping needs.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) server: Server,
    pub(super) login: Login,
    pub(super) config: Config,
    pub(super) layout: Layout,
    pub(super) board: Arc<Board>,
    /// Where drills work.
    pub(super) scratch: PathBuf,
    pub(super) orders: Inbox,
    pub(super) stop: CancellationToken,
}

/// When what is due next.
struct Due {
    /// Not before this, if a base is due by its age.
    base: Instant,
    /// How soon after a failure, while the generation has none.
    pause: Duration,
    /// The generation that is of.
    generation: Option<String>,
    forget: Instant,
    drill: Option<Instant>,
}

impl Keeper {
    /// Keeps until it is told to stop.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&mut self) {
        let now = Instant::now();
        let every = self.config.drill_every;
        let mut due = Due {
            base: now,
            pause: AGAIN_SOON,
            generation: None,
            forget: now + FORGET_EVERY,
            drill: (!every.is_zero()).then(|| now + every),
        };
        loop {
            match tokio::time::timeout(LOOK_EVERY, self.orders.recv()).await {
                Ok(None) => return,
                Ok(Some(Order::Base(ticket))) => {
                    let storing = async {
                        let stored = self.store_base(true).await;
                        if stored.is_ok() {
                            self.board.notes.note_upkeep(NO_BASE, &stored);
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
        let generation = self.board.receiving();
        if generation.is_none() {
            return;
        }
        let now = Instant::now();
        if generation != due.generation {
            (due.base, due.pause, due.generation) = (now, AGAIN_SOON, generation);
        }
        if now >= due.base && self.is_base_due() {
            let storing = self.store_base(self.board.base().is_none());
            let stored = self.orders.during(BASE, storing).await;
            let pause = self.after(&stored, Duration::ZERO, NO_BASE);
            due.base = Instant::now() + pause.min(due.pause);
            // Without a base nothing of the generation can be restored.
            due.pause = match self.board.base() {
                None => (due.pause * 2).min(AGAIN_AFTER),
                Some(_) => AGAIN_AFTER,
            };
            due.forget = Instant::now();
        }
        if now >= due.forget {
            let forgotten = self.orders.during(REMOVAL, async { self.forget() }).await;
            due.forget = Instant::now()
                + self.after(&forgotten, FORGET_EVERY, "nothing old was removed from the backup");
        }
        if due.drill.is_some_and(|drill| now >= drill) {
            let drilled = self.orders.during(DRILL, self.drill()).await;
            let pause =
                self.after(&drilled, self.config.drill_every, "the restore drill was not carried out");
            due.drill = Some(Instant::now() + pause);
        }
    }

    /// Notes how something went, and tells how soon it is due again.
    fn after<T>(&self, done: &Result<T, BackupError>, every: Duration, what: &'static str) -> Duration {
        self.board.notes.note_upkeep(what, done);
        if done.is_ok() { every } else { AGAIN_AFTER }
    }

    /// Tells whether the reception has no base, or none that is young enough.
    fn is_base_due(&self) -> bool {
        self.board.base().is_none_or(|(_, ended)| {
            let age = Duration::try_from(Timestamp::now().duration_since(ended)).unwrap_or_default();
            age >= self.config.base_every
        })
    }

    /// Makes a base in the reception that goes on.
    async fn store_base(&self, is_urgent: bool) -> Result<BaseReport, BackupError> {
        let generation = self.receiving()?;
        let maker = Maker {
            server: &self.server,
            login: &self.login,
            tools_folder: self.config.postgres.tools.as_deref(),
            layout: &self.layout,
            board: &self.board,
        };
        let base = maker.make(&generation, is_urgent).await?;
        self.board.note_base(&generation, base.end, base.ended);
        figures::count_stored("base", base.size_bytes);
        tracing::info!(generation, base = base.name, end = %base.end, bytes = base.size_bytes, "a base was made");
        Ok(BaseReport { position: Position::Lsn(base.end), at: base.ended, size_bytes: base.size_bytes })
    }

    fn receiving(&self) -> Result<String, BackupError> {
        self.board.receiving().ok_or_else(|| BackupError::Log {
            reason: "the server's log is not received at present; `backup status` says why".to_owned(),
        })
    }

    /// Removes what no kept moment needs.
    fn forget(&self) -> Result<(), BackupError> {
        let horizon = Timestamp::now().checked_sub(self.config.keep).unwrap_or(Timestamp::MIN);
        self.layout.check()?;
        self.layout.finish_removals()?;
        let inventory = self.layout.read()?;
        for one in &inventory.unreadable {
            tracing::warn!(file = one.file, reason = one.reason, "a generation of the backup cannot be read");
        }
        let gone = retention::decide(&inventory, horizon).map_err(BackupError::Settings)?;
        if gone.is_empty() {
            return Ok(());
        }
        for (generation, base) in &gone.bases {
            // Its note first: what is left of the base then counts as never finished.
            files::remove(&self.layout.base_note(generation, base))?;
            files::remove_at_once(&self.layout.base(generation, base))?;
        }
        for (generation, segment) in &gone.segments {
            let bytes = inventory.generations.iter().find(|kept| kept.name == *generation);
            let bytes = bytes.map_or(0, |generation| generation.origin.segment_bytes);
            files::remove(&self.layout.wal(generation).join(segment.write(bytes)))?;
        }
        for generation in &gone.generations {
            files::remove_at_once(&self.layout.generation(generation))?;
        }
        tracing::info!(
            generations = gone.generations.len(),
            bases = gone.bases.len(),
            segments = gone.segments.len(),
            "what is older than is kept was removed from the backup destination"
        );
        Ok(())
    }

    /// Restores the present state beside and compares it with the database.
    async fn drill(&self) -> Result<DrillReport, BackupError> {
        self.receiving()?;
        let failed = |error: crate::copy::CopyError| BackupError::Log { reason: error.to_string() };
        let (place, marked, content) = transfer::content_now(&self.server).await.map_err(failed)?;
        let waiting = async {
            while self.board.received() < marked {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LOG_PATIENCE, waiting).await.map_err(|_| BackupError::Log {
            reason: format!("the log up to {marked} was not received in {LOG_PATIENCE:?}"),
        })?;
        let drill = Drill {
            layout: &self.layout,
            tools_folder: self.config.postgres.tools.as_deref(),
            login: &self.login,
            schema: self.server.schema(),
            scratch: &self.scratch,
        };
        let report = drill.run(Some((place, content)), &|_| ()).await;
        self.board.notes.note_drill(report.clone());
        match &report.fault {
            None => {
                tracing::info!(%place, seconds = report.seconds, "the restore drill gave what was backed up");
            }
            Some(fault) => tracing::error!(%place, fault, "the restore drill failed"),
        }
        Ok(report)
    }
}
