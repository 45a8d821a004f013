//! What the writer hands to the shipping thread: each commit's pages, copied from the log before the log can be
//! overwritten.
//!
//! Only the writer begins the log anew, with its next write after a complete checkpoint. Since it copies what it
//! committed before that next write, no checkpoint can lose anything. When more waits than memory may hold, and
//! until the shipping thread knows where to go on, nothing is copied: then the log itself is the buffer and
//! checkpoints are held back ([`Feed::checkpoints`]). Past its limit the chain is given up: what was committed is
//! safe here, and the next generation begins with a base that holds it.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::wal::{Commit, Log, Place};

/// What becomes of an answer that waits for the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safety {
    /// The write is at the destination, or the policy does without.
    Safe,
    /// It is on this machine, and nobody knows when it will be at the destination.
    Unknown,
}

/// An answer that waits.
pub(crate) type Answer = Box<dyn FnOnce(Safety) + Send>;

/// One commit that waits to be shipped.
pub(crate) struct Entry {
    /// Its place among this process's commits, from 1.
    pub(crate) ordinal: u64,
    pub(crate) at: Timestamp,
    /// The frames in the log after it.
    pub(crate) end: u32,
    /// Its pages and the place after it; without them the log has them.
    pub(crate) copy: Option<(Commit, Place)>,
    pub(crate) answer: Option<Answer>,
}

impl Entry {
    fn size_bytes(&self) -> u64 {
        self.copy.as_ref().map_or(0, |(commit, _)| commit.size_bytes())
    }

    pub(crate) fn answer(&mut self, safety: Safety) {
        if let Some(answer) = self.answer.take() {
            answer(safety);
        }
    }
}

/// How much may wait, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) buffer: u64,
    pub(crate) log: u64,
}

/// What waits, shared by the writer, the shipping thread and the upkeep thread.
pub(crate) struct Feed {
    state: Mutex<State>,
    news: Notify,
    closed: CancellationToken,
    /// Held while a checkpoint runs, and to begin holding them back.
    checkpoints: Mutex<()>,
    log: Log,
    limits: Limits,
    /// Where the log ended when the process began, and when it was last written then.
    pub(crate) opened: (Place, Timestamp),
}

struct State {
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Where the log stands after the last commit; exact while commits are copied.
    place: Place,
    page_bytes: u32,
    copies: bool,
    ordinal: u64,
    /// When the oldest of what was taken, and is not known to be stored, was made.
    in_flight: Option<Timestamp>,
    /// Why the chain cannot be continued.
    broken: Option<String>,
}

/// Where a generation begins: between two commits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) ordinal: u64,
    pub(crate) place: Place,
}

impl Feed {
    /// Opens the log of a database that this process has open and has not written to yet. When the log was last `written`
    /// was asked before that: opening it writes it again.
    pub(crate) fn open(database: &Path, limits: Limits, written: Option<SystemTime>) -> io::Result<Self> {
        let log = Log::open(database)?;
        let place = log.last_commit()?;
        let written = written.and_then(|written| Timestamp::try_from(written).ok());
        let opened = (place, written.unwrap_or_else(Timestamp::now));
        let state = State {
            entries: VecDeque::new(),
            bytes: 0,
            place,
            page_bytes: 0,
            copies: false,
            ordinal: 0,
            in_flight: None,
            broken: None,
        };
        let (state, news, checkpoints) = (Mutex::new(state), Notify::new(), Mutex::new(()));
        let closed = CancellationToken::new();
        Ok(Self { state, news, closed, checkpoints, log, limits, opened })
    }

