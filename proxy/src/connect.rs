//! Opens a connection to a backend: TCP, the PROXY header where it is asked for, TLS.

use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::proxy_protocol::{self, Addresses};
use crate::stream::Stream;

/// What is spoken on a backend's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "http1")]
    Http1,
    /// HTTP/2: by ALPN under TLS, by prior knowledge (RFC 9113 §3.3) in the clear.
    #[serde(rename = "h2")]
    Http2,
}

/// Where a connection leads, and what is spoken on it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The backend's address.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// How the backend is verified, if the connection is under TLS.
    pub tls: Option<Secured>,
    /// Whether each connection begins with a PROXY header (version 2) that names the client; connections are
    /// then not shared between clients.
    pub proxy_header: bool,
}

/// How a backend under TLS is verified; made once for all its connections, so that sessions are resumed.
#[derive(Debug, Clone)]
pub struct Secured {
    /// Whom to trust and what to offer ([`crate::tls::client_config`]).
    pub config: Arc<ClientConfig>,
    /// The name the backend's certificate must bear.
    pub server_name: ServerName<'static>,
}

impl Target {
    /// Makes a target that speaks HTTP/1.1 in the clear.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, protocol: Protocol::Http1, tls: None, proxy_header: false }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => {
                Arc::ptr_eq(&ours.config, &theirs.config) && ours.server_name == theirs.server_name
            }
            _ => false,
        };
        same_tls
            && (self.address, self.protocol, self.proxy_header)
                == (other.address, other.protocol, other.proxy_header)
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.address, self.protocol, self.proxy_header).hash(state);
    }
}

/// Why no connection came about; nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The backend refused, or could not be reached.
    #[error(transparent)]
    Tcp(io::Error),
    /// This process, or its machine, has no means for one more connection, which says nothing of the backend.
    #[error("no means for another connection: {0}")]
    Exhausted(io::Error),
    /// It did not answer in time.
    #[error("no connection within {within:?}")]
    Timeout {
        /// The time it had.
        within: Duration,
    },
    /// The TLS handshake failed; mostly its certificate is not to be trusted.
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    /// The TLS handshake took too long.
    #[error("TLS handshake: not done within {within:?}")]
    HandshakeTimeout {
        /// The time it had.
        within: Duration,
    },
    /// The backend does not speak HTTP/2.
    #[error("TLS handshake: the backend does not offer h2")]
    NoHttp2,
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Tcp(error) | ConnectError::Exhausted(error) => error,
            ConnectError::Timeout { .. } | ConnectError::HandshakeTimeout { .. } => {
                Self::new(io::ErrorKind::TimedOut, error)
            }
            ConnectError::Handshake(_) | ConnectError::NoHttp2 => Self::other(error),
        }
    }
}

/// Tells whether a connection failed because this side has run out of descriptors or memory.
///
/// A port to come from (`EADDRNOTAVAIL`) is not among them: ports run out towards one backend only, and a machine
/// without the backend's address family says so too.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Opens connections, each step with its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connector {
    /// How long TCP may take.
    pub connect_timeout: Duration,
    /// How long the TLS handshake may take after that.
    pub handshake_timeout: Duration,
}

impl Default for Connector {
    fn default() -> Self {
        // A handshake is two or three round trips and one signature; HAProxy and Envoy have seconds here.
        Self { connect_timeout: Duration::from_secs(1), handshake_timeout: Duration::from_secs(3) }
    }
}

impl Connector {
    /// Opens a connection; `client` is whom the PROXY header names, where the target asks for one, and without
    /// a client it says that the connection is the balancer's own.
    pub async fn connect(&self, target: &Target, client: Option<Addresses>) -> Result<Stream, ConnectError> {
        let within = self.connect_timeout;
        let connecting = timeout(within, TcpStream::connect(target.address));
        let fault = |error| match is_exhaustion(&error) {
            true => ConnectError::Exhausted(error),
            false => ConnectError::Tcp(error),
        };
        let mut socket = connecting.await.map_err(|_| ConnectError::Timeout { within })?.map_err(fault)?;
        socket.set_nodelay(true).map_err(ConnectError::Tcp)?;
        if target.proxy_header {
            // It fits the send buffer of a fresh socket, so this does not wait.
            let header = proxy_protocol::write(client);
            socket.write_all(&header).await.map_err(ConnectError::Tcp)?;
        }
        let Some(tls) = &target.tls else { return Ok(socket.into()) };
        // Boxed: the state of a handshake is large, and most connections have none.
        Box::pin(self.secure(socket, tls, target.protocol)).await
    }

    async fn secure(
        &self,
        socket: TcpStream,
        tls: &Secured,
        protocol: Protocol,
    ) -> Result<Stream, ConnectError> {
        let within = self.handshake_timeout;
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let handshake = timeout(within, connector.connect(tls.server_name.clone(), socket));
        let stream = handshake
            .await
            .map_err(|_| ConnectError::HandshakeTimeout { within })?
            .map_err(ConnectError::Handshake)?;
        let stream = Stream::from(stream);
        if protocol == Protocol::Http2 && stream.alpn() != Some(b"h2") {
            return Err(ConnectError::NoHttp2);
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_side_lacks_is_told_from_what_the_backend_refuses() {
        let of = |errno: Errno| is_exhaustion(&io::Error::from(errno));
        assert!(of(Errno::MFILE) && of(Errno::NFILE) && of(Errno::NOBUFS) && of(Errno::NOMEM));
        assert!(!of(Errno::CONNREFUSED) && !of(Errno::ADDRNOTAVAIL) && !of(Errno::HOSTUNREACH));
        assert!(!is_exhaustion(&io::ErrorKind::TimedOut.into()));
    }
}
