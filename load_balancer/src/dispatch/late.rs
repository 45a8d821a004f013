//! What is done about a request that takes long: when it is looked at, and whether it is sent to a second backend.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::hedge::PATIENCE;
use super::race::Race;
use super::{Lane, Way, hedge};
use crate::clock::now_ns;
use crate::selection::Candidate;

impl<'a, L: Lane> Way<'a, L> {
    /// How long the first attempt goes unwatched; `None` if nothing could be done about it anyway.
    pub(super) fn patience(&mut self) -> Option<Duration> {
        let could_help = self.retries > 0 && self.view.backends().len() > 1 && self.lane.is_repeatable();
        could_help.then(|| {
            let late = if self.is_at_home { None } else { self.balancer.hedge_delay() };
            // What is late after seconds looks sooner whether its backend is lost.
            self.is_late = late.is_some_and(|late| late <= PATIENCE);
            late.unwrap_or(PATIENCE).min(PATIENCE)
        })
    }

    /// Sends the request to a second backend because the first is slow, or was lost meanwhile; not one that may be
    /// sent only once, which is here because an attempt before this one did not reach its backend.
    pub(super) fn hedge<'r, P>(&mut self, race: &mut Race<'r, P, L::Reply>)
    where
        'a: 'r,
    {
        if !self.lane.is_repeatable() {
            return;
        }
        let now = now_ns();
        let Some(choice) = self.choose(&self.tried, now) else { return };
        if race.places().all(|index| self.view.backend(index).is_lost()) {
            if self.story.retries() < self.retries && self.spend_retry() {
                self.start(race, choice, now);
            }
        } else if self.story.hedges == 0
            && !self.is_at_home
            && self.is_late()
            && hedge::is_of_use(self.waited(), self.view.backend(choice.index).signals().latency_ns())
            // The first attempt may do without it, so that it comes within the limit.
            && self.view.backend(choice.index).has_place()
            && self.balancer.spend_hedge()
        {
            self.story.hedges += 1;
            self.balancer.cluster().counters().hedges.fetch_add(1, Relaxed);
            self.start(race, choice, now);
        }
    }

    /// Tells whether it takes longer than nearly all others do.
    fn is_late(&mut self) -> bool {
        self.is_late |= self.balancer.hedge_delay().is_some_and(|late| self.waited() >= late);
        self.is_late
    }

    /// Gives how long it has been on its way, once that is more than an instant.
    fn waited(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How long until it is looked again.
    pub(super) fn next_look(&self) -> Duration {
        match self.is_late && self.story.hedges == 0 {
            true => hedge::next_look(self.waited()),
            false => PATIENCE,
        }
    }
}