    /// Takes what the writer just committed; `frames` is how long the log is now. Gives the answer back when nothing
    /// was written, hence nothing has to become safe.
    pub(crate) fn note_commit(&self, frames: u32, at: Timestamp, answer: Option<Answer>) -> Option<Answer> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let head = match self.log.head() {
            Ok(Some(head)) => head,
            Ok(None) => return answer,
            Err(error) => {
                state.give_up(format!("the log cannot be read: {error}"));
                return self.push(guard, frames, at, None, answer);
            }
        };
        state.page_bytes = head.page_bytes();
        let salts = head.start().salts;
        if salts == state.place.salts && frames <= state.place.frames {
            return answer;
        }
        if !state.copies || state.broken.is_some() {
            state.place = Place { salts, frames, sums: [0, 0] };
            if u64::from(frames) * u64::from(head.page_bytes()) > self.limits.log {
                state.give_up("more waits to be shipped than the log may hold".to_owned());
            }
            return self.push(guard, frames, at, None, answer);
        }
        let copy = match self.log.read(&state.place, frames, true) {
            Ok((commits, end)) => {
                state.place = end;
                let joined = commits.into_iter().reduce(|mut one, next| {
                    one.append(next);
                    one
                });
                joined.map(|commit| (commit, end))
            }
            Err(error) => {
                state.give_up(error.to_string());
                None
            }
        };
        let is_full = state.bytes > self.limits.buffer;
        let given_back = self.push(guard, frames, at, copy, answer);
        if is_full {
            // A checkpoint that runs now may know of what was copied, and of nothing after it.
            let _none_runs = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
            self.lock().copies = false;
        }
        given_back
    }

    fn push(
        &self,
        mut state: MutexGuard<'_, State>,
        end: u32,
        at: Timestamp,
        copy: Option<(Commit, Place)>,
        answer: Option<Answer>,
    ) -> Option<Answer> {
        state.ordinal += 1;
        let entry = Entry { ordinal: state.ordinal, at, end, copy, answer };
        state.bytes += entry.size_bytes();
        state.entries.push_back(entry);
        drop(state);
        self.news.notify_one();
        None
    }

    /// Runs a checkpoint, unless the log is needed as the buffer.
    pub(crate) fn checkpoint(&self, run: impl FnOnce()) -> bool {
        let _held = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let may_run = {
            let state = self.lock();
            state.copies || state.broken.is_some()
        };
        if may_run {
            run();
        }
        may_run
    }

    /// Begins a generation; to be called between two commits. Gives the answers of what its base holds.
    pub(crate) fn begin(&self, frames: u32) -> io::Result<(Mark, Vec<Answer>)> {
        let mark = self.mark(frames)?;
        let mut state = self.lock();
        // Until the next look for what waits, the base that holds them is on its way.
        state.in_flight = state.oldest();
        let answers = state.entries.drain(..).filter_map(|mut entry| entry.answer.take()).collect();
        state.bytes = 0;
        state.place = mark.place;
        state.copies = true;
        state.broken = None;
        Ok((mark, answers))
    }

    /// Tells where the log stands; to be called between two commits.
    pub(crate) fn mark(&self, frames: u32) -> io::Result<Mark> {
        let place = self.log.place_at(frames)?.unwrap_or_default();
        Ok(Mark { ordinal: self.lock().ordinal, place })
    }

    /// Takes what waits, up to about `limit` bytes, and what cannot be continued. Nothing taken: nothing waits.
    pub(crate) fn take(&self, limit: u64) -> Result<Vec<Entry>, String> {
        let mut state = self.lock();
        if let Some(reason) = &state.broken {
            return Err(reason.clone());
        }
        let (mut taken, mut bytes, mut end) = (Vec::new(), 0, 0);
        while bytes < limit
            && let Some(entry) = state.entries.pop_front()
        {
            state.bytes -= entry.size_bytes();
            let in_log = u64::from(entry.end.saturating_sub(end)) * u64::from(state.page_bytes);
            // The first of those in the log is at most as long as all before it; near enough for a limit.
            bytes += if entry.copy.is_some() {
                entry.size_bytes()
            } else if end == 0 {
                0
            } else {
                in_log
            };
            end = entry.end;
            taken.push(entry);
        }
        // Whoever takes again has stored what was taken before.
        state.in_flight = taken.first().map(|entry| entry.at);
        Ok(taken)
    }

    /// Tells that everything up to a place was read from the log: if nothing waits, commits are copied again.
    pub(crate) fn caught_up(&self, place: Place) {
        let mut state = self.lock();
        state.in_flight = None;
        if state.entries.is_empty() && state.broken.is_none() {
            state.place = place;
            state.copies = true;
        }
    }

    /// Gives up the chain.
    pub(crate) fn break_off(&self, reason: String) {
        self.lock().give_up(reason);
    }

    /// Answers all that waits.
    pub(crate) fn answer_all(&self, safety: Safety) {
        let answers: Vec<Answer> =
            self.lock().entries.iter_mut().filter_map(|entry| entry.answer.take()).collect();
        answers.into_iter().for_each(|answer| answer(safety));
    }

    /// Tells that nothing more will come.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.news.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits until nothing more will come.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Waits for news.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Tells whether something waits or is on its way, and since when.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.lock().oldest()
    }

    /// Tells whether more waits than memory may hold.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        state.bytes > self.limits.buffer || (!state.copies && !state.entries.is_empty())
    }

    /// Tells whether less waits than half of what memory may hold.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        state.copies && state.bytes <= self.limits.buffer / 2
    }

    /// Gives the last commit's ordinal.
    pub(crate) fn ordinal(&self) -> u64 {
        self.lock().ordinal
    }

    /// Gives the log, to read what was not copied.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn oldest(&self) -> Option<Timestamp> {
        self.in_flight.or_else(|| self.entries.front().map(|entry| entry.at))
    }

    fn give_up(&mut self, reason: String) {
        if self.broken.is_none() {
            self.broken = Some(reason);
            // What the base of the next generation will hold needs no copy here; answers still wait.
            for entry in &mut self.entries {
                entry.copy = None;
            }
            self.bytes = 0;
        }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}
