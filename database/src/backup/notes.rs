//! What is noted of a backup whichever engine it is of, and told by the health, the figures and `backup status`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::config::{Config, Mode};
use super::standing::{Standing, Standings};
use super::status::{DrillReport, Progress};
use super::undone::Undone;
use super::{BackupError, figures};

/// Written by the threads of a backup, read by anybody.
#[derive(Debug)]
pub(super) struct Notes {
    /// Where to.
    pub(super) destination: String,
    /// When a write is answered.
    pub(super) mode: Mode,
    standings: Standings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    drill: Option<DrillReport>,
    undone: Undone,
    progress: Option<Progress>,
}

impl Notes {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            destination: config.destination.clone().unwrap_or_default(),
            mode: config.mode,
            standings: Standings::new(),
            state: Mutex::default(),
        }
    }

    /// Tells the standing, and when it changes.
    pub(super) fn watch(&self) -> watch::Receiver<Standing> {
        self.standings.watch()
    }

    pub(super) fn standing(&self) -> Standing {
        self.standings.get()
    }

    /// Notes the standing; a change is said in the log once.
    pub(super) fn note_standing(&self, standing: Standing) {
        self.standings.note(standing);
    }

    pub(super) fn note_drill(&self, report: DrillReport) {
        figures::show_drill(&report);
        self.lock().drill = Some(report);
    }

    /// Gives the last restore drill.
    pub(super) fn drill(&self) -> Option<DrillReport> {
        self.lock().drill.clone()
    }

    /// Notes how a part of the upkeep went.
    pub(super) fn note_upkeep<T>(&self, what: &'static str, done: &Result<T, BackupError>) {
        self.lock().undone.note(what, done);
    }

    /// Says why a part of the upkeep was not done when it was tried last.
    pub(super) fn fault_of_upkeep(&self, what: &str) -> Option<String> {
        self.lock().undone.reason(what).map(ToOwned::to_owned)
    }

    /// Gives a sentence for each part of the upkeep that was not done when it was tried last.
    pub(super) fn undone(&self) -> Vec<String> {
        self.lock().undone.sentences()
    }

    pub(super) fn note_progress(&self, progress: Option<Progress>) {
        self.lock().progress = progress;
    }

    /// Counts what was done of the work in hand.
    pub(super) fn add_progress(&self, bytes: u64) {
        if let Some(progress) = &mut self.lock().progress {
            progress.done += bytes;
        }
    }

    /// Tells what is being done that takes long.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.lock().progress.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
