//! The sockets a process was handed and those it would hand on.
//!
//! One list a process, because the sockets are the process's: roles bind through [`crate::listen`] and need
//! not know of handovers. Without `process.handover` the list stays empty.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

static SOCKETS: Mutex<Sockets> = Mutex::new(Sockets { inherited: Vec::new(), kept: None });

/// The list; a type of its own, so that tests need not share the process's.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Handed over and not used yet.
    inherited: Vec<TcpListener>,
    /// Copies of those in use, when there may be a successor.
    kept: Option<Vec<TcpListener>>,
}

impl Sockets {
    pub(super) fn inherit(&mut self, sockets: Vec<TcpListener>) {
        self.inherited = sockets;
    }

    pub(super) fn count(&self, address: SocketAddr) -> usize {
        self.inherited.iter().filter(|socket| is_at(socket, address)).count()
    }

    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let place = self.inherited.iter().position(|socket| is_at(socket, address))?;
        Some(self.inherited.remove(place))
    }

    fn note(&mut self, socket: &TcpListener) -> std::io::Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.push(socket.try_clone()?);
        }
        Ok(())
    }
}

fn is_at(socket: &TcpListener, address: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|bound| bound == address)
}

fn sockets() -> MutexGuard<'static, Sockets> {
    SOCKETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a copy of every socket bound from now on, to hand to a successor.
pub fn keep_for_successor() {
    sockets().kept.get_or_insert_default();
}

/// Closes the copies. A stopping process must, or its ports would stay open while it drains, with nobody
/// to accept.
pub fn let_go() {
    sockets().kept = None;
}

/// Closes what was handed over and no role bound, and gives the addresses; call it when all are bound.
pub fn drop_unused() -> Vec<SocketAddr> {
    let unused = std::mem::take(&mut sockets().inherited);
    let mut addresses: Vec<SocketAddr> =
        unused.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    addresses.dedup();
    addresses
}

pub(super) fn inherit(handed: Vec<TcpListener>) {
    sockets().inherit(handed);
}

/// Copies the sockets in use, for a successor.
pub(super) fn copies() -> std::io::Result<Vec<TcpListener>> {
    sockets().kept.iter().flatten().map(TcpListener::try_clone).collect()
}

/// Tells how many sockets of an address were handed over and are not used yet.
pub(crate) fn count_inherited(address: SocketAddr) -> usize {
    sockets().count(address)
}

/// Takes a socket of an address that was handed over.
pub(crate) fn take_inherited(address: SocketAddr) -> Option<TcpListener> {
    sockets().take(address)
}

/// Notes a socket in use, so that it can be handed on.
pub(crate) fn note_bound(socket: &TcpListener) -> std::io::Result<()> {
    sockets().note(socket)
}
