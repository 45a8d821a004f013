//! Calls that may wait: they look, then sleep until a commit wakes them, a job falls due or the wait ends.

use std::time::Duration;

use super::{Sqlite, job_moves};
use crate::engine::waits::Wait;
use crate::engine::wakes::Topic;
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

    fn wait(&self, topics: Vec<Topic>, wait: Duration) -> Wait {
        Wait::begin(&self.0.wakes, &self.0.no_waiting, topics, wait)
    }
}
