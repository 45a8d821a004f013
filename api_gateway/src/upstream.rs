//! One thread's way to one service: its circuit, then the balancer over its instances.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use load_balancer::{Balancer, InFlight, SendError};
use process::Problem;
use process::problem::kinds;
use proxy::{Body, BodyError, ForwardError, Pool, Timeouts};

use crate::breaker::{Breaker, BreakerState, Outcome, Pass};
use crate::figures;
use crate::refusal::Refusal;
use crate::routes::Route;
use crate::service::Service;
use crate::shared::Shared;

/// One thread's way to one service.
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    /// The place of the service in [`Shared::services`].
    index: usize,
    thread: usize,
    balancer: Balancer,
    breaker: RefCell<Breaker>,
    shown: Cell<BreakerState>,
    retries: u32,
}

impl Upstream {
    /// Makes the present thread's way to a service.
    pub(crate) fn new(shared: &Arc<Shared>, index: usize, thread: usize, pool: &Pool) -> Self {
        let service = &shared.services[index];
        let breaker = Breaker::new(shared.config.breaker, Instant::now());
        let shown = breaker.state();
        let upstream = Self {
            balancer: Balancer::new(Arc::clone(&service.cluster), pool.clone()),
            breaker: RefCell::new(breaker),
            shown: Cell::new(shown),
            retries: shared.config.retries,
            shared: Arc::clone(shared),
            index,
            thread,
        };
        upstream.show(shown);
        upstream
    }

    /// Gives what all threads know of the service.
    pub(crate) fn service(&self) -> &Service {
        &self.shared.services[self.index]
    }

    /// Sends a request to the service if its circuit lets it pass.
    pub(crate) async fn send(
        &self,
        request: Request<Body>,
        route: &Route,
    ) -> Result<Response<Body<InFlight>>, Refusal> {
        let admitted = self.breaker.borrow_mut().admit(Instant::now());
        let pass = admitted.map_err(|wait| Problem::new(kinds::CIRCUIT_OPEN).retry_after(wait))?;
        // Notes an unknown outcome when the client goes away and this future is dropped.
        let mut admission = Admission { upstream: self, pass, outcome: Outcome::Unknown };
        let timeouts =
            Timeouts { connect: route.connect_timeout, head: route.timeout, total: route.total_timeout };
        match self.balancer.send(request, &timeouts, self.retries).await {
            Ok(response) => {
                let is_failure = matches!(response.status().as_u16(), 502..=504);
                admission.outcome = if is_failure { Outcome::Failure } else { Outcome::Success };
                Ok(response)
            }
            Err(SendError::Failed(ForwardError::Client { reason })) => {
                Err(if is_too_large(&reason) { route.refuse_size() } else { refuse_broken_body() })
            }
            Err(error) => {
                admission.outcome = Outcome::Failure;
                tracing::debug!(service = self.service().name, %error, "a service did not answer");
                Err(error.problem().into())
            }
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

    fn show(&self, state: BreakerState) {
        let service = self.service();
        if self.shown.replace(state) != state {
            let gateway = self.shared.label.as_str();
            tracing::info!(
                gateway,
                service = service.name,
                state = state.name(),
                "a circuit changed its state"
            );
        }
        service.note_circuit(self.thread, state);
        figures::show_breaker(&self.shared.label, &service.name, self.thread, state);
    }
}

/// Refuses a request whose body ended before its end.
pub(crate) fn refuse_broken_body() -> Refusal {
    Problem::new(kinds::MALFORMED_REQUEST).detail("the request's body broke off").into()
}

/// Tells whether a request was broken off here, because its body grew over the limit.
fn is_too_large(reason: &hyper::Error) -> bool {
    let cause = reason.source().and_then(|cause| cause.downcast_ref::<BodyError>());
    matches!(cause, Some(BodyError::TooLarge))
}

/// A request that passed a circuit and has not been accounted for.
struct Admission<'a> {
    upstream: &'a Upstream,
    pass: Pass,
    outcome: Outcome,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.upstream.record(self.pass, self.outcome);
    }
}
