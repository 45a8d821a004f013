//! Who is at the other end of an accepted connection.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

use crate::proxy_protocol::Addresses;

/// The peer of an accepted connection, with what its requests need written once.
#[derive(Debug, Clone)]
pub struct Client {
    addresses: Addresses,
    field: HeaderValue,
    is_tls: bool,
    is_named: bool,
}

impl Client {
    /// Describes a client by its address and the one it connected to.
    pub fn new(addresses: Addresses, is_tls: bool) -> Self {
        // An IPv4 client of an IPv6 socket is still an IPv4 client to the backend.
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let addresses =
            Addresses { source: canonical(addresses.source), destination: canonical(addresses.destination) };
        let field = HeaderValue::try_from(addresses.source.ip().to_string());
        Self {
            addresses,
            field: field.unwrap_or(HeaderValue::from_static("unknown")),
            is_tls,
            is_named: true,
        }
    }

    /// Says that somebody else is behind the connection, of whom only the address of who relays him is known.
    pub fn nameless(self) -> Self {
        Self { is_named: false, ..self }
    }

    /// Tells whether the address is the client's own, and not that of who relays him.
    pub fn is_named(&self) -> bool {
        self.is_named
    }

    /// Gives the peer's address: with a PROXY header the one that stands there.
    pub fn address(&self) -> SocketAddr {
        self.addresses.source
    }

    /// Gives the peer's IP address.
    pub fn ip(&self) -> IpAddr {
        self.addresses.source.ip()
    }

    /// Gives both ends, for a PROXY header to a backend.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Tells whether the connection is under TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Gives the scheme of its requests, `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// Gives the IP address as a field value; cloning it does not allocate.
    pub fn field(&self) -> &HeaderValue {
        &self.field
    }
}
