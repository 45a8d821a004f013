//! Calls to the destination that may hang, as those to a share whose server is away do.
//!
//! Each has a deadline, and a thread of its own meanwhile. One that misses it is left behind; until it ends no other is
//! made, so that there is never more than one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What calls to one destination go through.
#[derive(Debug)]
pub(super) struct Calls {
    timeout: Duration,
    left: Mutex<Option<JoinHandle<()>>>,
}

impl Calls {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, left: Mutex::default() }
    }

    /// Does something at the destination, and fails when that takes too long.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut left) = left
            && tokio::time::timeout(self.timeout, &mut left).await.is_err()
        {
            return Err(self.give_up(left));
        }
        let (tell, told) = oneshot::channel();
        let running = tokio::task::spawn_blocking(move || drop(tell.send(work())));
        match tokio::time::timeout(self.timeout, told).await {
            Ok(done) => done.unwrap_or_else(|_| Err("the call to the destination broke off".to_owned())),
            Err(_) => Err(self.give_up(running)),
        }
    }

    fn give_up(&self, running: JoinHandle<()>) -> String {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        format!("the destination does not answer within {:?}", self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up_and_no_other_made_until_it_ends() {
        let calls = Calls::new(Duration::from_millis(20));
        assert_eq!(calls.call(|| Ok(1)).await, Ok(1));
        assert_eq!(calls.call(|| Err::<(), _>("no".to_owned())).await, Err("no".to_owned()));
        let (release, held) = mpsc::channel::<()>();
        let hanging = calls.call(move || held.recv().map_err(|error| error.to_string())).await;
        assert!(hanging.unwrap_err().contains("does not answer within 20ms"));
        let (made, is_made) = mpsc::channel();
        let note = made.clone();
        assert!(calls.call(move || note.send(()).map_err(|error| error.to_string())).await.is_err());
        assert!(is_made.try_recv().is_err(), "it was not begun");
        drop(release);
        calls.call(move || made.send(()).map_err(|error| error.to_string())).await.unwrap();
        is_made.try_recv().unwrap();
    }
}
