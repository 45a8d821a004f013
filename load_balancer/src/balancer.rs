//! One thread's way to a cluster: what it remembers between requests, and what requests may spend.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use process::Problem;
use process::problem::kinds;
use proxy::{Body, ForwardError, Pool, Timeouts};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::Cluster;
use crate::cluster::Thread;
use crate::dispatch::alarm::{Alarm, Alarms};
use crate::dispatch::budget::{Budget, RETRY_SAVINGS, RETRY_SHARE};
use crate::dispatch::{Asked, Passing, Sent, Way, hedge};
use crate::lanes::{Fields, MessageLane};
use crate::queue::Overloaded;
use crate::selection::{Choice, Snapshot, choose_backend};
use crate::view::View;

/// When a client should try again after there was no backend: probes need about as long to bring one back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answers by which a backend, or a proxy before it, says that it did not do what it was asked
/// (RFC 9110 §15.6.3–5). A 500 is not among them: it would be the same elsewhere.
const WORTH_REPEATING: std::ops::RangeInclusive<u16> = 502..=504;

/// Why a request got no response from a cluster.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No backend is available; nothing was sent.
    #[error("no backend is available")]
    NoBackend,
    /// Every backend has as much as it can take; nothing was sent.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The last backend tried failed.
    #[error(transparent)]
    Failed(#[from] ForwardError),
}

impl SendError {
    /// Tells whether the client is to blame.
    pub fn is_clients_fault(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_clients_fault())
    }

    /// Gives the problem it is answered with.
    pub fn problem(&self) -> Problem {
        match self {
            Self::NoBackend => Problem::new(kinds::NO_BACKEND).retry_after(RETRY_AFTER),
            Self::Overloaded(_) => Problem::new(kinds::OVERLOADED).retry_after(RETRY_AFTER),
            Self::Failed(error) => error.problem(),
        }
    }
}

/// One thread's way to the backends of a cluster.
#[derive(Debug)]
pub struct Balancer {
    cluster: Arc<Cluster>,
    pool: Pool,
    wire: proxy::wire::Pool,
    view: RefCell<Rc<View>>,
    rng: RefCell<SmallRng>,
    retries: Budget,
    hedges: Budget,
    alarms: OnceCell<Alarms>,
    spare: RefCell<Fields>,
    /// Says how busy this thread is.
    _thread: Option<Arc<Thread>>,
}

impl Balancer {
    /// Makes the present thread's way to a cluster.
    pub fn new(cluster: Arc<Cluster>, pool: Pool) -> Self {
        let wire = proxy::wire::Pool::new(pool.options());
        Self {
            view: RefCell::new(Rc::new(View::of(&cluster, &pool, &wire))),
            _thread: cluster.note_thread(),
            cluster,
            pool,
            wire,
            rng: RefCell::new(SmallRng::from_os_rng()),
            retries: Budget::new(RETRY_SAVINGS),
            hedges: Budget::new(hedge::SAVINGS),
            alarms: OnceCell::new(),
            spare: RefCell::default(),
        }
    }

    /// Gives the cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Sends a prepared request ([`proxy::fields::prepare_request`]) to the best backend; on failure up to
    /// `retries` times to another one.
    ///
    /// A request is repeated when nothing of it was sent, or when it is idempotent, has a body that can be
    /// sent twice, and the connection broke, the backend said that it did not do it (502 to 504), or took
    /// longer than nearly all others; and only within the budgets: a repeat for every fifth request, a hedge
    /// for every twentieth. What is repeated keeps its time limits for each attempt.
    pub async fn send(
        &self,
        request: Request<Body>,
        timeouts: &Timeouts,
        retries: u32,
    ) -> Result<Response<Body<Passing>>, SendError> {
        let lane = self.message_lane(request, timeouts, retries);
        let sent = Way::new(self, self.view(), &lane, Asked::default(), retries).go().await;
        if let Some(spare) = lane.into_spare() {
            self.spare.replace(spare);
        }
        sent.map(|Sent { reply, passing }| reply.map(|body| body.guarded(passing)))
    }

    /// Prepares a message to be sent.
    pub(crate) fn message_lane<'a>(
        &self,
        request: Request<Body>,
        timeouts: &'a Timeouts,
        retries: u32,
    ) -> MessageLane<'a> {
        MessageLane::new(request, timeouts, retries > 0, &self.spare)
    }

    /// Closes connections that were unused too long; call it about once a second.
    pub fn tick(&self) {
        self.pool.close_idle();
        self.wire.close_idle();
    }

    /// Gives the backends as they are now.
    pub(crate) fn view(&self) -> Rc<View> {
        let mut view = self.view.borrow_mut();
        if view.is_outdated(&self.cluster) {
            *view = Rc::new(View::of(&self.cluster, &self.pool, &self.wire));
        }
        Rc::clone(&view)
    }

    /// Chooses among the backends of a view.
    pub(crate) fn choose(
        &self,
        view: &View,
        asked: Asked,
        is_repeatable: bool,
        excluded: &[usize],
        now_ns: u64,
    ) -> Option<Choice> {
        let snapshot = Snapshot {
            backends: view.backends(),
            policy: view.policy(),
            memory: view.memory(),
            excluded,
            key: asked.key,
            sticky: asked.sticky,
            table: view.table(),
            balance_factor: view.balance_factor(),
            is_repeatable,
        };
        choose_backend(&snapshot, now_ns, &mut *self.rng.borrow_mut())
    }

    /// Tells whether an answer is worth asking another backend.
    pub(crate) fn is_worth_repeating(status: u16) -> bool {
        WORTH_REPEATING.contains(&status)
    }

    /// Earns shares of a repeat and of a hedge by a request.
    pub(crate) fn note_request(&self, view: &View) {
        self.retries.earn(RETRY_SHARE);
        self.hedges.earn(view.hedge_share());
    }

    pub(crate) fn spend_retry(&self) -> bool {
        self.retries.spend()
    }

    pub(crate) fn spend_hedge(&self) -> bool {
        self.hedges.spend()
    }

    /// Gives how long a request may take before it is sent to a second backend; `None` while nothing is
    /// known, or where hedging is off.
    pub(crate) fn hedge_delay(&self) -> Option<Duration> {
        self.cluster.hedge_delay()
    }

    /// Gives an alarm that rings after a time.
    pub(crate) fn alarm(&self, after: Duration) -> Alarm {
        self.alarms.get_or_init(Alarms::new).after(after)
    }
}
