//! Waiting between two looks: until a commit wakes the caller, a job falls due or the wait ends.
//!
//! Looking is a read; nothing is written while there is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::wakes::{Topic, Waiter, Wakes};
use crate::job::WAIT_LIMIT_MS;

/// One caller's wait, registered before its first look.
pub(super) struct Wait {
    waiter: Waiter,
    no_waiting: CancellationToken,
    ends: Instant,
}

impl Wait {
    /// Begins a wait for any of the topics; `no_waiting` ends it early.
    pub(super) fn begin(
        wakes: &Arc<Wakes>,
        no_waiting: &CancellationToken,
        topics: Vec<Topic>,
        wait: Duration,
    ) -> Self {
        let ends = Instant::now() + wait.min(Duration::from_millis(WAIT_LIMIT_MS));
        Self { waiter: wakes.register(topics), no_waiting: no_waiting.clone(), ends }
    }

    /// Sleeps until another look is worth it; false once the wait is over.
    pub(super) async fn goes_on(&self, at_most: Option<Duration>) -> bool {
        if Instant::now() >= self.ends {
            return false;
        }
        let look_at = at_most.map_or(self.ends, |at_most| self.ends.min(Instant::now() + at_most));
        tokio::select! {
            () = self.waiter.woken() => true,
            () = self.no_waiting.cancelled() => false,
            // The last look happens at the very end of the wait.
            () = tokio::time::sleep_until(look_at) => true,
        }
    }
}
