//! While it is not known which cached records are true, none is believed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Until when nothing cached is believed; shared by a service's reads and its follower.
#[derive(Debug, Default)]
pub(crate) struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    /// Begins to doubt, for as long as what is cached now may live.
    pub(crate) fn rise(&self, longest_life: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + longest_life);
    }

    /// Tells whether records are to be read from the database.
    pub(crate) fn is_there(&self) -> bool {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.filter(|until| Instant::now() < *until);
        until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_doubt_ends_when_what_was_cached_has_expired() {
        let doubt = Doubt::default();
        assert!(!doubt.is_there());
        doubt.rise(Duration::from_secs(66));
        tokio::time::advance(Duration::from_secs(65)).await;
        assert!(doubt.is_there());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!doubt.is_there());
    }
}
