//! The server's end of a handshake, shared by all threads of a listener.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use process::ConfigError;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::{self, Ticketer};
use tokio_rustls::rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::certificates::Certificates;
use super::{Config, Version};
use crate::stream::Stream;

/// Sessions remembered for TLS 1.2 clients without tickets, which hardly exist any more.
const SESSIONS: usize = 1024;

/// Accepts clients under TLS; clones share everything.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Current>,
    /// Kept across reloads, so that a session can be resumed after one. Its keys change every six hours.
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions + Send + Sync>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
}

impl Acceptor {
    /// Reads the files; `section` names the settings in errors.
    pub fn new(config: &Config, section: &str) -> Result<Self, ConfigError> {
        let fault = |error| ConfigError::inconsistent(section, format!("no random numbers: {error}"));
        let tickets = Ticketer::new().map_err(fault)?;
        let sessions = ServerSessionMemoryCache::new(SESSIONS);
        let current = Current::make(config, section, &tickets, &(Arc::clone(&sessions) as _))?;
        Ok(Self(Arc::new(Shared { current: ArcSwap::from_pointee(current), tickets, sessions })))
    }

    /// Reads the files anew, for the handshakes to come; after an error everything stays as it was.
    pub fn reload(&self, config: &Config, section: &str) -> Result<(), ConfigError> {
        let current = Current::make(config, section, &self.0.tickets, &self.0.sessions)?;
        self.0.current.store(Arc::new(current));
        Ok(())
    }

    /// Shakes hands with a client; an error also if it takes too long or does not speak TLS.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Stream> {
        let (acceptor, within) = {
            let current = self.0.current.load();
            (TlsAcceptor::from(Arc::clone(&current.config)), current.handshake_timeout)
        };
        let accepted = timeout(within, acceptor.accept(socket)).await;
        accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(Stream::from)
    }
}

impl Current {
    fn make(
        config: &Config,
        section: &str,
        tickets: &Arc<dyn ProducesTickets>,
        sessions: &Arc<dyn StoresServerSessions + Send + Sync>,
    ) -> Result<Self, ConfigError> {
        if !config.is_enabled() {
            let message = "there must be at least one";
            return Err(ConfigError::inconsistent(format!("{section}.certificates"), message));
        }
        let versions: &[_] = match config.min_version {
            Version::Tls12 => &[&TLS13, &TLS12],
            Version::Tls13 => &[&TLS13],
        };
        let certificates = Certificates::load(&config.certificates, section)?;
        let mut made = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| ConfigError::inconsistent(format!("{section}.min_version"), error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        made.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        made.ticketer = Arc::clone(tickets);
        made.session_storage = Arc::clone(sessions) as _;
        Ok(Self { config: Arc::new(made), handshake_timeout: config.handshake_timeout })
    }
}
