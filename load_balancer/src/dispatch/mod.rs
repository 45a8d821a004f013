//! One request's way through a cluster: find a place at a backend, try it, and try another where that is safe.
//!
//! The two lanes differ in how a request is sent and an answer read ([`Lane`]); everything that is decided is
//! decided here, once. A request that may be repeated is sent elsewhere when an attempt fails, when its backend
//! is lost while it works on it, and when it takes longer than nearly all others do (a hedge; the first good
//! answer counts, and the other exchange is broken off). What may not be repeated is sent elsewhere only if
//! nothing of it was sent.

pub(crate) mod alarm;
pub(crate) mod budget;
pub mod hedge;
mod lane;
mod late;
mod place;
mod race;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proxy::ForwardError;
use tokio::time::Instant;

pub(crate) use lane::{Asked, Lane};
pub use place::Passing;
pub(crate) use place::Sent;

use self::hedge::PATIENCE;
use self::place::{Outcome, Place, attempt};
use self::race::Race;
use crate::balancer::{Balancer, SendError};
use crate::clock::now_ns;
use crate::explain::Story;
use crate::selection::{Choice, Reason};
use crate::view::View;

/// One request on its way.
pub(crate) struct Way<'a, L> {
    balancer: &'a Balancer,
    view: Rc<View>,
    lane: &'a L,
    asked: Asked,
    retries: u32,
    /// The backends it was sent to, once it is sent to a second one.
    tried: Vec<usize>,
    /// Since when it is on its way, once that matters.
    since: Option<Instant>,
    /// It is late, once the first alarm has rung: that was set for when it would be.
    is_late: bool,
    /// It is where it belongs, by its cookie or its key.
    is_at_home: bool,
    /// What can be told of the way afterwards.
    pub(crate) story: Story,
}

impl<'a, L: Lane> Way<'a, L> {
    /// Prepares to send a request; `retries` bounds how often it is sent again.
    pub(crate) fn new(
        balancer: &'a Balancer,
        view: Rc<View>,
        lane: &'a L,
        asked: Asked,
        retries: u32,
    ) -> Self {
        Self {
            balancer,
            view,
            lane,
            asked,
            retries,
            tried: Vec::new(),
            since: None,
            is_late: false,
            is_at_home: false,
            story: Story::default(),
        }
    }

    /// Sends the request and gives the first good answer, or else the best of the others.
    pub(crate) async fn go(&mut self) -> Result<Sent<L::Reply>, SendError> {
        self.balancer.note_request(&self.view);
        let limited = self.view.limits_total();
        let admission = limited.then(|| self.balancer.cluster().admit()).transpose()?;
        let mut sent = self.send().await?;
        sent.passing.admission = admission;
        Ok(sent)
    }

    async fn send(&mut self) -> Result<Sent<L::Reply>, SendError> {
        let place = self.obtain_place().await?;
        let first = place.index;
        let (lane, view) = (self.lane, Rc::clone(&self.view));
        let mut attempt = pin!(attempt(lane, &view, place));
        let patience = self.patience();
        let outcome = match patience {
            None => Some(attempt.as_mut().await),
            Some(patience) => race::before(attempt.as_mut(), self.balancer.alarm(patience)).await,
        };
        match outcome {
            Some(outcome) if self.is_good(&outcome) || !self.may_go_on(&outcome) => self.finish(outcome),
            outcome => {
                self.tried.push(first);
                let took = outcome.as_ref().map(|outcome| Duration::from_nanos(outcome.took_ns));
                self.since = Instant::now().checked_sub(took.or(patience).unwrap_or_default());
                let race = if outcome.is_some() { Race::over(attempt) } else { Race::with(first, attempt) };
                // Boxed: it is rare, and would make the future of every request larger.
                Box::pin(self.go_on(race, outcome)).await
            }
        }
    }

