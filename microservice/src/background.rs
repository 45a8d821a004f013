//! What a service does beside answering: prepare, watch the database, follow changes, seal anew, purge, sweep.

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Declaration, Error, Query};
use jiff::Timestamp;
use process::health::HealthState;
use process::{Health, Shutdown};
use tokio::sync::oneshot;

use crate::accounts::{Accounts, FirstAdmin};
use crate::follower::Follower;
use crate::purge::Purge;
use crate::reseal::Reseal;

/// How often a database that answers is asked whether it still does.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// The first pause after a database did not answer; doubled up to [`PROBE_INTERVAL`], so that a house that
/// starts all at once is ready at once.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How often sessions that are over are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// The background part of one service.
pub(crate) struct Background {
    /// The service's name, which is the namespace of its records.
    pub(crate) namespace: String,
    /// Where its records lie.
    pub(crate) database: Database,
    /// The accounts, of the accounts service.
    pub(crate) accounts: Option<Arc<Accounts>>,
    /// What its collections declare.
    pub(crate) declarations: Vec<Declaration>,
    /// Who is to be told of the first account.
    pub(crate) first_admin: Option<oneshot::Sender<FirstAdmin>>,
    /// What removes what is kept only for a while.
    pub(crate) purge: Purge,
    /// What seals sensitive fields anew.
    pub(crate) reseal: Reseal,
    /// What keeps the cache true to the change log.
    pub(crate) follower: Follower,
    /// The health to keep true.
    pub(crate) health: Health,
}

/// What is repeated until the database does it.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Declaring the collections; loading or making what the accounts need.
    Prepare,
    /// Answering the cheapest question.
    Probe,
}

impl Background {
    /// Runs until the shutdown is requested.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let first_admin = self.first_admin.take();
        let running = async {
            self.complete(Step::Prepare).await;
            match &self.accounts {
                Some(accounts) => accounts.tell_first_admin(first_admin),
                // Whoever listens learns here that there is nothing to tell.
                None => drop(first_admin),
            }
            tokio::join!(
                self.watch_database(),
                self.follower.run(),
                self.reseal.run(),
                self.purge.run(),
                self.sweep()
            );
        };
        tokio::select! {
            () = shutdown.requested() => {}
            () = running => {}
        }
        self.health.set_draining();
    }

    /// Keeps the health true to whether the database answers.
    async fn watch_database(&self) {
        loop {
            self.complete(Step::Probe).await;
            self.health.set_ready();
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Removes sessions that are over, now and then.
    async fn sweep(&self) {
        let Some(accounts) = &self.accounts else { return };
        loop {
            if let Err(error) = accounts.sweep_sessions(Timestamp::now()).await {
                tracing::debug!(%error, "sessions that are over are left until the next sweep");
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }

    /// Repeats a step until it succeeds, degraded meanwhile.
    async fn complete(&self, step: Step) {
        let mut pause = FIRST_PAUSE;
        let mut said = "";
        while let Err(error) = self.attempt(step).await {
            let standing = error.standing();
            // Said once, when the database is lost, and not while a whole house is starting; a wrong
            // credential does not become right by waiting, nor a declaration that the records contradict, so
            // those are said then too.
            let lasts = matches!(error, Error::Forbidden | Error::Invalid { .. });
            if standing != said && (self.health.state() == HealthState::Ready || lasts) {
                tracing::warn!(%error, "{standing}");
            } else {
                tracing::debug!(%error, ?step, "{standing}");
            }
            said = standing;
            self.health.set_degraded(standing);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PROBE_INTERVAL);
        }
    }

    async fn attempt(&self, step: Step) -> Result<(), Error> {
        match (step, &self.accounts) {
            (Step::Prepare, None) => {
                for declaration in &self.declarations {
                    self.database.declare(&self.namespace, declaration).await?;
                }
                Ok(())
            }
            (Step::Prepare, Some(accounts)) => accounts.prepare().await,
            (Step::Probe, _) => {
                // A record that nobody makes.
                let query = Query::Get { collection: "_health".to_owned(), id: "probe".to_owned() };
                self.database.query(&self.namespace, &query).await.map(drop)
            }
        }
    }
}
