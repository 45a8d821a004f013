//! One address, one socket a thread.

use std::net::{SocketAddr, TcpListener};

use process::listen::{self, Share};
use process::{Listening, RoleError};

/// The sockets of one address, one for each thread of the data plane.
#[derive(Debug)]
pub struct Listeners {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Binds an address for a number of threads; 0 means one a core.
    ///
    /// With port 0 the system gives one port, which all sockets share.
    pub fn bind(role: &str, address: &str, threads: usize) -> Result<Self, RoleError> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let asked = listen::resolve(role, address)?;
        // What waits in a socket that was handed over has no one else to accept it, so each gets a thread.
        let inherited = listen::count_inherited(asked);
        if inherited > threads {
            tracing::warn!(
                role,
                configured = threads,
                inherited,
                "as many threads as sockets were handed over"
            );
        }
        let threads = threads.max(inherited);
        let share = if threads == 1 { Share::Alone } else { Share::PerThread };
        if share == Share::PerThread && asked.port() != 0 && inherited == 0 {
            // Another process that shares the port too would go unnoticed, and get half the connections.
            listen::check_free(role, asked)?;
        }
        let first = listen::bind_socket(role, asked, share)?;
        let address = first.local_addr().map_err(|error| RoleError::start(role, error))?;
        let mut sockets = vec![first];
        while sockets.len() < threads {
            match listen::bind_socket(role, address, share) {
                Ok(socket) => sockets.push(socket),
                // One socket that was bound alone takes no others beside it.
                Err(error) if inherited > 0 => {
                    tracing::warn!(%error, threads = sockets.len(), "no more threads than were handed over");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { address, sockets })
    }

    /// Gives the address, with the port the system gave where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Describes the address for [`process::Bound`].
    pub fn listening(&self) -> Listening {
        Listening { protocol: "http", address: self.address }
    }

    /// Gives the number of threads that will serve.
    pub fn threads(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_share_the_port_the_system_gave() {
        let listeners = Listeners::bind("test", "127.0.0.1:0", 3).unwrap();
        assert_eq!(listeners.threads(), 3);
        for socket in listeners.into_sockets() {
            assert_ne!(socket.local_addr().unwrap().port(), 0);
        }
    }

    #[test]
    fn a_port_that_another_data_plane_shares_is_taken() {
        let first = Listeners::bind("test", "127.0.0.1:0", 2).unwrap();
        let error = Listeners::bind("test", &first.address().to_string(), 2).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
    }
}
