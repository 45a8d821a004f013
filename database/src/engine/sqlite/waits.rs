//! Calls that may wait: they look, then sleep until a commit wakes them, a job falls due or the wait ends.
//!
//! Looking is a read; nothing is written while there is nothing to do.

use std::time::Duration;

use tokio::time::Instant;

use super::wakes::{Topic, Waiter};
use super::{Sqlite, job_moves};
use crate::job::WAIT_LIMIT_MS;
use crate::{Change, Error, Job, JobCommand, time};

impl Sqlite {
    pub(in crate::engine) async fn command(&self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        let JobCommand::Claim { queues, wait_ms, .. } = command else {
            return self.move_jobs(command.clone()).await;
        };
        let topics = queues.iter().cloned().map(Topic::Queue).collect();
        let wait = self.wait(topics, Duration::from_millis(*wait_ms));
        loop {
            let looked_for = queues.clone();
            let due =
                self.0.readers.ask(move |connection| job_moves::next_due(connection, &looked_for)).await?;
            let now = time::now();
            if due.is_some_and(|due| due <= now) {
                let claimed = self.move_jobs(command.clone()).await?;
                // Another worker may have been quicker.
                if !claimed.is_empty() {
                    return Ok(claimed);
                }
            }
            // A job that just became due and was missed by the writer's clock is looked for again shortly.
            let at_most = due.map(|due| time::until(now, due).max(Duration::from_millis(1)));
            if !wait.goes_on(at_most).await {
                return Ok(Vec::new());
            }
        }
    }

    pub(in crate::engine) async fn changes(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Change>, Error> {
        let wait = self.wait(vec![Topic::Changes(namespace.map(ToOwned::to_owned))], wait);
        loop {
            let changes = self.changes_now(namespace, after, limit).await?;
            if !changes.is_empty() || !wait.goes_on(None).await {
                return Ok(changes);
            }
        }
    }

    pub(in crate::engine) async fn job_when_final(&self, id: &str, wait: Duration) -> Result<Job, Error> {
        let wait = self.wait(vec![Topic::Job(id.to_owned())], wait);
        loop {
            let job = self.job(id).await?;
            if job.state.is_final() || !wait.goes_on(None).await {
                return Ok(job);
            }
        }
    }

    fn wait(&self, topics: Vec<Topic>, wait: Duration) -> Wait<'_> {
        let ends = Instant::now() + wait.min(Duration::from_millis(WAIT_LIMIT_MS));
        Wait { engine: self, waiter: self.0.wakes.register(topics), ends }
    }
}

/// One caller's wait, registered before its first look.
struct Wait<'a> {
    engine: &'a Sqlite,
    waiter: Waiter,
    ends: Instant,
}

impl Wait<'_> {
    /// Sleeps until another look is worth it; false once the wait is over.
    async fn goes_on(&self, at_most: Option<Duration>) -> bool {
        if Instant::now() >= self.ends {
            return false;
        }
        let look_at = at_most.map_or(self.ends, |at_most| self.ends.min(Instant::now() + at_most));
        tokio::select! {
            () = self.waiter.woken() => true,
            () = self.engine.0.no_waiting.cancelled() => false,
            // The last look happens at the very end of the wait.
            () = tokio::time::sleep_until(look_at) => true,
        }
    }
}
