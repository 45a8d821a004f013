//! What each thread of the data plane does with a client's request.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use process::problem::Problem;
use process::trace::{self, REQUEST_ID, TRACEPARENT};
use process::{TraceContext, metrics};
use prometheus::local::{LocalHistogram, LocalIntCounter};
use proxy::fields::{TrustedProxies, prepare_request};
use proxy::server::Handler;
use proxy::{Body, Client, Pool, Timeouts};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::clock::now_ns;
use crate::{Balancer, Cluster, Config, InFlight, SendError};

/// The role's name in figures.
const ROLE: &str = "load-balancer";

/// Fields a request gains: the trace, three of who asked, `Via` and a framing.
const ADDED_FIELDS: usize = 6;

/// What all threads share.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    cluster: Arc<Cluster>,
    trusted: TrustedProxies,
    config: Arc<Config>,
}

impl Plan {
    pub(crate) fn new(cluster: Arc<Cluster>, trusted: TrustedProxies, config: &Config) -> Self {
        Self { cluster, trusted, config: Arc::new(config.clone()) }
    }
}

/// One thread's front.
pub(crate) struct Front {
    balancer: Balancer,
    pool: Pool,
    trusted: TrustedProxies,
    timeouts: Timeouts,
    retries: u32,
    rng: RefCell<SmallRng>,
    figures: Figures,
}

impl Front {
    /// Makes the present thread's front.
    pub(crate) fn new(plan: &Plan) -> Self {
        let pool = Pool::new(plan.config.pool());
        Self {
            balancer: Balancer::new(Arc::clone(&plan.cluster), pool.clone()),
            pool,
            trusted: plan.trusted.clone(),
            timeouts: plan.config.timeouts(),
            retries: plan.config.retries,
            rng: RefCell::new(SmallRng::from_os_rng()),
            figures: Figures::new(),
        }
    }
}

impl Handler for Front {
    type Body = Body<InFlight>;

    async fn handle(&self, mut request: Request<Incoming>, client: &Rc<Client>) -> Response<Self::Body> {
        let started = now_ns();
        let trace = trace::continue_or_start(request.headers(), &mut *self.rng.borrow_mut());
        // Room for what is added on the way, made once.
        request.headers_mut().reserve(ADDED_FIELDS);
        request.headers_mut().insert(TRACEPARENT, trace.header_value());
        let answered = match prepare_request(request, client, &self.trusted) {
            Ok(request) => {
                let sent = self.balancer.send(request, &self.timeouts, self.retries).await;
                sent.map_err(|error| {
                    tell(&error, trace, self.balancer.cluster().name());
                    error.problem()
                })
            }
            Err(refusal) => Err(refusal.problem()),
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(problem) => refuse(&problem, trace).await,
        };
        if !response.headers().contains_key(REQUEST_ID) {
            response.headers_mut().insert(REQUEST_ID, trace.request_id());
        }
        let (status, elapsed_ns) = (response.status().as_u16(), now_ns().saturating_sub(started));
        self.figures.count(status, elapsed_ns);
        tracing::debug!(trace_id = %trace.trace_id(), status, duration_us = elapsed_ns / 1000, "answered");
        response
    }

    fn tick(&self) {
        self.pool.close_idle();
        self.figures.publish();
    }
}

/// Logs why a request got no response.
fn tell(error: &SendError, trace: TraceContext, cluster: &str) {
    let trace_id = trace.trace_id();
    // The backends' changes of state tell it once; this would tell it with every request. And what clients
    // do wrong must not fill the log.
    if matches!(error, SendError::NoBackend) || error.is_clients_fault() {
        tracing::debug!(%trace_id, cluster, %error, "refused");
    } else {
        tracing::warn!(%trace_id, cluster, %error, "a request got no response");
    }
}

/// Writes a problem, naming the trace.
async fn refuse(problem: &Problem, trace: TraceContext) -> Response<Body<InFlight>> {
    let mut response = trace::within(trace, async { problem.to_response() }).await;
    if problem.kind().status < 500 || problem.kind().status == 501 {
        // Where the next request begins may be in doubt too.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|document| Body::from(document).unguarded())
}

/// One thread's figures, published when it ticks: shared ones would be written by all threads at once.
struct Figures {
    seconds: LocalHistogram,
    /// By status; found by a walk, since hardly ever more than a few occur.
    statuses: RefCell<Vec<(u16, LocalIntCounter)>>,
}

impl Figures {
    fn new() -> Self {
        Self {
            seconds: metrics::REQUEST_SECONDS.with_label_values(&[ROLE]).local(),
            statuses: RefCell::default(),
        }
    }

    fn count(&self, status: u16, elapsed_ns: u64) {
        self.seconds.observe(elapsed_ns as f64 / 1e9);
        let mut statuses = self.statuses.borrow_mut();
        match statuses.iter().find(|(counted, _)| *counted == status) {
            Some((_, counter)) => counter.inc(),
            None => {
                let text = status.to_string();
                let counter = metrics::REQUESTS.with_label_values(&[ROLE, text.as_str()]).local();
                counter.inc();
                statuses.push((status, counter));
            }
        }
    }

    fn publish(&self) {
        self.seconds.flush();
        for (_, counter) in self.statuses.borrow().iter() {
            counter.flush();
        }
    }
}
