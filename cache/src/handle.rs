//! The handle through which a role reads and invalidates: cache-aside over RESP, without stale sets.

use std::time::Duration;

use bytes::Bytes;

/// The shared cache as a role sees it; clones share one connection.
#[derive(Debug, Clone)]
pub struct Cache {}

/// What a read of the cache found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The value.
    Hit(Bytes),
    /// Nothing, and the value may be stored through this ticket once it is loaded.
    Miss(Fill),
    /// The cache was not reached in time: load the value and store nothing.
    Unavailable,
}

/// The right to store one loaded value, unless the key was invalidated since the miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {}

impl Cache {
    /// Reads a key; a cache that is down or slow is no error, only [`Found::Unavailable`].
    pub async fn read(&self, _key: &str) -> Found {
        Found::Unavailable
    }

    /// Stores a loaded value for `ttl` (jittered), unless the key was invalidated since the miss.
    pub async fn fill(&self, _fill: Fill, _value: Bytes, _ttl: Duration) {}

    /// Invalidates keys: after it returns, no read returns a value that was loaded before it.
    pub async fn invalidate(&self, _keys: &[String]) {}
}
