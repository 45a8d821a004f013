//! Binding a listener, and refusing to bind one that would be open to the world.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::{ClusterToken, RoleError, handover};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Whether several sockets may share the address, one a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// One socket.
    Alone,
    /// `SO_REUSEPORT`: the kernel spreads connections over the sockets.
    PerThread,
}

/// Binds a listener for a port that asks for the cluster token; beyond loopback there must be one.
pub fn bind_internal(role: &str, address: &str, token: &ClusterToken) -> Result<TcpListener, RoleError> {
    resolve_internal(role, address, token)?;
    bind_public(role, address)
}

/// Finds the address of a port that asks for the cluster token; refuses one beyond loopback without a token.
pub fn resolve_internal(role: &str, address: &str, token: &ClusterToken) -> Result<SocketAddr, RoleError> {
    let resolved = resolve(role, address)?;
    if !resolved.ip().is_loopback() && !token.is_set() {
        return Err(fault(
            role,
            address,
            "it is not a loopback address and no cluster token is set; set SIXFOLD__CLUSTER__TOKEN",
        ));
    }
    Ok(resolved)
}

/// Binds a listener for a port that guards itself.
pub fn bind_public(role: &str, address: &str) -> Result<TcpListener, RoleError> {
    let socket = bind_socket(role, resolve(role, address)?, Share::Alone)?;
    TcpListener::from_std(socket).map_err(|error| fault(role, address, error))
}

/// Tells how many sockets of an address the process before this one handed over, which
/// [`bind_socket`] will give one by one.
pub fn count_inherited(address: SocketAddr) -> usize {
    handover::count_inherited(address)
}

/// Binds a non-blocking socket, or gives one that was handed over; the address must else be free or, with
/// [`Share::PerThread`], shared by us.
pub fn bind_socket(
    role: &str,
    address: SocketAddr,
    share: Share,
) -> Result<std::net::TcpListener, RoleError> {
    let bound = match handover::take_inherited(address) {
        Some(inherited) => Ok(inherited),
        None => bind_anew(address, share),
    };
    let noted = bound.and_then(|socket| handover::note_bound(&socket).map(|()| socket));
    noted.map_err(|error| explain(role, address, &error))
}

/// Checks that nobody listens at an address.
pub fn check_free(role: &str, address: SocketAddr) -> Result<(), RoleError> {
    bind_anew(address, Share::Alone).map(drop).map_err(|error| explain(role, address, &error))
}

fn bind_anew(address: SocketAddr, share: Share) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share == Share::PerThread)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explain(role: &str, address: SocketAddr, error: &io::Error) -> RoleError {
    match error.kind() {
        io::ErrorKind::AddrInUse => fault(role, address, "another process listens there already"),
        _ => fault(role, address, error),
    }
}

/// A loopback port that nobody listens at and that the kernel gives to nobody else for as long as this lives.
///
/// For a role that starts later, at an address others know already, and for what must find nobody there. A
/// role binds it all the same: both sockets say `SO_REUSEADDR`, which allows it as long as one of them does
/// not listen. A port that was bound and given back may be another process's a moment later.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    _socket: Socket,
}

impl Reserved {
    /// Takes a port.
    pub fn take() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _socket: socket })
    }

    /// Gives its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Keeps it for as long as the process lives.
    pub fn until_exit(self) -> SocketAddr {
        let address = self.address;
        std::mem::forget(self);
        address
    }
}

/// Finds the address a configured `host:port` means.
pub fn resolve(role: &str, address: &str) -> Result<SocketAddr, RoleError> {
    let mut found = address.to_socket_addrs().map_err(|error| match error.kind() {
        // Not even of the form of one.
        io::ErrorKind::InvalidInput => fault(role, address, "write host:port, as in 127.0.0.1:8000"),
        _ => fault(role, address, error),
    })?;
    found.next().ok_or_else(|| fault(role, address, "the name has no address"))
}

fn fault(role: &str, address: impl ToString, reason: impl ToString) -> RoleError {
    RoleError::Listen { role: role.to_owned(), address: address.to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_loopback_a_token_is_needed() {
        let open = ClusterToken::default();
        let error = bind_internal("cache", "0.0.0.0:0", &open).unwrap_err().to_string();
        assert!(error.contains("no cluster token is set"), "{error}");
        assert!(bind_internal("cache", "127.0.0.1:0", &open).is_ok());
        let guarded = ClusterToken::new(Some(crate::Secret::new("token")));
        assert!(bind_internal("cache", "0.0.0.0:0", &guarded).is_ok());
    }

    #[test]
    fn a_port_alone_is_told_how_an_address_is_written() {
        for address in ["8000", "127.0.0.1", "localhost:http", "127.0.0.1:99999"] {
            let error = resolve("gateway", address).unwrap_err().to_string();
            assert!(error.contains(address) && error.contains("host:port"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind_public("gateway", "127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = bind_public("gateway", &address).unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("another process"), "{error}");
    }

    #[tokio::test]
    async fn a_reserved_port_refuses_callers_until_a_role_binds_it() {
        let reserved = Reserved::take().unwrap();
        let refused = tokio::net::TcpStream::connect(reserved.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let bound = bind_public("gateway", &reserved.address().to_string()).unwrap();
        assert_eq!(bound.local_addr().unwrap(), reserved.address());
        assert!(tokio::net::TcpStream::connect(reserved.address()).await.is_ok());
    }
}
