//! The RESP server: a declared subset of Redis' commands over RESP2 and RESP3.
//!
//! A connection's bytes land in one buffer; [`parse`] finds the requests in it, [`command`] does each at once
//! on the store, and [`reply`] gathers the answers until the buffer is used up, so that a pipeline costs one
//! read and one write. Nothing but the socket is ever waited for.

mod command;
mod inline;
mod parse;
mod reply;
mod serve;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use process::ClusterToken;

use crate::clock::Clock;
use crate::store::Store;

pub(crate) use serve::serve;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Clock,
    pub(crate) token: ClusterToken,
    /// Bytes of the largest value.
    pub(crate) largest_value: u64,
    pub(crate) connections_limit: usize,
    /// How long a connection may say nothing, or not read what it asked for.
    pub(crate) idle_timeout: Duration,
    pub(crate) connections: AtomicUsize,
    pub(crate) last_id: AtomicI64,
}

impl Server {
    fn connected(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// What one connection has said about itself.
#[derive(Debug, Default)]
struct Session {
    id: i64,
    name: Vec<u8>,
    is_authenticated: bool,
    /// Whether the connection ends once what was answered is written.
    is_closing: bool,
}

impl Session {
    fn is_trusted(&self, server: &Server) -> bool {
        self.is_authenticated || !server.token.is_set()
    }
}
