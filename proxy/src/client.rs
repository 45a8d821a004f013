//! Who is at the other end of an accepted connection.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

/// The peer of an accepted connection, with what its requests need written once.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    field: HeaderValue,
}

impl Client {
    /// Describes the peer at an address.
    pub fn new(address: SocketAddr) -> Self {
        // An IPv4 client of an IPv6 socket is still an IPv4 client to the backend.
        let ip = address.ip().to_canonical();
        let field = HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address: SocketAddr::new(ip, address.port()), field }
    }

    /// Gives the peer's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the peer's IP address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Gives the IP address as a field value; cloning it does not allocate.
    pub fn field(&self) -> &HeaderValue {
        &self.field
    }
}
