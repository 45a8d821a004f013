//! What the section means to each part of the load balancer.

use std::path::{Path, PathBuf};

use process::ConfigError;
use proxy::fields::TrustedProxies;
use proxy::pool::PoolOptions;
use proxy::server::{self, Limits};
use proxy::{Timeouts, tls, wire};

use super::Config;
use crate::cluster::{Link, Options, Secured};

/// The section with the backends' certificates, for messages.
const BACKEND_TLS: &str = "load_balancer.backend_tls";

/// The section with our own.
pub(crate) const TLS: &str = "load_balancer.tls";

impl Config {
    /// Checks what the files it names hold, before any of it is taken up.
    pub(crate) fn check_files(&self) -> Result<(), ConfigError> {
        self.validate()?;
        self.cluster_options().map(drop)
    }

    /// Gives the files whose change counts as a change of the section.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let backends = self.backend_tls.iter().flat_map(tls::Backend::files);
        self.tls.files().chain(backends).map(Path::to_owned).collect()
    }

    /// Gives how the cluster chooses and guards; reads the files that verify backends.
    pub(crate) fn cluster_options(&self) -> Result<Options, ConfigError> {
        let secure = |settings: &tls::Backend| {
            let config = tls::client_config(settings, self.protocol, BACKEND_TLS)?;
            Ok(Secured { settings: settings.clone(), config })
        };
        Ok(Options {
            policy: self.policy.clone(),
            hash_balance_factor: self.hash_balance_factor,
            health: self.health.clone(),
            ejection: self.ejection.clone(),
            limit: self.limit.clone(),
            hedge: self.hedge.clone(),
            panic_threshold: self.panic_threshold,
            slow_start: self.slow_start,
            sticky_secret: self.sticky_secret.clone(),
            link: Link {
                protocol: self.protocol,
                tls: self.backend_tls.as_ref().map(secure).transpose()?,
                proxy_header: self.backend_proxy_protocol,
            },
        })
    }

    /// Gives how the listener serves; reads its certificates.
    pub(crate) fn server_options(&self) -> Result<server::Options, ConfigError> {
        let tls = self.tls.is_enabled().then(|| tls::Acceptor::new(&self.tls, TLS)).transpose()?;
        let proxy_protocol = self.proxy_protocol.then(|| self.trusted());
        Ok(server::Options { limits: self.limits(), tls, proxy_protocol })
    }

    /// Gives the proxies in front; [`Config::validate`] has refused what cannot be read.
    pub(crate) fn trusted(&self) -> TrustedProxies {
        TrustedProxies::parse(&self.trusted_proxies).unwrap_or_default()
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            max_header_size: self.header_size(),
            body_idle_timeout: self.body_idle_timeout,
            connections_per_address: self.max_connections_per_address,
            max_streams: self.max_streams,
            ..Limits::default()
        }
    }

    pub(crate) fn wire_rules(&self) -> wire::Rules {
        wire::Rules {
            limits: wire::Limits {
                head_size: self.header_size(),
                fields: self.max_fields,
                body_idle: self.body_idle_timeout,
                tunnel_idle: (!self.tunnel_timeout.is_zero()).then_some(self.tunnel_timeout),
                ..wire::Limits::default()
            },
            trusted: self.trusted(),
            writes_forwarded: self.forwarded,
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        let total = (!self.total_timeout.is_zero()).then_some(self.total_timeout);
        Timeouts { connect: self.connect_timeout, head: self.head_timeout, total, ..Timeouts::default() }
    }

    pub(crate) fn pool(&self) -> PoolOptions {
        PoolOptions { idle_timeout: self.backend_idle_timeout, ..PoolOptions::default() }
    }

    fn header_size(&self) -> usize {
        usize::try_from(self.max_header_size).unwrap_or(usize::MAX)
    }
}
