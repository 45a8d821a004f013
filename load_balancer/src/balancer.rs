//! One thread's way to a cluster: choose, send, and send elsewhere when that is safe.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use process::Problem;
use process::problem::kinds;
use proxy::{Body, Failure, ForwardError, Pool, Progress, Timeouts, Upstream};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::budget::RetryBudget;
use crate::clock::now_ns;
use crate::idempotent::{Copy, Fields};
use crate::load::{LOAD_FIELD, parse_load};
use crate::selection::{Memory, Snapshot, choose_backend};
use crate::{Backend, Cluster, InFlight, Members};

/// When a client should try again after there was no backend: probes need about as long to bring one back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request got no response from a cluster.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No backend is available; nothing was sent.
    #[error("no backend is available")]
    NoBackend,
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
            Self::Failed(error) => error.problem(),
        }
    }
}

/// One thread's way to the backends of a cluster.
#[derive(Debug)]
pub struct Balancer {
    cluster: Arc<Cluster>,
    pool: Pool,
    upstreams: RefCell<Vec<Known>>,
    rng: RefCell<SmallRng>,
    memory: Memory,
    budget: RetryBudget,
    spare: RefCell<Fields>,
}

/// Connections to a backend, and which of its addresses they go to.
#[derive(Debug, Clone, Default)]
struct Known {
    backend: u64,
    generation: u64,
    upstream: Option<Rc<Upstream>>,
}

impl Balancer {
    /// Makes the present thread's way to a cluster.
    pub fn new(cluster: Arc<Cluster>, pool: Pool) -> Self {
        let upstreams = RefCell::default();
        Self {
            cluster,
            pool,
            upstreams,
            rng: RefCell::new(SmallRng::from_os_rng()),
            memory: Memory::default(),
            budget: RetryBudget::default(),
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
    /// sent twice, and the connection broke before the head of a response; and only within the budget of a
    /// repeat for every fifth request. What is repeated keeps its time limits for each attempt.
    pub async fn send(
        &self,
        request: Request<Body>,
        timeouts: &Timeouts,
        retries: u32,
    ) -> Result<Response<Body<InFlight>>, SendError> {
        self.budget.earn();
        let copy = if retries > 0 { Copy::of(&request, &self.spare) } else { None };
        let now = now_ns();
        let members = self.cluster.members();
        let first = self.choose(&members, &[], now).ok_or(SendError::NoBackend)?;
        let result = match self.attempt(&members.backends[first], now, request, timeouts).await {
            Ok(response) => Ok(response),
            Err(failure) => {
                self.send_elsewhere(&members, first, failure, copy.as_ref(), timeouts, retries).await
            }
        };
        if let Some(copy) = copy {
            self.spare.replace(copy.into_list());
        }
        result
    }

    /// Repeats a request that failed, for as long as that is safe and allowed.
    ///
    /// Boxed: it is rare, and would make the future of every request larger.
    #[allow(clippy::type_complexity, reason = "a boxed future and nothing more")]
    fn send_elsewhere<'a>(
        &'a self,
        members: &'a Members,
        first: usize,
        failure: Failure,
        copy: Option<&'a Copy>,
        timeouts: &'a Timeouts,
        retries: u32,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Body<InFlight>>, SendError>> + 'a>> {
        Box::pin(async move {
            let mut tried = vec![first];
            let mut failure = failure;
            for _ in 0..retries {
                let Failure { error, request } = failure;
                let again = match request {
                    Some(unsent) => Some(*unsent),
                    None if error.is_broken() => copy.and_then(Copy::request),
                    None => None,
                };
                let Some(again) = again else { return Err(error.into()) };
                // A connection can break between two requests; a backend that refuses one is not asked twice.
                let now = now_ns();
                let anyone = || if error.is_unsent() { None } else { self.choose(members, &[], now) };
                let next = self.choose(members, &tried, now).or_else(anyone);
                let Some(next) = next else { return Err(error.into()) };
                if !self.budget.spend() {
                    return Err(error.into());
                }
                let (cluster, backend) = (self.cluster.name(), members.backends[next].name());
                tracing::debug!(%error, cluster, backend, "sent elsewhere");
                tried.push(next);
                match self.attempt(&members.backends[next], now, again, timeouts).await {
                    Ok(response) => return Ok(response),
                    Err(next_failure) => failure = next_failure,
                }
            }
            Err(failure.error.into())
        })
    }

    fn choose(&self, members: &Members, excluded: &[usize], now_ns: u64) -> Option<usize> {
        let snapshot = Snapshot {
            backends: &members.backends,
            policy: &self.cluster.policy(),
            memory: &self.memory,
            excluded,
            key: None,
            sticky: None,
            table: members.table.as_ref(),
            panic: false,
        };
        let mut rng = self.rng.borrow_mut();
        choose_backend(&snapshot, now_ns, &mut *rng).map(|choice| choice.index)
    }

    async fn attempt(
        &self,
        backend: &Arc<Backend>,
        started_ns: u64,
        mut request: Request<Body>,
        timeouts: &Timeouts,
    ) -> Result<Response<Body<InFlight>>, Failure> {
        let Some(upstream) = self.upstream(backend) else {
            let reason = std::io::ErrorKind::AddrNotAvailable.into();
            let backend = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
            let error = ForwardError::Connect { backend, reason };
            return Err(Failure { error, request: Some(Box::new(request)) });
        };
        let mut in_flight = backend.begin(started_ns);
        let upload = request.body_mut().watch();
        let mut result = upstream.forward(request, timeouts).await;
        let now = now_ns();
        // It is meant for balancers, and ends here.
        if let Ok(response) = &mut result
            && let Some(load) = response.headers_mut().remove(LOAD_FIELD)
            && let Some(load) = parse_load(load.as_bytes())
        {
            backend.note_load(load, now);
        }
        match &result {
            Ok(response) => {
                let latency_ns = latency_ns(now.saturating_sub(started_ns), upload.as_ref());
                in_flight.note_response(response.status().as_u16(), latency_ns, now);
            }
            Err(failure) => match &failure.error {
                ForwardError::Connect { .. } => in_flight.note_connect_failure(now),
                _ if failure.error.is_clients_fault() => {}
                _ => in_flight.note_error(now),
            },
        }
        result.map(|response| response.map(|body| body.guarded(in_flight)))
    }

    fn upstream(&self, backend: &Backend) -> Option<Rc<Upstream>> {
        let (number, generation) = (backend.number(), backend.generation());
        let mut upstreams = self.upstreams.borrow_mut();
        let place = upstreams.iter().position(|known| known.backend == number).unwrap_or_else(|| {
            upstreams.push(Known { backend: number, ..Known::default() });
            upstreams.len() - 1
        });
        let known = upstreams.get_mut(place)?;
        if known.generation != generation {
            known.generation = generation;
            known.upstream = backend.address().map(|to| self.pool.upstream(to));
        }
        known.upstream.clone()
    }
}

/// Gives the part of the time that was the backend's, without what the client took over its upload; `None`
/// when the client is still to send more, because then nobody can tell whose time it was.
fn latency_ns(elapsed_ns: u64, upload: Option<&Progress>) -> Option<u64> {
    let Some(upload) = upload else { return Some(elapsed_ns) };
    let waited_ns = u64::try_from(upload.waited().as_nanos()).unwrap_or(u64::MAX);
    (!upload.is_awaited()).then(|| elapsed_ns.saturating_sub(waited_ns))
}
