//! Where the keys lie: in another process that is asked over RESP, or in this one.
//!
//! The one case is not made of the other: a process that has the cache role looks into its store without a socket in
//! between, which is the larger part of what a cached read costs.

use bytes::Bytes;
use process::ClusterToken;

use super::remote::Remote;
use crate::config::Config;
use crate::shared::SharedStore;
use crate::store::Condition;

/// The way to the cache.
///
/// Calls over RESP are boxed: the future of every request would else have room for them, and is moved, with what it does
/// not use, too.
pub(super) enum Link {
    Remote(Box<Remote>),
    Local(SharedStore),
    /// There is no cache, and never will be.
    None,
}

/// No answer came in time, or none that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnswer;

impl Link {
    /// Prepares a connection and makes none yet.
    pub(super) fn to(config: &Config, token: &ClusterToken) -> Self {
        Remote::new(config, token).map_or(Self::None, |remote| Self::Remote(Box::new(remote)))
    }

    /// Tells whether there is no cache and never will be.
    pub(super) fn is_disabled(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Tells whether a call would be made; of those who ask after a pause, one is told so.
    pub(super) fn is_worth_trying(&self) -> bool {
        match self {
            Self::Remote(remote) => remote.is_worth_trying(),
            Self::Local(_) => true,
            Self::None => false,
        }
    }

    /// Reads a key.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, NoAnswer> {
        match self {
            Self::Remote(remote) => Box::pin(remote.get(key)).await,
            Self::Local(shared) => Ok(shared.get(key)),
            Self::None => Err(NoAnswer),
        }
    }

    /// Sets a key where nothing is; tells whether it was set.
    pub(super) async fn set_absent(&self, key: &str, value: &[u8], life_ms: u64) -> Result<bool, NoAnswer> {
        match self {
            Self::Remote(remote) => Box::pin(remote.set_absent(key, value, life_ms)).await,
            Self::Local(shared) => Ok(shared.set(key, value, life_ms, Condition::Absent)),
            Self::None => Err(NoAnswer),
        }
    }

    /// Sets keys whatever is there, also of a cache that is thought to be down, and waits longer.
    pub(super) async fn set_all<'k>(
        &self,
        entries: impl ExactSizeIterator<Item = (&'k str, Vec<u8>)>,
        life_ms: u64,
    ) -> Result<(), NoAnswer> {
        match self {
            Self::Remote(remote) => Box::pin(remote.set_all(entries, life_ms)).await,
            Self::Local(shared) => {
                for (key, value) in entries {
                    shared.set(key, &value, life_ms, Condition::None);
                }
                Ok(())
            }
            Self::None => Err(NoAnswer),
        }
    }

    /// Removes a key.
    pub(super) async fn remove(&self, key: &str) -> Result<(), NoAnswer> {
        match self {
            Self::Remote(remote) => Box::pin(remote.remove(key)).await,
            Self::Local(shared) => {
                shared.remove(key);
                Ok(())
            }
            Self::None => Err(NoAnswer),
        }
    }
}
