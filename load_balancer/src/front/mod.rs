//! What each thread of the data plane does with a client's request.
//!
//! A request comes as an exchange of the wire lane, is sent on its way through [`Balancer`], and its response is
//! finished with what is told of that way (`request`).

mod affinity;
mod figures;
mod request;
mod settings;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use process::TraceContext;
use proxy::Pool;
use proxy::server::{self, Connection};
use proxy::wire::{self, AddedFields};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) use self::settings::{Plan, Settings};

use self::figures::Figures;
use crate::access_log::Lines;
use crate::dispatch::Asked;
use crate::explain::{EXPLAIN, Story};
use crate::view::View;
use crate::{Backend, Balancer, Policy, SendError};

/// One thread's front.
pub(crate) struct Front {
    plan: Arc<Plan>,
    settings: RefCell<Rc<Settings>>,
    balancer: Balancer,
    rng: RefCell<SmallRng>,
    figures: Figures,
    lines: Rc<Lines>,
    /// Lent to one response at a time; a second one at the same time gets a new one.
    added: RefCell<AddedFields>,
    written: RefCell<Vec<u8>>,
}

impl Front {
    /// Makes the present thread's front.
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        let settings = Rc::new(plan.settings());
        let pool = Pool::new(settings.pool);
        Self {
            balancer: Balancer::new(Arc::clone(plan.cluster()), pool),
            settings: RefCell::new(settings),
            rng: RefCell::new(SmallRng::from_os_rng()),
            figures: Figures::new(),
            lines: Rc::new(plan.lines()),
            added: RefCell::default(),
            written: RefCell::default(),
            plan: Arc::clone(plan),
        }
    }

    /// Gives what holds for the present request: the newest, since backends are chosen by the newest too.
    fn settings(&self) -> Rc<Settings> {
        let mut settings = self.settings.borrow_mut();
        if settings.is_outdated(&self.plan) {
            *settings = Rc::new(self.plan.settings());
        }
        Rc::clone(&settings)
    }

    /// Says what the response to a request tells of its way: calls back with names and values.
    fn tell(&self, told: &Told<'_>, backend: Option<&Backend>, mut write: impl FnMut(&'static str, &[u8])) {
        let mut value = self.written.take();
        if told.settings.server_timing && backend.is_some() {
            value.clear();
            told.story.write_timing(told.elapsed_ns, &mut value);
            write("server-timing", &value);
        }
        if told.is_explained {
            value.clear();
            let policy = told.settings.policy.name();
            told.story.write_explanation(policy, backend.map(Backend::name), &mut value);
            write(EXPLAIN, &value);
        }
        // A client whose backend is well, and had no place or refused a connection, comes back to it.
        if let Some(backend) = backend
            && let Policy::StickyCookie { cookie } = &told.settings.policy
            && let Some((cookies, index)) = told.view.sticky().zip(told.view.find(backend))
            && told.asked.sticky.is_none_or(|own| own != index && told.view.backend(own).is_lost())
            && let Some(named) = cookies.encode(index)
        {
            value.clear();
            affinity::write_cookie(cookie, &named, told.is_secure, &mut value);
            write("set-cookie", &value);
        }
        self.written.replace(value);
    }

    /// Tells whether a request with this status is logged.
    fn wants_line(&self, settings: &Settings, status: u16) -> bool {
        settings.access_log.wants(status, || self.rng.borrow_mut().random())
    }
}

impl server::Handler for Front {
    fn serve(self: &Rc<Self>, connection: Connection) -> impl Future<Output = ()> + 'static {
        wire::serve(connection, Rc::clone(self))
    }

    /// Does what is due once a second.
    fn tick(&self) {
        self.balancer.tick();
        self.figures.publish();
        self.lines.flush();
    }
}

/// What is known of a request when its response begins.
struct Told<'a> {
    settings: &'a Settings,
    story: &'a Story,
    elapsed_ns: u64,
    is_explained: bool,
    view: &'a View,
    asked: Asked,
    /// Whether the client came over TLS.
    is_secure: bool,
}

/// Logs why a request got no response.
fn tell_failure(error: &SendError, trace: TraceContext, cluster: &str) {
    // The backends' changes of state tell it once; this would tell it with every request. And what clients
    // do wrong must not fill the log.
    let is_known =
        matches!(error, SendError::NoBackend | SendError::Overloaded(_)) || error.is_clients_fault();
    let trace_id = trace.trace_id();
    if is_known {
        tracing::debug!(%trace_id, cluster, %error, "refused");
    } else {
        tracing::warn!(%trace_id, cluster, %error, "a request got no response");
    }
}
