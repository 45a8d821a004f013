//! One thread's way to one service: its circuit, then the balancer over its instances.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use load_balancer::{Balancer, Passing, SendError};
use process::Problem;
use process::problem::kinds;
use process::token::REFUSED_FIELD;
use proxy::{Body, BodyError, ForwardError, Pool, Timeouts};

use crate::breaker::{Breaker, BreakerState, Outcome, Pass};
use crate::figures;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::service::Service;
use crate::shared::Shared;

/// The least time between two warnings of one thread that a service refuses the house's own token; often
/// enough for who looks, and not a line a request.
const WARN_AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// One thread's way to one service.
pub(crate) struct Upstream {
    /// The gateway's port.
    label: String,
    service: Arc<Service>,
    thread: usize,
    balancer: Rc<Balancer>,
    /// Shared with the configurations before and after this one, whose requests it judges too.
    breaker: Rc<RefCell<Breaker>>,
    shown: Rc<Cell<BreakerState>>,
    warned: Cell<Option<Instant>>,
    retries: u32,
}

impl Upstream {
    /// Makes the present thread's way to a service, with the connections and the circuit of the one it
    /// follows; an open circuit stays open.
    pub(crate) fn new(
        shared: &Shared,
        service: &Arc<Service>,
        thread: usize,
        pool: &Pool,
        follows: Option<&Self>,
    ) -> Self {
        let breaker = || Rc::new(RefCell::new(Breaker::new(shared.config.breaker, Instant::now())));
        let breaker = follows.map_or_else(breaker, |known| Rc::clone(&known.breaker));
        breaker.borrow_mut().reconfigure(shared.config.breaker);
        let shown = breaker.borrow().state();
        let balancer = || Rc::new(Balancer::new(Arc::clone(&service.cluster), pool.clone()));
        let upstream = Self {
            balancer: follows.map_or_else(balancer, |known| Rc::clone(&known.balancer)),
            breaker,
            shown: follows.map_or_else(|| Rc::new(Cell::new(shown)), |known| Rc::clone(&known.shown)),
            warned: Cell::new(None),
            retries: shared.config.retries,
            label: shared.label.clone(),
            service: Arc::clone(service),
            thread,
        };
        upstream.show(shown);
        upstream
    }

    /// Gives what all threads know of the service.
    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Asks the circuit whether a request may pass.
    pub(crate) fn admit(&self) -> Result<Admission<'_>, Refusal> {
        match self.breaker.borrow_mut().admit(Instant::now()) {
            Ok(pass) => Ok(Admission { upstream: self, pass, outcome: Outcome::Unknown }),
            Err(wait) => Err(Problem::new(kinds::CIRCUIT_OPEN).retry_after(wait).into()),
        }
    }

    fn record(&self, pass: Pass, outcome: Outcome) {
        let mut breaker = self.breaker.borrow_mut();
        breaker.record(pass, outcome, Instant::now());
        let state = breaker.state();
        if state != self.shown.get() {
            self.show(state);
        }
    }

    /// Warns that the service refuses the house's own token, unless it was said just now.
    fn warn_of_refused_token(&self, now: Instant) {
        if !is_warning_due(self.warned.get(), now) {
            return;
        }
        self.warned.set(Some(now));
        let (gateway, service) = (self.label.as_str(), self.service().name.as_str());
        tracing::warn!(gateway, service, "a service refuses the cluster token of this gateway");
    }

    fn show(&self, state: BreakerState) {
        let service = self.service();
        if self.shown.replace(state) != state {
            let gateway = self.label.as_str();
            tracing::info!(
                gateway,
                service = service.name,
                state = state.name(),
                "a circuit changed its state"
            );
        }
        service.note_circuit(self.thread, state);
        figures::show_breaker(&self.label, &service.name, self.thread, state);
    }
}

/// Refuses a request whose body ended before its end.
pub(crate) fn refuse_broken_body() -> Refusal {
    Problem::new(kinds::MALFORMED_REQUEST).detail("the request's body broke off").into()
}

fn is_warning_due(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= WARN_AT_MOST_EVERY)
}

/// Takes from a response what only roles of the house tell each other; tells whether it is a service's
/// refusal of the house's own token, which is not the fault of the client.
fn is_refused_token<B>(response: &mut Response<B>, is_internal: bool) -> bool {
    let reason = response.headers_mut().remove(REFUSED_FIELD);
    is_internal
        && response.status() == StatusCode::UNAUTHORIZED
        && reason.is_some_and(|reason| reason == process::token::CLUSTER_TOKEN_REFUSED)
}

/// Tells whether a request was broken off here, because its body grew over the limit.
fn is_too_large(reason: &std::io::Error) -> bool {
    let cause = reason.source().and_then(|cause| cause.downcast_ref::<BodyError>());
    matches!(cause, Some(BodyError::TooLarge))
}

/// A request that may pass the circuit and has not been accounted for.
///
/// Dropped before there is an outcome, because the client went away, it notes an unknown one.
pub(crate) struct Admission<'a> {
    upstream: &'a Upstream,
    pass: Pass,
    outcome: Outcome,
}

impl Admission<'_> {
    /// Sends the request to the service.
    pub(crate) async fn send(
        mut self,
        request: Request<Body>,
        route: &Route,
    ) -> Result<Response<Body<Passing>>, Refusal> {
        let upstream = self.upstream;
        let timeouts = Timeouts {
            connect: route.connect_timeout,
            head: route.timeout,
            total: route.total_timeout,
            ..Timeouts::default()
        };
        match upstream.balancer.send(request, &timeouts, upstream.retries).await {
            Ok(mut response) => {
                if is_refused_token(&mut response, upstream.service().is_internal) {
                    self.outcome = Outcome::Failure;
                    upstream.warn_of_refused_token(Instant::now());
                    let detail = "the service did not accept the gateway";
                    return Err(Problem::new(kinds::BAD_GATEWAY).detail(detail).into());
                }
                let is_failure = matches!(response.status().as_u16(), 502..=504);
                self.outcome = if is_failure { Outcome::Failure } else { Outcome::Success };
                Ok(response)
            }
            Err(SendError::Failed(ForwardError::Client { reason })) if is_too_large(&reason) => {
                Err(route.refuse_size())
            }
            // Nothing is known of the service then, so that no client can open its circuit.
            Err(error) if error.is_clients_fault() => Err(error.problem().into()),
            Err(error) => {
                self.outcome = Outcome::Failure;
                tracing::debug!(service = upstream.service().name, %error, "a service did not answer");
                Err(error.problem().into())
            }
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.upstream.record(self.pass, self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_warned_of_now_and_then() {
        let now = Instant::now();
        assert!(is_warning_due(None, now));
        assert!(!is_warning_due(Some(now), now + WARN_AT_MOST_EVERY / 2));
        assert!(is_warning_due(Some(now), now + WARN_AT_MOST_EVERY));
    }
}
