//! One timer for all that a connection waits for.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

thread_local! {
    static STOCK: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// How many timers a thread keeps at most.
const STOCK_LIMIT: usize = 1024;

/// The timer of a connection or a stream, lent by the thread when something is waited for first.
///
/// Deadlines of later requests are later, so it is left to run out at an earlier one and only then set anew:
/// about once in the time a request may take, and not with every request.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Tells whether a deadline has passed; if not, wakes the task by then.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let lend = || STOCK.with_borrow_mut(Vec::pop).unwrap_or_else(|| Box::pin(sleep_until(deadline)));
        let sleep = self.sleep.get_or_insert_with(lend);
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(mut sleep) = self.sleep.take() else { return };
        // A thread that is ending has no stock any more.
        let _ = STOCK.try_with(|stock| {
            let mut stock = stock.borrow_mut();
            if stock.len() < STOCK_LIMIT {
                // It keeps running, and must not hold a task that has ended.
                let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                stock.push(sleep);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_is_kept_although_the_timer_runs_out_before() {
        let start = Instant::now();
        let mut timer = Timer::default();
        let seconds = |count| start + Duration::from_secs(count);
        let first = poll_fn(|cx| Poll::Ready(timer.poll_due(cx, seconds(10)))).await;
        assert!(!first);
        let mut wait = async |deadline| {
            poll_fn(|cx| if timer.poll_due(cx, deadline) { Poll::Ready(()) } else { Poll::Pending }).await;
            Instant::now() - start
        };
        assert_eq!(wait(seconds(30)).await.as_secs(), 30);
        assert_eq!(wait(seconds(31)).await.as_secs(), 31);
        assert_eq!(wait(seconds(20)).await.as_secs(), 31, "one that has passed is due at once");
    }
}
