//! What the configuration says for each request, as all threads share it and as one keeps it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use arc_swap::ArcSwap;
use proxy::pool::PoolOptions;
use proxy::{Timeouts, tls, wire};

use crate::access_log::{self, AccessLog, Lines};
use crate::config::TLS;
use crate::explain::Explain;
use crate::{Cluster, Config, Policy};

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Plan {
    cluster: Arc<Cluster>,
    config: ArcSwap<Config>,
    /// How often it was replaced, which is cheaper to look at.
    revision: AtomicU64,
    log: AccessLog,
    tls: Option<tls::Acceptor>,
}

/// What one thread holds of the configuration until there is another.
#[derive(Debug)]
pub(crate) struct Settings {
    revision: u64,
    pub(crate) timeouts: Timeouts,
    pub(crate) retries: u32,
    pub(crate) policy: Policy,
    pub(crate) pool: PoolOptions,
    pub(crate) rules: Rc<wire::Rules>,
    pub(crate) server_timing: bool,
    pub(crate) explain: Explain,
    pub(crate) access_log: access_log::Config,
}

impl Plan {
    /// Opens the access log and takes what holds at first; `tls` is how clients shake hands, if they do.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        config: Arc<Config>,
        tls: Option<tls::Acceptor>,
    ) -> io::Result<Self> {
        let log = AccessLog::open(&config.access_log.path)?;
        Ok(Self { cluster, config: ArcSwap::new(config), revision: AtomicU64::new(0), log, tls })
    }

    /// Takes another configuration: requests that come from now on are under it, those in flight end under theirs.
    ///
    /// What its files say was checked before; should they have changed since, what they say now is told as an
    /// error and the rest holds.
    pub(crate) fn replace(&self, config: &Arc<Config>) {
        // What is known of backends, and the connections that are kept, are of this one.
        let protocol = self.config.load().protocol;
        let config = Arc::new(Config { protocol, ..Config::clone(config) });
        match config.cluster_options() {
            Ok(options) => self.cluster.replace_options(options),
            Err(error) => tracing::error!(%error, "backends are chosen and verified as before"),
        }
        if let Some(tls) = &self.tls
            && config.tls.is_enabled()
            && let Err(error) = tls.reload(&config.tls, TLS)
        {
            tracing::error!(%error, "clients get the certificates they got before");
        }
        // Also when the path is the same: the file may have been moved away.
        self.log.reopen(&config.access_log.path);
        self.config.store(config);
        self.revision.fetch_add(1, Release);
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub(super) fn lines(&self) -> Lines {
        self.log.lines()
    }

    pub(super) fn settings(&self) -> Settings {
        // Read first: what comes between the two is looked at again.
        let revision = self.revision.load(Acquire);
        let config = self.config.load();
        Settings {
            revision,
            timeouts: config.timeouts(),
            retries: config.retries,
            policy: config.policy.clone(),
            pool: config.pool(),
            rules: Rc::new(config.wire_rules()),
            server_timing: config.server_timing,
            explain: config.explain,
            access_log: config.access_log.clone(),
        }
    }
}

impl Settings {
    /// Tells whether another configuration holds by now.
    pub(super) fn is_outdated(&self, plan: &Plan) -> bool {
        self.revision != plan.revision.load(Acquire)
    }
}
