//! The gateway's figures; each thread counts for itself and adds its counts about once a second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use process::metrics;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{IntCounterVec, IntGaugeVec};

use crate::breaker::BreakerState;

/// Requests the gateway refused, by kind of problem.
static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests a gateway answered with a problem of its own.";
    metrics::counter("sixfold_gateway_refused_total", help, &["gateway", "problem"])
});

/// Where circuits stand: 0 closed, 1 half-open, 2 open.
static BREAKER_STATE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "The circuit to a service, by the gateway's thread: 0 closed, 1 half-open, 2 open.";
    metrics::gauge("sixfold_gateway_breaker_state", help, &["gateway", "service", "thread"])
});

/// The role's name in the figures every role has.
const ROLE: &str = "gateway";

/// One thread's counts.
pub(crate) struct Figures {
    gateway: String,
    by_status: RefCell<BTreeMap<u16, LocalIntCounter>>,
    by_problem: RefCell<BTreeMap<&'static str, LocalIntCounter>>,
    seconds: LocalHistogram,
}

impl Figures {
    /// Makes the counts of one thread of the gateway with this label.
    pub(crate) fn new(gateway: &str) -> Self {
        Self {
            gateway: gateway.to_owned(),
            by_status: RefCell::default(),
            by_problem: RefCell::default(),
            seconds: metrics::REQUEST_SECONDS.with_label_values(&[ROLE]).local(),
        }
    }

    /// Counts an answered request.
    pub(crate) fn count_request(&self, status: StatusCode, elapsed: Duration) {
        let mut counters = self.by_status.borrow_mut();
        let counter = counters
            .entry(status.as_u16())
            .or_insert_with(|| metrics::REQUESTS.with_label_values(&[ROLE, status.as_str()]).local());
        counter.inc();
        self.seconds.observe(elapsed.as_secs_f64());
    }

    /// Counts a request that was refused.
    pub(crate) fn count_refusal(&self, problem: &'static str) {
        let mut counters = self.by_problem.borrow_mut();
        let counter = counters
            .entry(problem)
            .or_insert_with(|| REFUSED.with_label_values(&[self.gateway.as_str(), problem]).local());
        counter.inc();
    }

    /// Adds the thread's counts to the process's.
    pub(crate) fn publish(&self) {
        self.by_status.borrow().values().for_each(LocalIntCounter::flush);
        self.by_problem.borrow().values().for_each(LocalIntCounter::flush);
        self.seconds.flush();
    }
}

/// Shows where a circuit stands.
pub(crate) fn show_breaker(gateway: &str, service: &str, thread: usize, state: BreakerState) {
    BREAKER_STATE.with_label_values(&[gateway, service, &thread.to_string()]).set(i64::from(state.number()));
}
