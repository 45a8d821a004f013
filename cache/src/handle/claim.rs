//! Claims: which of those that begin something at once goes on, as far as the cache knows.
//!
//! A claim is a key that is set only where nothing is, for a time. It is no lock: a cache that is down, or that
//! forgets, lets two go on, and so who claims must be safe without it. What it gives is a quick answer to the second.

use std::time::Duration;

use tokio::time::Instant;

use super::Cache;

/// What became of a claim.
#[derive(Debug)]
pub enum Claim {
    /// It is the caller's, until it is given up or its time is over.
    Mine(Claimed),
    /// It is somebody else's.
    Taken,
    /// The cache was not reached in time.
    Unknown,
}

/// A claim of this process.
#[derive(Debug)]
pub struct Claimed {
    key: String,
    until: Instant,
}

impl Cache {
    /// Claims a name for a time.
    pub async fn claim(&self, name: &str, time: Duration) -> Claim {
        let key = key(name);
        // Before it is sent, so that nobody gives up a claim that has become another's.
        let until = Instant::now() + time;
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        match self.0.link.set_absent(&key, b"1", time_ms).await {
            Ok(false) => Claim::Taken,
            Ok(true) => Claim::Mine(Claimed { key, until }),
            Err(_) => Claim::Unknown,
        }
    }

    /// Gives a claim up; one that is not given up ends by itself.
    pub async fn give_up(&self, claimed: Claimed) {
        if Instant::now() < claimed.until {
            // Unanswered, it ends with its time.
            let _ = self.0.link.remove(&claimed.key).await;
        }
    }
}

fn key(name: &str) -> String {
    format!("claim:{name}")
}
