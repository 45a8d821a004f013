//! Whether a request is taken on at all, and how it waits for a place.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Cluster;
use crate::queue::{Overloaded, Patience, Ticket};

/// A request that was taken on; dropping it makes room for another.
#[derive(Debug)]
pub struct Admission(Arc<Cluster>);

impl Cluster {
    /// Takes a request on, unless too many are worked on already; decided at once.
    pub fn admit(self: &Arc<Self>) -> Result<Admission, Overloaded> {
        let most = self.options.load().limit.total;
        let total = self.total.fetch_add(1, Relaxed) + 1;
        let admission = Admission(Arc::clone(self));
        if most != 0 && total > most {
            self.counters.count_shed(Overloaded::TotalLimit);
            return Err(Overloaded::TotalLimit);
        }
        Ok(admission)
    }

    /// Gives the requests taken on.
    pub fn total(&self) -> u32 {
        self.total.load(Relaxed)
    }

    /// Gives the requests that wait for a place.
    pub fn waiting(&self) -> usize {
        self.home.queue.len()
    }

    /// Joins the queue of those that found every backend at its limit, or none at all.
    ///
    /// Refused at once when too many wait, or when no backend has been available for longer than anybody
    /// should wait. Then wait for one's [`Ticket::turn`], look for a place, wait again if there is none, and so
    /// on; then [`Ticket::leave`].
    pub fn join_queue(&self, now_ns: u64) -> Result<Ticket, Overloaded> {
        let options = self.options.load();
        let limit = &options.limit;
        let wait = match self.outage_ns.load(Relaxed) {
            0 => limit.queue_wait,
            since => limit.outage_wait.saturating_sub(Duration::from_nanos(now_ns.saturating_sub(since))),
        };
        let patience = Patience { wait, longest: limit.outage_wait.saturating_add(limit.queue_wait) };
        let joined = match wait.is_zero() {
            true => Err(Overloaded::WaitedTooLong),
            false => self.home.queue.join(limit.queue, patience),
        };
        let ticket = joined.inspect_err(|reason| self.counters.count_shed(*reason))?;
        self.tell_waiting();
        Ok(ticket)
    }

    /// Tells as many of those that wait as there are places: never all of them, who would only be in each
    /// other's way.
    pub(super) fn tell_waiting(&self) {
        if self.has_queue() {
            let members = self.members.load();
            let free: usize = members.backends.iter().map(|backend| backend.free_places() as usize).sum();
            self.home.queue.tell(free);
        }
    }

    /// Tells whether others wait already, so that who comes now should queue up behind them.
    pub fn has_queue(&self) -> bool {
        !self.home.queue.is_empty()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.total.fetch_sub(1, Relaxed);
    }
}
