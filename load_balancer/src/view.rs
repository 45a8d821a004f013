//! The backends as one thread sees them, with its own connections to each.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxy::{ForwardError, Pool, Upstream, wire};

use crate::cluster::{Members, Options};
use crate::selection::{Maglev, Memory, Sticky};
use crate::{Backend, Cluster, Policy};

/// One generation of a cluster, kept by a thread until there is another.
///
/// A request keeps the view it began with, so that an index means the same backend to its end.
#[derive(Debug)]
pub(crate) struct View {
    members: Arc<Members>,
    options: Arc<Options>,
    links: Box<[RefCell<Links>]>,
    memory: Memory,
    sticky: Option<Sticky>,
    pool: Pool,
    wire: wire::Pool,
}

/// Connections to a backend, and which of its addresses they go to.
#[derive(Debug, Default)]
struct Links {
    generation: u64,
    message: Option<Rc<Upstream>>,
    wire: Option<Rc<wire::Upstream>>,
}

impl View {
    /// Takes the present members of a cluster.
    pub(crate) fn of(cluster: &Cluster, pool: &Pool, wire: &wire::Pool) -> Self {
        let (members, options) = (cluster.members(), cluster.options());
        let links = members.backends.iter().map(|_| RefCell::default()).collect();
        let names = || members.backends.iter().map(|backend| backend.name());
        let sticky = match (&options.policy, &options.sticky_secret) {
            (Policy::StickyCookie { .. }, Some(secret)) => {
                Some(Sticky::new(secret.expose().as_bytes(), names()))
            }
            _ => None,
        };
        let (pool, wire) = (pool.clone(), wire.clone());
        Self { members, options, links, memory: Memory::default(), sticky, pool, wire }
    }

    /// Tells whether the cluster has changed since.
    pub(crate) fn is_outdated(&self, cluster: &Cluster) -> bool {
        self.members.generation != cluster.generation()
    }

    pub(crate) fn backends(&self) -> &[Arc<Backend>] {
        &self.members.backends
    }

    /// Gives a backend by the index a choice gave.
    pub(crate) fn backend(&self, index: usize) -> &Arc<Backend> {
        &self.members.backends[index]
    }

    /// Gives the index of a backend.
    pub(crate) fn find(&self, backend: &Backend) -> Option<usize> {
        self.members.backends.iter().position(|one| std::ptr::eq(&**one, backend))
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.options.policy
    }

    /// Gives what the thread remembers between choices among these backends.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Gives the cookies that name these backends, if the policy goes by one.
    pub(crate) fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_ref()
    }

    /// Tells whether all backends together have a limit.
    pub(crate) fn limits_total(&self) -> bool {
        self.options.limit.total != 0
    }

    /// Gives how long requests wait for a backend to come back.
    pub(crate) fn outage_wait(&self) -> Duration {
        self.options.limit.outage_wait
    }

    /// Gives the share of requests that may be hedged.
    pub(crate) fn hedge_share(&self) -> f64 {
        self.options.hedge.budget
    }

    /// Gives how uneven a policy that hashes may spread requests, if that is bounded.
    pub(crate) fn balance_factor(&self) -> Option<f64> {
        let factor = self.options.hash_balance_factor;
        (factor > 0.0).then_some(factor)
    }

    pub(crate) fn table(&self) -> Option<&Maglev> {
        self.members.table.as_ref()
    }

    /// Gives the thread's connections to a backend in the message lane; fails while its name has no address.
    pub(crate) fn message_upstream(&self, index: usize) -> Result<Rc<Upstream>, ForwardError> {
        self.links(index, |links| links.message.clone())
    }

    /// Gives the thread's connections to a backend in the wire lane; fails while its name has no address.
    pub(crate) fn wire_upstream(&self, index: usize) -> Result<Rc<wire::Upstream>, ForwardError> {
        self.links(index, |links| links.wire.clone())
    }

    fn links<T>(&self, index: usize, give: impl FnOnce(&Links) -> Option<T>) -> Result<T, ForwardError> {
        let backend = self.backend(index);
        let mut links = self.links[index].borrow_mut();
        let generation = backend.generation();
        if links.generation != generation {
            let address = backend.address();
            let target = address.and_then(|address| self.options.link.target(backend.name(), address));
            *links = Links {
                generation,
                message: target.as_ref().map(|target| self.pool.upstream_to(target.clone())),
                wire: target.as_ref().map(|target| self.wire.upstream(target)),
            };
        }
        give(&links).ok_or_else(|| ForwardError::NoAddress { name: backend.name().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_whose_name_has_no_address_is_named_by_that() {
        let cluster =
            Cluster::new("test", [crate::Member::new("no port, so no address")], Options::default());
        let view = View::of(&cluster, &Pool::default(), &wire::Pool::default());
        let errors = [view.message_upstream(0).unwrap_err(), view.wire_upstream(0).unwrap_err()];
        for error in errors {
            assert_eq!(error.to_string(), "no port, so no address: the name has no address");
            assert!(error.is_unsent(), "another backend may have the request");
        }
    }
}
