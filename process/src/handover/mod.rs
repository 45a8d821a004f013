//! Handing the listeners of a running process to the one that replaces it.
//!
//! A process with `process.handover` set offers its listeners on a Unix socket in that folder, named after
//! its role ([`Offer`]). A process that starts and finds a living one there asks for them ([`Successor`]):
//! it gets each socket as a descriptor (`SCM_RIGHTS`), binds its roles on those whose address it still
//! wants, and says that it is ready. Only then the old process stops, and drains within its grace. Because
//! both hold the same sockets, no connection in a backlog is lost; because the old one waits for the word,
//! a successor that fails to start changes nothing.
//!
//! 1. The successor connects and says who it is: [`Hello`]. The old one checks the user, the version of
//!    this protocol and the role, and answers [`Reply::Sockets`] or [`Reply::Refused`].
//! 2. The sockets follow, each as one byte with one descriptor.
//! 3. The successor starts, and says [`Word::Ready`]; the old one answers [`Word::Stopping`] and stops.
//!    A connection that ends before means that the successor is gone: the old one goes on.

mod folder;
mod frame;
mod offer;
mod sockets;
mod successor;

use serde::{Deserialize, Serialize};

pub use folder::{FolderFault, Place};
pub use offer::Offer;
pub(crate) use sockets::{count_inherited, note_bound, take_inherited};
pub use sockets::{drop_unused, keep_for_successor, let_go};
pub use successor::{Successor, TakeOverError};

/// The version of this protocol; one with another number is refused.
const PROTOCOL: u32 = 1;

/// What a successor says first.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    version: String,
    pid: u32,
    /// What the process runs; the sockets of another role are not for it.
    role: String,
}

/// What the old process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// So many sockets follow.
    Sockets { version: String, pid: u32, count: usize },
    /// Nothing follows.
    Refused { reason: String },
}

/// What is said once the sockets are handed over.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// The successor serves.
    Ready,
    /// The old process stops.
    Stopping,
}

#[cfg(test)]
mod tests;
