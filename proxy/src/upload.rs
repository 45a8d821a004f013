//! How a client's upload goes on, so that its pauses are not taken for a backend's.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// What is known about an upload; clones share it.
#[derive(Debug, Clone)]
pub struct Progress(Rc<State>);

#[derive(Debug)]
struct State {
    moved: Cell<Instant>,
    waiting_since: Cell<Option<Instant>>,
    waited: Cell<Duration>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Rc::new(State {
            moved: Cell::new(Instant::now()),
            waiting_since: Cell::default(),
            waited: Cell::default(),
        }))
    }

    /// Notes that the client sent something, or the end.
    pub(crate) fn note_moved(&self) {
        let now = Instant::now();
        if let Some(since) = self.0.waiting_since.take() {
            self.0.waited.set(self.0.waited.get() + (now - since));
        }
        self.0.moved.set(now);
    }

    /// Notes that the backend would take more, and the client has sent no more yet.
    pub(crate) fn note_waiting(&self) {
        if self.0.waiting_since.get().is_none() {
            self.0.waiting_since.set(Some(Instant::now()));
        }
    }

    /// Gives when it last moved.
    pub(crate) fn moved(&self) -> Instant {
        self.0.moved.get()
    }

    /// Tells whether the client, and not the backend, has spent the time an exchange had until its deadline.
    ///
    /// A client that completes its upload at the last moment has left the backend none; but a backend that
    /// had a whole `head` since then had enough.
    pub(crate) fn has_spent(&self, within: Duration, deadline: Instant, head: Duration) -> bool {
        let left = deadline.saturating_duration_since(self.moved());
        self.is_awaited() || (left < head && self.waited() > within / 2)
    }

    /// Tells whether more of it is wanted from the client at this moment.
    pub fn is_awaited(&self) -> bool {
        self.0.waiting_since.get().is_some()
    }

    /// Gives how long the client was waited for, without a wait that lasts.
    pub fn waited(&self) -> Duration {
        self.0.waited.get()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_upload_completed_at_the_last_moment_leaves_the_backend_no_time() {
        let seconds = Duration::from_secs;
        let started = Instant::now();
        let progress = Progress::new();
        progress.note_waiting();
        assert!(progress.has_spent(seconds(10), started + seconds(10), seconds(5)), "it is still awaited");
        advance(seconds(9)).await;
        progress.note_moved();
        assert!(progress.has_spent(seconds(10), started + seconds(10), seconds(5)));
        assert!(!progress.has_spent(seconds(14), started + seconds(14), seconds(5)), "five seconds do");
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_slow_to_take_an_upload_has_spent_the_time_itself() {
        let seconds = Duration::from_secs;
        let started = Instant::now();
        let progress = Progress::new();
        advance(seconds(9)).await;
        progress.note_moved();
        assert!(!progress.has_spent(seconds(10), started + seconds(10), seconds(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_client_s_pauses_count_as_waiting() {
        let progress = Progress::new();
        advance(Duration::from_secs(1)).await;
        progress.note_waiting();
        advance(Duration::from_secs(2)).await;
        progress.note_waiting();
        assert!(progress.is_awaited());
        advance(Duration::from_secs(3)).await;
        progress.note_moved();
        assert!(!progress.is_awaited());
        advance(Duration::from_secs(10)).await;
        progress.note_moved();
        assert_eq!(progress.waited(), Duration::from_secs(5), "the backend's ten seconds are its own");
    }
}
