//! Stopping: a request to stop, a grace to finish what is in flight, and an end.

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
}

impl Shutdown {
    /// Makes a shutdown that nobody has requested yet.
    pub fn new(grace: Duration) -> Self {
        Self { token: CancellationToken::new(), grace }
    }

    /// Requests stopping; further requests change nothing.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Tells whether stopping was requested.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until stopping is requested; safe to drop and call again.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Gives the time that work in flight has once stopping is requested.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Runs a future until it ends or, once stopping was requested, the grace is over; `None` then.
    pub async fn until_grace<F: Future>(&self, future: F) -> Option<F::Output> {
        let grace_over = async {
            self.requested().await;
            tokio::time::sleep_until(Instant::now() + self.grace).await;
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
        let slow = shutdown.until_grace(tokio::time::sleep(Duration::from_secs(11))).await;
        assert!(slow.is_none());
    }
}
