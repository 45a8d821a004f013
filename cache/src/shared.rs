//! The server's store as others in its process have it.

use std::sync::Arc;

use bytes::Bytes;
use process::RoleError;

use crate::clock::Clock;
use crate::config::Config;
use crate::role::ROLE;
use crate::store::{Condition, Deadline, Store, Write};

/// What the cache holds. A process that has the role gives it to the roles beside it, which then look into it directly
/// ([`Cache::local`](crate::Cache::local)); clones are the same store.
#[derive(Debug, Clone)]
pub struct SharedStore {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Clock,
    pub(crate) largest_value: u64,
}

impl SharedStore {
    /// Makes an empty store of the size that is configured.
    pub fn new(config: &Config) -> Result<Self, RoleError> {
        config.validate().map_err(|error| RoleError::start(ROLE, error))?;
        let store = Arc::new(Store::new(config.memory, config.max_value));
        Ok(Self { store, clock: Clock::start(), largest_value: config.max_value })
    }

    /// Reads a key.
    pub(crate) fn get(&self, key: &str) -> Option<Bytes> {
        self.store.get(key.as_bytes(), self.clock.now_ms())
    }

    /// Sets a key as the server would; tells whether it was set.
    pub(crate) fn set(&self, key: &str, value: &[u8], life_ms: u64, condition: Condition) -> bool {
        if value.len() as u64 > self.largest_value {
            return false;
        }
        let now_ms = self.clock.now_ms();
        // Copied, so that it takes no more memory than is counted.
        let write = Write::new(Bytes::copy_from_slice(value))
            .deadline(Deadline::At(now_ms.saturating_add(life_ms)))
            .condition(condition);
        self.store.set(key.as_bytes(), write, now_ms).stored
    }

    /// Removes a key.
    pub(crate) fn remove(&self, key: &str) {
        self.store.remove(key.as_bytes(), self.clock.now_ms());
    }
}
