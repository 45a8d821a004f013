//! Stopping: a request to stop, a grace to finish what is in flight, and an end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Tells a role to stop, and how long it may take.
///
/// Clones share one state. When stopping is requested a role stops taking new work, finishes what it has
/// until [`Shutdown::grace`] is over, and then drops the rest.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
    grace: Duration,
    deadline: Arc<OnceLock<Instant>>,
    handed_over: Arc<AtomicBool>,
}

impl Shutdown {
    /// Makes a shutdown that nobody has requested yet; `grace` counts from the request.
    pub fn new(grace: Duration) -> Self {
        Self { token: CancellationToken::new(), grace, deadline: Arc::default(), handed_over: Arc::default() }
    }

    /// Requests stopping; further requests change nothing.
    pub fn request(&self) {
        self.request_by(Instant::now() + self.grace);
    }

    /// Requests stopping with what is left of a grace that began elsewhere.
    pub fn request_by(&self, deadline: Instant) {
        self.deadline.get_or_init(|| deadline);
        self.token.cancel();
    }

    /// Notes, before stopping is requested, that another process has the same listeners and accepts.
    pub fn note_handed_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    /// Tells whether another process has the same listeners: then nothing more need be accepted here, and
    /// no client loses its place by being sent there with its next request instead of at once.
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Waits until stopping is requested; safe to drop and call again.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Gives the time that work in flight has: once stopping is requested, what is left of it.
    pub fn grace(&self) -> Duration {
        match self.deadline.get() {
            None => self.grace,
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        }
    }

    /// Runs a future until it ends or, once stopping was requested, the grace is over; `None` then.
    pub async fn until_grace<F: Future>(&self, future: F) -> Option<F::Output> {
        let grace_over = async {
            self.requested().await;
            tokio::time::sleep(self.grace()).await;
        };
        tokio::select! {
            output = future => Some(output),
            () = grace_over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_in_flight_has_the_grace_and_no_longer() {
        let shutdown = Shutdown::new(Duration::from_secs(10));
        shutdown.request();
        let quick = shutdown.until_grace(tokio::time::sleep(Duration::from_secs(9))).await;
        assert!(quick.is_some());
        let slow = shutdown.until_grace(tokio::time::sleep(Duration::from_secs(2))).await;
        assert!(slow.is_none(), "one second of the ten was left");
    }
}
