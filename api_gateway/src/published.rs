//! A document that a service publishes and the gateway keeps a copy of: keys, schemas.
//!
//! One background loop fetches it: soon and ever less often until it is there, then at a slow beat, and at
//! once when a request needs what the copy lacks. Requests read the copy without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use bytes::Bytes;
use process::HttpClient;
use rand::Rng;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The first pause after a fetch that failed; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause while there is no copy at all.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a request waits for a fetch it asked for.
const WAIT: Duration = Duration::from_secs(2);

/// The least time between two fetches that requests ask for while there is no copy.
const EAGER: Duration = Duration::from_millis(250);

/// How a fetch is made.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) client: HttpClient,
    /// The document at each instance of the service; the first that answers 200 is believed.
    pub(crate) urls: Vec<String>,
    /// The time between two fetches once there is a copy.
    pub(crate) refresh: Duration,
    /// The least time between two fetches that requests ask for.
    pub(crate) at_most_every: Duration,
}

/// A copy with the number that tells it from earlier ones.
#[derive(Debug)]
pub(crate) struct Version<T> {
    pub(crate) number: u64,
    pub(crate) content: T,
    body: Bytes,
}

/// The copy, which may not be there yet.
#[derive(Debug)]
pub(crate) struct Published<T> {
    current: ArcSwapOption<Version<T>>,
    source: Source,
    wanted: Notify,
    fetching: Mutex<Fetching>,
    fetches: watch::Sender<u64>,
    versions: AtomicU64,
}

/// Where fetching stands.
#[derive(Debug, Clone, Copy)]
struct Fetching {
    /// Whether a fetch is under way or certain to begin at once; whoever needs one waits for it.
    is_due: bool,
    /// When the last fetch ended.
    last: Option<Instant>,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// Makes a copy that is not there yet; [`Published::keep_fresh`] fetches it.
    pub(crate) fn new(source: Source) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            source,
            wanted: Notify::new(),
            // The first thing the loop does is to fetch.
            fetching: Mutex::new(Fetching { is_due: true, last: None }),
            fetches: watch::Sender::new(0),
            versions: AtomicU64::new(0),
        }
    }

    /// Gives the copy.
    pub(crate) fn load(&self) -> Guard<Option<Arc<Version<T>>>> {
        self.current.load()
    }

    /// Asks for a fetch and waits for it, unless there is a copy and it was fetched just now.
    ///
    /// While there is no copy it always waits for one more attempt, which is at most [`EAGER`] away: the
    /// service may be starting.
    pub(crate) async fn refetch(&self) {
        let mut fetches = self.fetches.subscribe();
        if let Some(wait) = self.wait_before_fetch() {
            if self.current.load().is_some() {
                return;
            }
            if tokio::time::timeout(wait, fetches.changed()).await.is_ok() {
                return;
            }
        }
        if !std::mem::replace(&mut self.fetching().is_due, true) {
            self.wanted.notify_one();
        }
        let _ = tokio::time::timeout(WAIT, fetches.changed()).await;
    }

    /// Tells how long requests must wait before they may ask for a fetch; `None` when one may be had.
    fn wait_before_fetch(&self) -> Option<Duration> {
        let Fetching { is_due, last } = *self.fetching();
        let at_most_every = if self.current.load().is_some() { self.source.at_most_every } else { EAGER };
        let wait = at_most_every.checked_sub(last?.elapsed())?;
        (!is_due && !wait.is_zero()).then_some(wait)
    }

    fn fetching(&self) -> MutexGuard<'_, Fetching> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the document again and again; ends when dropped.
    pub(crate) async fn keep_fresh(&self, what: &str, parse: impl Fn(&[u8]) -> Result<T, String>) {
        let mut failures = 0;
        loop {
            self.fetching().is_due = true;
            let fetched = self.fetch(&parse).await;
            // A wish from before this fetch is fulfilled by it.
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = std::future::ready(()) => {}
            }
            *self.fetching() = Fetching { is_due: false, last: Some(Instant::now()) };
            self.fetches.send_modify(|count| *count += 1);
            match fetched {
                Ok(()) => failures = 0,
                Err(reason) => {
                    failures += 1;
                    // The first failures are a service that starts later than the gateway.
                    if failures == 5 {
                        tracing::warn!(what, reason, "cannot be fetched; what is known stays in use");
                    }
                }
            }
            let is_known = self.current.load().is_some();
            let pause = choose_pause(failures, is_known, self.source.refresh, &mut rand::rng());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn fetch(&self, parse: &impl Fn(&[u8]) -> Result<T, String>) -> Result<(), String> {
        let mut reason = "the service has no instances".to_owned();
        for url in &self.source.urls {
            match self.source.client.get(url).await {
                Ok(answer) if answer.status == 200 => return self.take(answer.body, parse),
                Ok(answer) => reason = format!("{url} answered {}", answer.status),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    fn take(&self, body: Bytes, parse: &impl Fn(&[u8]) -> Result<T, String>) -> Result<(), String> {
        if self.current.load().as_ref().is_some_and(|version| version.body == body) {
            return Ok(());
        }
        let content = parse(&body)?;
        let number = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        self.current.store(Some(Arc::new(Version { number, content, body })));
        Ok(())
    }
}

/// Chooses the time until the next fetch; spread, so that gateways started together do not stay in step.
fn choose_pause(failures: u32, is_known: bool, refresh: Duration, rng: &mut impl Rng) -> Duration {
    let pause = match failures {
        0 => refresh,
        _ => {
            let longest = if is_known { refresh } else { LONGEST_PAUSE.min(refresh) };
            FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(longest)
        }
    };
    pause.mul_f64(rng.random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_missing_document_is_asked_for_soon_and_then_less_often() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pause =
            |failures, is_known| choose_pause(failures, is_known, Duration::from_secs(60), &mut rng);
        assert!(pause(1, false) < Duration::from_millis(120));
        assert!(pause(4, false) < Duration::from_secs(1));
        assert!(pause(100, false) < Duration::from_secs(6));
        assert!(pause(100, true) > Duration::from_secs(50));
        assert!(pause(0, true) > Duration::from_secs(50));
    }
}
