//! Claims jobs and runs their attempts, at most `concurrency` at a time.

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Error, Job, JobCommand};
use process::{Health, Shutdown};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Surroundings, run_attempt};
use crate::lease::Lease;
use crate::pace::{ClaimFound, Pace};
use crate::{Config, Kinds, figures};

/// The part of the grace kept for writing down that attempts were cut short.
const RESERVE_PART: u32 = 5;

/// The longest such part.
const LONGEST_RESERVE: Duration = Duration::from_secs(1);

/// Runs jobs until the shutdown: then claims nothing more, lets attempts end within the grace, and puts
/// back those that do not.
///
/// A claim in flight at the shutdown is dropped. Should the database have leased a job to it in that very
/// moment, the job runs once that lease lapses.
pub(crate) async fn run_jobs(
    config: Config,
    kinds: Kinds,
    database: Database,
    health: &Health,
    shutdown: &Shutdown,
) {
    if config.queues.is_empty() {
        health.set_ready();
        return;
    }
    let places = usize::try_from(config.concurrency).unwrap_or(usize::MAX);
    let around = Arc::new(Surroundings { config, kinds, database, stop: CancellationToken::new() });
    let mut attempts = JoinSet::new();
    let claiming = claim_jobs(&around, places, &mut attempts, health);
    tokio::select! {
        () = shutdown.requested() => {}
        () = claiming => {}
    }
    drain(&around, attempts, shutdown).await;
}

/// Claims and starts attempts for ever; cancellation leaves the attempts running in their set.
async fn claim_jobs(around: &Arc<Surroundings>, places: usize, attempts: &mut JoinSet<()>, health: &Health) {
    let mut pace = Pace::new();
    let mut said = "";
    loop {
        while attempts.try_join_next().is_some() {}
        while attempts.len() >= places {
            attempts.join_next().await;
        }
        let asked = Instant::now();
        let claimed = claim(around, places - attempts.len(), pace.claim_wait()).await;
        let found = match claimed {
            Ok(jobs) => {
                health.set_ready();
                said = "";
                let found = match jobs.is_empty() {
                    true => ClaimFound::Nothing(asked.elapsed()),
                    false => ClaimFound::Jobs,
                };
                let lease = Lease::granted(around.config.lease, Instant::now());
                for job in jobs {
                    attempts.spawn(run_attempt(Arc::clone(around), job, lease));
                }
                found
            }
            Err(error) => {
                let standing = error.standing();
                // Said when it begins or changes, and not at every claim.
                match standing == said {
                    true => tracing::debug!(%error, "jobs cannot be claimed"),
                    false => tracing::warn!(%error, "jobs cannot be claimed: {standing}"),
                }
                said = standing;
                health.set_degraded(standing);
                ClaimFound::Error
            }
        };
        figures::CLAIMS.with_label_values(&[label(found)]).inc();
        let pause = pace.after(found, &mut rand::rng());
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

async fn claim(around: &Surroundings, limit: usize, wait: Duration) -> Result<Vec<Job>, Error> {
    let command = JobCommand::Claim {
        queues: around.config.queues.clone(),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        lease_ms: millis(around.config.lease),
        wait_ms: millis(wait),
    };
    around.database.command(&command).await
}

/// Waits for attempts within the grace; before it is over, stops those left and writes that down.
async fn drain(around: &Surroundings, mut attempts: JoinSet<()>, shutdown: &Shutdown) {
    // Those that ended while it waited for jobs.
    while attempts.try_join_next().is_some() {}
    if !attempts.is_empty() {
        tracing::info!(attempts = attempts.len(), "attempts in flight have the grace to end");
    }
    let grace = shutdown.grace();
    let reserve = (grace / RESERVE_PART).min(LONGEST_RESERVE);
    let all_ended = async { while attempts.join_next().await.is_some() {} };
    if tokio::time::timeout(grace.saturating_sub(reserve), all_ended).await.is_ok() {
        return;
    }
    around.stop.cancel();
    let all_ended = async { while attempts.join_next().await.is_some() {} };
    if shutdown.until_grace(all_ended).await.is_none() {
        tracing::warn!("an attempt was dropped; its job runs again when its lease lapses");
    }
}

fn label(found: ClaimFound) -> &'static str {
    match found {
        ClaimFound::Jobs => "jobs",
        ClaimFound::Nothing(_) => "none",
        ClaimFound::Error => "error",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
