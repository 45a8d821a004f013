//! Where the reception stands: what the health, the figures and `backup status` tell.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lsn::Lsn;
use crate::backup::config::{Config, Mode};
use crate::backup::figures;
use crate::backup::notes::Notes;
use crate::backup::standing::Standing;
use crate::backup::status::{DrillReport, Progress};

/// How many looks at the server are remembered to tell how old what is missing is.
const REMEMBERED: usize = 4096;

/// How far PostgreSQL's log is received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceivingStatus {
    /// Where to.
    pub destination: String,
    /// When a write is answered.
    pub mode: Mode,
    /// Whether it goes.
    pub standing: Standing,
    /// Whether the server's commits wait for us.
    pub is_synchronous: bool,
    /// The slot by which the server keeps what was not received.
    pub slot: String,
    /// The uninterrupted reception that is being continued.
    pub generation: Option<String>,
    /// Up to where the server has flushed its log.
    pub flushed: Lsn,
    /// Up to where it is flushed at the destination.
    pub received: Lsn,
    /// How many bytes lie between.
    pub lag_bytes: u64,
    /// How long the oldest of them has been there, in seconds, as it was looked for.
    pub lag_seconds: f64,
    /// How many bytes the slot has the server keep.
    pub retained_bytes: u64,
    /// How often pg_receivewal was started by this process.
    pub receiver_starts: u64,
    /// The last base and when it was finished.
    pub base: Option<(Lsn, Timestamp)>,
    /// The last restore drill.
    pub drill: Option<DrillReport>,
    /// What keeping the destination in order could not do when it tried last.
    #[serde(default)]
    pub undone: Vec<String>,
    /// What is being done that takes long.
    pub progress: Option<Progress>,
}

/// The shared state; written by the receiving and keeping threads, read by anybody.
#[derive(Debug)]
pub(super) struct Board {
    /// What is noted with either engine.
    pub(super) notes: Notes,
    state: Mutex<State>,
    slot: String,
}

#[derive(Debug, Default)]
struct State {
    generation: Option<String>,
    is_receiving: bool,
    is_synchronous: bool,
    flushed: Lsn,
    received: Lsn,
    age: Age,
    receiver_starts: u64,
    base: Option<(Lsn, Timestamp)>,
}

impl Board {
    pub(super) fn new(config: &Config) -> Self {
        figures::declare_received();
        Self { notes: Notes::new(config), state: Mutex::default(), slot: config.postgres.slot.clone() }
    }

    /// Notes which reception goes on, with its newest base.
    pub(super) fn note_generation(&self, generation: &str, base: Option<(Lsn, Timestamp)>) {
        let mut state = self.lock();
        (state.generation, state.base) = (Some(generation.to_owned()), base);
    }

    /// Notes that pg_receivewal was started.
    pub(super) fn note_start(&self) {
        self.lock().receiver_starts += 1;
        figures::RECEIVER_STARTS.with_label_values::<&str>(&[]).inc();
    }

    /// Notes what was seen at the server.
    pub(super) fn note_look(&self, flushed: Lsn, received: Lsn, is_receiving: bool, is_synchronous: bool) {
        let mut state = self.lock();
        (state.flushed, state.received) = (flushed, received);
        (state.is_receiving, state.is_synchronous) = (is_receiving, is_synchronous);
        state.age.note(Instant::now(), flushed, received);
        drop(state);
        // The figures are shown with it.
        self.status();
    }

    /// Notes that nothing is received at present.
    pub(super) fn note_pause(&self) {
        let mut state = self.lock();
        (state.is_receiving, state.is_synchronous) = (false, false);
        drop(state);
        self.status();
    }

    /// Gives the reception that goes on, if it does.
    pub(super) fn receiving(&self) -> Option<String> {
        let state = self.lock();
        state.generation.clone().filter(|_| state.is_receiving)
    }

    /// Gives the newest base of the reception that goes on.
    pub(super) fn base(&self) -> Option<(Lsn, Timestamp)> {
        self.lock().base
    }

    /// Notes a base, if its reception still goes on.
    pub(super) fn note_base(&self, generation: &str, end: Lsn, at: Timestamp) {
        let mut state = self.lock();
        if state.generation.as_deref() == Some(generation) {
            state.base = Some((end, at));
        }
    }

    /// Gives up to where everything is at the destination.
    pub(super) fn received(&self) -> Lsn {
        self.lock().received
    }

    /// Puts the status together.
    pub(super) fn status(&self) -> ReceivingStatus {
        let state = self.lock();
        let behind = state.flushed.0.saturating_sub(state.received.0);
        let status = ReceivingStatus {
            destination: self.notes.destination.clone(),
            mode: self.notes.mode,
            standing: self.notes.standing(),
            is_synchronous: state.is_synchronous,
            slot: self.slot.clone(),
            generation: state.generation.clone(),
            flushed: state.flushed,
            received: state.received,
            lag_bytes: behind,
            lag_seconds: state.age.of_oldest(Instant::now()).as_secs_f64(),
            retained_bytes: behind,
            receiver_starts: state.receiver_starts,
            base: state.base,
            drill: self.notes.drill(),
            undone: self.notes.undone(),
            progress: self.notes.progress(),
        };
        figures::show_received(&status);
        status
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the server was first seen to have flushed what is not received yet.
#[derive(Debug, Default)]
struct Age {
    seen: VecDeque<(Instant, Lsn)>,
    last: Lsn,
}

impl Age {
    fn note(&mut self, now: Instant, flushed: Lsn, received: Lsn) {
        if flushed > self.last {
            self.last = flushed;
            // When it is full the oldest ones tell the age, and the newest one grows.
            if self.seen.len() >= REMEMBERED {
                self.seen.pop_back();
            }
            self.seen.push_back((now, flushed));
        }
        while self.seen.front().is_some_and(|(_, place)| *place <= received) {
            self.seen.pop_front();
        }
    }

    fn of_oldest(&self, now: Instant) -> Duration {
        self.seen.front().map_or(Duration::ZERO, |(seen, _)| now.saturating_duration_since(*seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_as_old_as_the_look_that_first_saw_it() {
        let (mut age, start) = (Age::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        age.note(at(0), Lsn(10), Lsn(10));
        assert_eq!(age.of_oldest(at(1)), Duration::ZERO);
        age.note(at(1), Lsn(20), Lsn(10));
        age.note(at(2), Lsn(30), Lsn(19));
        assert_eq!(age.of_oldest(at(3)), Duration::from_secs(2));
        age.note(at(4), Lsn(30), Lsn(20));
        assert_eq!(age.of_oldest(at(4)), Duration::from_secs(2));
        age.note(at(5), Lsn(30), Lsn(30));
        assert_eq!(age.of_oldest(at(9)), Duration::ZERO);
        for second in 10..10 + 2 * REMEMBERED as u64 {
            age.note(at(second), Lsn(second * 10), Lsn(30));
        }
        assert_eq!(age.seen.len(), REMEMBERED);
        assert_eq!(age.of_oldest(at(10)), Duration::ZERO, "the first of them is not forgotten");
    }
}
