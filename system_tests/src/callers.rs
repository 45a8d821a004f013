//! Callers that never rest: a closed loop, for tests in which no request may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinSet;

use crate::wait_until;

/// A number of callers, each of which sends its next request when it has the answer to the last.
pub struct Callers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: JoinSet<Vec<String>>,
}

impl Callers {
    /// Starts `count` callers; `call`, given a caller's number, sends one request and says what is wrong with
    /// its answer.
    pub fn start<F>(count: usize, call: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send,
    {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let call = Arc::new(call);
        let mut callers = JoinSet::new();
        for caller in 0..count {
            let (call, stop, answered) = (Arc::clone(&call), Arc::clone(&stop), Arc::clone(&answered));
            callers.spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match call(caller).await {
                        Ok(()) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(failure) => failures.push(format!("caller {caller}: {failure}")),
                    }
                }
                failures
            });
        }
        Self { stop, answered, callers }
    }

    /// Waits until `count` more requests were answered.
    pub async fn answer(&self, count: u64) {
        let target = self.answered.load(Ordering::Relaxed) + count;
        wait_until("the load is answered", || async { self.answered.load(Ordering::Relaxed) >= target })
            .await;
    }

    /// Stops, and gives what failed.
    pub async fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            failures.extend(caller.expect("a caller ends"));
        }
        failures
    }
}
