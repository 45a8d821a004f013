//! Where the shipping of the log stands: what the health, the figures and `backup status` tell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backup::config::{Config, Mode};
use crate::backup::figures;
use crate::backup::notes::Notes;
use crate::backup::standing::Standing;
use crate::backup::status::{DrillReport, Progress};

/// How far SQLite's log is shipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShippingStatus {
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
    /// What keeping the destination in order could not do when it tried last.
    #[serde(default)]
    pub undone: Vec<String>,
    /// What is being done that takes long.
    pub progress: Option<Progress>,
}

/// The shared standing; written by the shipping and keeping threads, read by anybody.
#[derive(Debug)]
pub(crate) struct Board {
    /// What is noted with either engine.
    pub(in crate::backup) notes: Notes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: Option<String>,
    /// By how much a commit's number exceeds its ordinal in this process.
    offset: u64,
    shipped_ordinal: u64,
    base: Option<(u64, Timestamp)>,
}

impl Board {
    pub(crate) fn new(config: &Config) -> Self {
        figures::declare();
        Self { notes: Notes::new(config), state: Mutex::default() }
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

    /// Gives the generation and the offset of numbers in it.
    pub(crate) fn numbering(&self) -> Option<(String, u64)> {
        let state = self.lock();
        state.generation.clone().map(|generation| (generation, state.offset))
    }

    pub(crate) fn shipped_ordinal(&self) -> u64 {
        self.lock().shipped_ordinal
    }

    /// Puts the status together; `ordinal` is the last commit's and `oldest` the time of the oldest that waits.
    pub(crate) fn status(&self, ordinal: u64, oldest: Option<Timestamp>) -> ShippingStatus {
        let state = self.lock();
        let age = oldest.map(|at| Timestamp::now().duration_since(at).as_secs_f64().max(0.0));
        let status = ShippingStatus {
            destination: self.notes.destination.clone(),
            mode: self.notes.mode,
            standing: self.notes.standing(),
            generation: state.generation.clone(),
            committed: state.offset + ordinal,
            shipped: state.offset + state.shipped_ordinal,
            lag_commits: ordinal.saturating_sub(state.shipped_ordinal),
            lag_seconds: age.unwrap_or(0.0),
            base: state.base,
            drill: self.notes.drill(),
            undone: self.notes.undone(),
            progress: self.notes.progress(),
        };
        figures::show_lag(&status);
        status
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
