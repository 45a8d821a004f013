//! What the role holds of discovery: the directory, and the file it is kept in.

use std::sync::Arc;
use std::time::Duration;

use process::{RoleError, Shutdown};
use tokio::time::Instant;

use super::saved::{Keeper, Saved};
use super::{Directory, watch};
use crate::{Cluster, Config, Member};

/// How long a balancer that starts waits for the first answers of DNS.
const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// The membership of one cluster, kept up to date while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) directory: Arc<Directory>,
    pub(crate) keeper: Keeper,
}

impl Membership {
    /// Reads what was saved, and makes the cluster of the members known so far; `role` names who cannot start.
    pub(crate) fn new(
        role: &str,
        config: &Config,
        make_cluster: impl FnOnce(Vec<Member>) -> Arc<Cluster>,
    ) -> Result<Self, RoleError> {
        let saved = match &config.state {
            None => Saved::default(),
            Some(path) => Saved::load(path).map_err(|error| RoleError::start(role, error))?,
        };
        let directory = Directory::new(config, saved, Instant::now(), make_cluster);
        Ok(Self { directory, keeper: Keeper::new(config.state.clone()) })
    }

    /// Gives the cluster.
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        self.directory.cluster()
    }

    /// Takes in another configuration: its `backends`, and how they are found.
    pub(crate) async fn configure(&self, config: &Arc<Config>) {
        let (directory, config) = (Arc::clone(&self.directory), Arc::clone(config));
        // A new name is looked up on the way.
        let _ = tokio::task::spawn_blocking(move || directory.configure(&config)).await;
    }

    /// Keeps it up to date, and what was set in its file, until the shutdown.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        let watching = watch::run(Arc::clone(&self.directory), shutdown);
        let keeping = self.keeper.run(Arc::clone(&self.directory), shutdown);
        tokio::join!(watching, keeping);
    }

    /// Waits until every name was looked up once, or a moment has passed: a balancer without its backends has
    /// nothing but refusals to give.
    pub(crate) async fn until_known(&self) {
        let _ = tokio::time::timeout(NAMES_PATIENCE, self.directory.until_settled()).await;
    }
}