    /// Goes on with a request whose first attempt failed or takes long.
    async fn go_on<'r, P>(
        &mut self,
        mut race: Race<'r, P, L::Reply>,
        mut outcome: Option<Outcome<L::Reply>>,
    ) -> Result<Sent<L::Reply>, SendError>
    where
        P: Future<Output = Outcome<L::Reply>>,
        'a: 'r,
    {
        let mut bad: Option<Outcome<L::Reply>> = None;
        loop {
            match outcome {
                None => self.hedge(&mut race),
                Some(ended) if self.is_good(&ended) => {
                    if self.story.hedges > 0 && race.has_first() {
                        self.balancer.cluster().counters().hedges_won.fetch_add(1, Relaxed);
                    }
                    return self.finish(ended);
                }
                Some(ended) => {
                    if self.may_go_on(&ended) {
                        self.send_again(&mut race, &ended.result);
                    }
                    // An answer tells the client more than that there was none.
                    if ended.result.is_ok() || bad.as_ref().is_none_or(|bad| bad.result.is_err()) {
                        bad = Some(ended);
                    }
                }
            }
            if race.is_empty() {
                return match bad {
                    Some(bad) if self.may_wait(&bad) => self.wait_and_send(bad).await,
                    Some(bad) => self.finish(bad),
                    None => Err(SendError::NoBackend),
                };
            }
            outcome = race.next(self.balancer.alarm(self.next_look())).await;
        }
    }

    /// Tells whether it is at the backend its client's cookie names, and that is well.
    fn is_with_its_own(&self) -> bool {
        self.is_at_home && self.asked.sticky.is_some_and(|index| !self.view.backend(index).is_lost())
    }

    /// Tells whether an outcome is an answer that need not be asked for elsewhere.
    fn is_good(&self, outcome: &Outcome<L::Reply>) -> bool {
        let status = outcome.result.as_ref().map(|sent| self.lane.status(&sent.reply));
        status.is_ok_and(|status| !Balancer::is_worth_repeating(status))
    }

    /// Tells whether the request may be sent again after a bad outcome.
    fn may_go_on(&self, outcome: &Outcome<L::Reply>) -> bool {
        self.story.retries() < self.retries
            && match &outcome.result {
                // Another would answer without the client's session.
                Ok(_) => self.lane.is_repeatable() && !self.is_with_its_own(),
                Err(error) => self.lane.can_repeat(error),
            }
    }

    /// Sends the request to another backend after an attempt failed, if the budget allows.
    fn send_again<'r, P>(
        &mut self,
        race: &mut Race<'r, P, L::Reply>,
        failed: &Result<Sent<L::Reply>, ForwardError>,
    ) where
        'a: 'r,
    {
        let now = now_ns();
        let elsewhere = || self.choose(&self.tried, now);
        let again = || self.choose_again(failed, now);
        let choice =
            if self.is_with_its_own() { again().or_else(elsewhere) } else { elsewhere().or_else(again) };
        let Some(choice) = choice else { return };
        if !self.spend_retry() {
            return;
        }
        if let Err(error) = failed {
            let (cluster, backend) = (self.balancer.cluster().name(), self.view.backend(choice.index).name());
            tracing::debug!(%error, cluster, backend, "sent elsewhere");
        }
        self.start(race, choice, now);
    }

    /// Chooses among the backends that had the request once already. A connection can break between two
    /// requests; a backend that refuses one is not asked twice, and none is sent a request three times, which
    /// may be what breaks it.
    fn choose_again(&self, failed: &Result<Sent<L::Reply>, ForwardError>, now: u64) -> Option<Choice> {
        let was_broken = matches!(failed, Err(error) if !error.is_unsent());
        if !was_broken || self.lane.was_resent() {
            return None;
        }
        let had_it = |index: &usize| self.tried.iter().filter(|tried| *tried == index).count();
        let twice: Vec<usize> = self.tried.iter().copied().filter(|index| had_it(index) > 1).collect();
        self.choose(&twice, now)
    }

    /// Tells whether a request all attempts of which failed may wait for a backend that works. What this process
    /// has no descriptor for would keep its client's meanwhile.
    fn may_wait(&self, outcome: &Outcome<L::Reply>) -> bool {
        let may = |error: &ForwardError| error.tells_of_backend() && self.lane.can_repeat(error);
        self.retries > 0 && matches!(&outcome.result, Err(error) if may(error))
    }

    /// Sends a request again when backends that failed it, one after the other, turn out to be gone, as when all
    /// are restarted at once: a moment later that is known, and it waits like those that come then.
    ///
    /// While none could be reached, for as long as requests wait in an outage: with few requests it takes many
    /// such moments until all that are gone are known to be, and the first that is back may be overrun by all who
    /// waited. That burdens nobody, so no budget counts it.
    async fn wait_and_send(&mut self, mut bad: Outcome<L::Reply>) -> Result<Sent<L::Reply>, SendError> {
        let cluster = self.balancer.cluster();
        let until = Instant::now() + self.view.outage_wait();
        cluster.doubt_all();
        for time in 0_u32.. {
            self.balancer.alarm(PATIENCE).await;
            let is = |kind: fn(&ForwardError) -> bool| matches!(&bad.result, Err(error) if kind(error));
            let may = if is(ForwardError::is_unreached) {
                time < self.retries || Instant::now() < until
            } else if is(ForwardError::is_unsent) {
                self.story.retries() < self.retries && self.balancer.spend_retry()
            } else {
                // What breaks the connections of backends that stay well may be the request itself.
                time < self.retries && !cluster.is_available() && self.balancer.spend_retry()
            };
            if !may {
                break;
            }
            cluster.counters().retries.fetch_add(1, Relaxed);
            let place = self.obtain_place().await?;
            let view = Rc::clone(&self.view);
            bad = attempt(self.lane, &view, place).await;
            if !self.may_wait(&bad) {
                break;
            }
        }
        self.finish(bad)
    }

    fn spend_retry(&self) -> bool {
        let may = self.balancer.spend_retry();
        if may {
            self.balancer.cluster().counters().retries.fetch_add(1, Relaxed);
        }
        may
    }

    fn start<'r, P>(&mut self, race: &mut Race<'r, P, L::Reply>, choice: Choice, now: u64)
    where
        'a: 'r,
    {
        // What failed is sent again whatever the limit: the budget bounds how many come so, and they are wanted more
        // than those that wait.
        let place = self.begin(choice, now, self.view.backend(choice.index).begin(now));
        self.tried.push(choice.index);
        let (lane, view) = (self.lane, Rc::clone(&self.view));
        race.push(choice.index, Box::pin(async move { attempt(lane, &view, place).await }));
    }

    /// Takes a place, or queues up for one, as also when others wait already.
    async fn obtain_place(&mut self) -> Result<Place, SendError> {
        let found = if self.balancer.cluster().has_queue() { None } else { self.take_place(now_ns()) };
        match found {
            Some(place) => Ok(place),
            // Boxed: it is rare, and would make the future of every request larger.
            None => Box::pin(self.wait_for_place()).await,
        }
    }

    /// Takes a place at the best backend that has one.
    fn take_place(&mut self, now: u64) -> Option<Place> {
        // Allocates only when a backend is full.
        let mut full = Vec::new();
        loop {
            let choice = self.choose(&full, now)?;
            if let Some(in_flight) = self.view.backend(choice.index).try_begin(now) {
                return Some(self.begin(choice, now, in_flight));
            }
            full.push(choice.index);
        }
    }

    /// Queues up for a place.
    async fn wait_for_place(&mut self) -> Result<Place, SendError> {
        let cluster = self.balancer.cluster();
        let since = now_ns();
        let refused = |reason| {
            if cluster.is_available() { SendError::Overloaded(reason) } else { SendError::NoBackend }
        };
        let mut ticket = cluster.join_queue(since).map_err(refused)?;
        loop {
            if let Err(reason) = ticket.turn().await {
                self.story.queue_ns = now_ns().saturating_sub(since);
                cluster.counters().count_shed(reason);
                return Err(refused(reason));
            }
            // Members may have changed while it waited; an index of before means another backend then.
            let view = self.balancer.view();
            if !Rc::ptr_eq(&view, &self.view) {
                let named = self.asked.sticky.map(|index| self.view.backend(index));
                self.asked.sticky = named.and_then(|backend| view.find(backend));
                self.view = view;
            }
            let now = now_ns();
            if let Some(place) = self.take_place(now) {
                ticket.leave();
                self.story.queue_ns = now.saturating_sub(since);
                return Ok(place);
            }
        }
    }

    fn begin(&mut self, choice: Choice, now: u64, in_flight: crate::InFlight) -> Place {
        self.story.attempts += 1;
        self.story.considered = choice.considered;
        self.story.reason = choice.reason.as_str();
        self.is_at_home = matches!(choice.reason, Reason::Hashed | Reason::Sticky);
        Place::new(choice.index, in_flight, now)
    }

    fn choose(&self, excluded: &[usize], now: u64) -> Option<Choice> {
        // Where nothing is sent again, none is to be spared what another could find out.
        let is_repeatable = self.retries == 0 || self.lane.is_repeatable();
        self.balancer.choose(&self.view, self.asked, is_repeatable, excluded, now)
    }

    fn finish(&mut self, outcome: Outcome<L::Reply>) -> Result<Sent<L::Reply>, SendError> {
        self.story.backend_ns = outcome.took_ns;
        outcome.result.map_err(SendError::Failed)
    }
}
