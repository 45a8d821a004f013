//! What a service does beside answering: prepare, watch the database, follow changes, seal anew, purge, sweep.

use std::time::Duration;

use database::Error;
use jiff::Timestamp;
use process::health::HealthState;
use process::{Health, Shutdown};
use tokio::sync::{oneshot, watch};

use crate::accounts::FirstAdmin;
use crate::follower::Follower;
use crate::preparation::{FIRST_PAUSE, Preparation, Progress};
use crate::purge::Purge;
use crate::reseal::Reseal;

/// How often a database that answers is asked whether it still does.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How long the first purge waits for what is declared at most; usually that is there within milliseconds.
const PURGE_WAITS: Duration = Duration::from_secs(5);

/// How often sessions that are over are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// The background part of one service.
pub(crate) struct Background {
    /// What it has made before it is ready.
    pub(crate) preparation: Preparation,
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

impl Background {
    /// Runs until the shutdown is requested.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let first_admin = self.first_admin.take();
        let (teller, progress) = watch::channel(Progress::default());
        let running = async {
            // None of them waits for all of the preparation: what is missing for one collection is not for the others.
            tokio::join!(
                self.prepare(&teller, first_admin),
                self.watch_database(progress.clone()),
                self.follower.run(),
                self.reseal.run(),
                self.purge_as_declared(progress),
                self.sweep()
            );
        };
        tokio::select! {
            () = shutdown.requested() => {}
            () = running => {}
        }
        self.health.set_draining();
    }

    async fn prepare(
        &self,
        progress: &watch::Sender<Progress>,
        first_admin: Option<oneshot::Sender<FirstAdmin>>,
    ) {
        self.preparation.run(progress).await;
        match &self.preparation.accounts {
            Some(accounts) => accounts.tell_first_admin(first_admin),
            // Whoever listens learns here that there is nothing to tell.
            None => drop(first_admin),
        }
    }

    /// Keeps the health true to whether the database answers and has all that was declared.
    async fn watch_database(&self, mut progress: watch::Receiver<Progress>) {
        loop {
            self.until_it_answers().await;
            match progress.borrow_and_update().standing() {
                None => self.health.set_ready(),
                Some(missing) => self.health.set_degraded(missing),
            }
            // The preparation runs as long as this does, so that its end is no reason to look again.
            tokio::select! {
                () = tokio::time::sleep(PROBE_INTERVAL) => {}
                Ok(()) = progress.changed() => {}
            }
        }
    }

    /// Purges what is over, by what is declared now: so the first round is after that, unless it takes long.
    async fn purge_as_declared(&self, mut progress: watch::Receiver<Progress>) {
        let _ = tokio::time::timeout(PURGE_WAITS, progress.wait_for(|progress| progress.is_done)).await;
        self.purge.run().await;
    }

    /// Removes sessions that are over, now and then.
    async fn sweep(&self) {
        let Some(accounts) = &self.preparation.accounts else { return };
        loop {
            if let Err(error) = accounts.sweep_sessions(Timestamp::now()).await {
                tracing::debug!(%error, "sessions that are over are left until the next sweep");
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }

    /// Asks the database until it answers, degraded meanwhile.
    async fn until_it_answers(&self) {
        let mut pause = FIRST_PAUSE;
        let mut said = "";
        while let Err(error) = self.probe().await {
            let standing = error.standing();
            // Said once, when the database is lost, and not while a whole house is starting; a wrong
            // credential does not become right by waiting, so that is said then too.
            let lasts = matches!(error, Error::Forbidden);
            if standing != said && (self.health.state() == HealthState::Ready || lasts) {
                tracing::warn!(%error, "{standing}");
            } else {
                tracing::debug!(%error, "{standing}");
            }
            said = standing;
            self.health.set_degraded(standing);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PROBE_INTERVAL);
        }
    }

    async fn probe(&self) -> Result<(), Error> {
        // A record that nobody makes: the cheapest question.
        self.preparation.namespace.find("_health", "probe").await.map(drop)
    }
}
