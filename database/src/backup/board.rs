//! Where the shipping of the log stands: what the health, the figures and `backup status` tell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::config::{Config, Mode};
use super::figures;

/// Whether what is committed reaches the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Standing {
    /// A generation is being begun: its base is not at the destination yet.
    Starting,
    /// It does.
    Shipping,
    /// It does not, and is tried again.
    Unreachable {
        /// What the destination said last.
        reason: String,
    },
}

/// How far a long work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// How much of it is done, in bytes.
    pub done: u64,
    /// How much there is, in bytes; zero when that is not known.
    pub total: u64,
}

/// What a restore drill found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    /// When it ended.
    pub at: Timestamp,
    /// The commit that was restored.
    pub commit: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// What is wrong; nothing when the restored database is the one that was backed up.
    pub fault: Option<String>,
}

/// What `backup status` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where to.
    pub destination: String,
    /// When a write is answered.
    pub mode: Mode,
    /// Whether it goes.
    pub standing: Standing,
    /// The chain that is being continued.
    pub generation: Option<String>,
    /// The number of the last commit.
    pub committed: u64,
    /// The number of the last commit that is safe at the destination.
    pub shipped: u64,
    /// How many commits are not there yet.
    pub lag_commits: u64,
    /// How old the oldest of them is, in seconds.
    pub lag_seconds: f64,
    /// When the last base was stored, and after which commit.
    pub base: Option<(u64, Timestamp)>,
    /// The last restore drill.
    pub drill: Option<DrillReport>,
    /// What is being done that takes long.
    pub progress: Option<Progress>,
}

/// The shared standing; written by the shipping and keeping threads, read by anybody.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    standing: watch::Sender<Standing>,
    destination: String,
    mode: Mode,
}

#[derive(Debug, Default)]
struct State {
    generation: Option<String>,
    /// By how much a commit's number exceeds its ordinal in this process.
    offset: u64,
    shipped_ordinal: u64,
    base: Option<(u64, Timestamp)>,
    drill: Option<DrillReport>,
    progress: Option<Progress>,
}

impl Board {
    pub(crate) fn new(config: &Config) -> Self {
        figures::declare();
        Self {
            state: Mutex::default(),
            standing: watch::Sender::new(Standing::Starting),
            destination: config.destination.clone().unwrap_or_default(),
            mode: config.mode,
        }
    }

    /// Tells the standing, and when it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Notes the standing; a change is said in the log once.
    pub(crate) fn note_standing(&self, standing: Standing) {
        figures::REACHABLE.with_label_values::<&str>(&[]).set(i64::from(standing == Standing::Shipping));
        let changed = self.standing.send_if_modified(|noted| {
            let changed = std::mem::discriminant(noted) != std::mem::discriminant(&standing);
            *noted = standing.clone();
            changed
        });
        match standing {
            Standing::Unreachable { reason } if changed => {
                tracing::error!(reason, "the backup destination cannot be used; nothing is shipped");
            }
            Standing::Shipping if changed => tracing::info!("the log is shipped to the backup destination"),
            _ => {}
        }
    }

    /// Notes which chain is continued and how ordinals become numbers in it.
    pub(crate) fn note_generation(&self, generation: &str, offset: u64, shipped_ordinal: u64) {
        let mut state = self.lock();
        state.generation = Some(generation.to_owned());
        state.offset = offset;
        state.shipped_ordinal = shipped_ordinal;
    }

    /// Notes up to which commit of this process everything is at the destination.
    pub(crate) fn note_shipped(&self, ordinal: u64) {
        self.lock().shipped_ordinal = ordinal;
    }

    pub(crate) fn note_base(&self, number: u64, at: Timestamp) {
        self.lock().base = Some((number, at));
    }

    pub(crate) fn note_drill(&self, report: DrillReport) {
        figures::show_drill(&report);
        self.lock().drill = Some(report);
    }

    pub(crate) fn note_progress(&self, progress: Option<Progress>) {
        self.lock().progress = progress;
    }

    /// Counts what was done of the work in hand.
    pub(crate) fn add_progress(&self, bytes: u64) {
        if let Some(progress) = &mut self.lock().progress {
            progress.done += bytes;
        }
    }

    /// Gives the generation and the offset of numbers in it.
    pub(crate) fn numbering(&self) -> Option<(String, u64)> {
        let state = self.lock();
        state.generation.clone().map(|generation| (generation, state.offset))
    }

    pub(crate) fn shipped_ordinal(&self) -> u64 {
        self.lock().shipped_ordinal
    }

    /// Puts the status together; `ordinal` is the last commit's and `oldest` the time of the oldest that waits.
    pub(crate) fn status(&self, ordinal: u64, oldest: Option<Timestamp>) -> Status {
        let state = self.lock();
        let age = oldest.map(|at| Timestamp::now().duration_since(at).as_secs_f64().max(0.0));
        let status = Status {
            destination: self.destination.clone(),
            mode: self.mode,
            standing: self.standing(),
            generation: state.generation.clone(),
            committed: state.offset + ordinal,
            shipped: state.offset + state.shipped_ordinal,
            lag_commits: ordinal.saturating_sub(state.shipped_ordinal),
            lag_seconds: age.unwrap_or(0.0),
            base: state.base,
            drill: state.drill.clone(),
            progress: state.progress.clone(),
        };
        figures::show_lag(&status);
        status
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
