//! Writing how an attempt ended, also when the database is away for a while.

use std::time::Duration;

use database::job::Retry;
use database::{Database, Error, Job, JobCommand};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::Failure;

/// The first pause before the end is written again, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether an attempt's end was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is durable.
    Written,
    /// Refused: the job belongs to somebody else by now, or was canceled.
    Lost,
    /// The database stayed away; the lease lapses and the job runs again.
    Unwritten,
}

/// Writes an attempt's end under its fencing token, repeatedly for `patience` while the database is away.
pub(crate) async fn settle(
    database: &Database,
    job: &Job,
    ending: &Result<Value, Failure>,
    patience: Duration,
) -> Settled {
    let give_up = Instant::now() + patience;
    let mut command = command_for(job, ending);
    let mut pause = FIRST_PAUSE;
    loop {
        match database.command(&command).await {
            Ok(_) => return Settled::Written,
            // Also what a repeat meets when the first command was acted on and its answer lost.
            Err(Error::LeaseLost { .. } | Error::WrongState { .. } | Error::NotFound { .. }) => {
                return Settled::Lost;
            }
            Err(Error::Invalid { reason }) if matches!(command, JobCommand::Succeed { .. }) => {
                tracing::warn!(reason, "the database does not take the job's result");
                command = command_for(job, &Err(Failure::never("the result cannot be stored")));
            }
            Err(error) => {
                if Instant::now() + pause >= give_up {
                    tracing::warn!(%error, "the end of an attempt was not written; the job will run again");
                    return Settled::Unwritten;
                }
                tracing::debug!(%error, "the end of an attempt is written again");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn command_for(job: &Job, ending: &Result<Value, Failure>) -> JobCommand {
    let (id, lease_token) = (job.id.clone(), job.lease_token);
    match ending {
        Ok(result) => JobCommand::Succeed { id, lease_token, result: result.clone() },
        Err(Failure { reason, retry }) => {
            JobCommand::Fail { id, lease_token, error: reason.clone(), retry: *retry }
        }
    }
}

/// The end of an attempt that a shutdown cut short: the job is ready again at once.
///
/// It counts as an attempt, and says so in the job's error: a job that outlives every worker it is given
/// must not run for ever.
pub(crate) fn cut_short() -> Failure {
    Failure { reason: "the worker stopped before the attempt ended".to_owned(), retry: Retry::AfterMs(0) }
}
