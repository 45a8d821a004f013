//! How busy the threads are that send requests and take answers in.
//!
//! Latency is measured by them. One that has more to do than it can finds an answer later than it came, and what
//! looks like a queue at a backend is its own: a limit that followed it would throttle backends that are idle.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

use super::Cluster;

/// The share of its time from which on a thread's own queue is what it measures. At nine tenths busy a queue of one
/// server is nine long on average.
const SATURATED: f64 = 0.9;

/// A thread of the data plane, for as long as it serves the cluster.
#[derive(Debug)]
pub(crate) struct Thread {
    metrics: RuntimeMetrics,
    /// How long it had been busy when that was last looked at.
    seen_ns: AtomicU64,
}

impl Thread {
    /// Gives the share of a time that it was busy, since this was last asked.
    fn busy_share(&self, elapsed: Duration) -> f64 {
        let busy =
            (0..self.metrics.num_workers()).map(|worker| self.metrics.worker_total_busy_duration(worker));
        let busy_ns = u64::try_from(busy.max().unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        let before_ns = self.seen_ns.swap(busy_ns, Relaxed);
        busy_ns.saturating_sub(before_ns) as f64 / (elapsed.as_nanos() as f64).max(1.0)
    }
}

impl Cluster {
    /// Notes that the present thread sends requests; it counts until what this gives is dropped.
    pub(crate) fn note_thread(&self) -> Option<Arc<Thread>> {
        let metrics = Handle::try_current().ok()?.metrics();
        let thread = Arc::new(Thread { metrics, seen_ns: AtomicU64::new(0) });
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| thread.strong_count() > 0);
        threads.push(Arc::downgrade(&thread));
        Some(thread)
    }

    /// Tells whether a thread had more to do than it could, since this was last asked.
    pub(super) fn look_at_threads(&self, elapsed: Duration) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // All are asked: each remembers when it was.
        let shares = threads.iter().filter_map(Weak::upgrade).map(|thread| thread.busy_share(elapsed));
        let is_saturated = shares.fold(0.0, f64::max) >= SATURATED;
        self.is_saturated.store(is_saturated, Relaxed);
        is_saturated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Options;

    #[tokio::test]
    async fn a_thread_that_only_works_is_saturated_and_one_that_waits_is_not() {
        let cluster = Cluster::new("test", &["127.0.0.1:1".to_owned()], Options::default());
        let thread = cluster.note_thread();
        assert!(thread.is_some());
        // What is told is as of the last time the runtime looked for events.
        let rest = Duration::from_millis(20);
        tokio::time::sleep(rest).await;
        cluster.look_at_threads(rest);
        let began = std::time::Instant::now();
        while began.elapsed() < rest {
            std::hint::spin_loop();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(cluster.look_at_threads(rest), "it did nothing else");
        tokio::time::sleep(rest).await;
        assert!(!cluster.look_at_threads(rest));
        drop(thread);
        assert!(cluster.threads.lock().unwrap().iter().all(|thread| thread.upgrade().is_none()));
    }
}
