//! What a role hands to its process once its listeners are bound.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;

use axum::Router;

use crate::{Health, Shutdown};

/// An address a role listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// What is spoken there: `http`, `resp`.
    pub protocol: &'static str,
    /// The address, with the port the system gave where 0 was asked for.
    pub address: SocketAddr,
}

/// Why a role could not start or go on; the text is one line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// An address cannot be listened at.
    #[error("{role}: cannot listen at {address}: {reason}")]
    Listen {
        /// The role.
        role: String,
        /// The address as configured.
        address: String,
        /// What the system or the rule said.
        reason: String,
    },
    /// The configuration or the machine does not let the role start.
    #[error("{role}: {reason}")]
    Start {
        /// The role.
        role: String,
        /// Why.
        reason: String,
    },
    /// The role was running and cannot go on.
    #[error("{role} stopped: {reason}")]
    Stopped {
        /// The role.
        role: String,
        /// Why.
        reason: String,
    },
}

impl RoleError {
    /// Says why a role does not start.
    pub fn start(role: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::Start { role: role.into(), reason: reason.to_string() }
    }

    /// Says why a running role ended.
    pub fn stopped(role: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::Stopped { role: role.into(), reason: reason.to_string() }
    }
}

type Serving = Pin<Box<dyn Future<Output = Result<(), RoleError>> + Send>>;

/// A role that listens and does not serve yet.
///
/// Connections made before [`Bound::run`] wait in the listener's backlog.
pub struct Bound {
    /// The role's name with what tells its instances apart, such as `gateway 5006`.
    pub name: String,
    /// Where it listens; the first is the one others call.
    pub listening: Vec<Listening>,
    /// Its health.
    pub health: Health,
    /// What it adds to the process's admin address.
    pub admin: Router,
    run: Box<dyn FnOnce(Shutdown) -> Serving + Send>,
}

impl Bound {
    /// Puts a bound role together; `run` serves until the shutdown is requested and the grace is used.
    pub fn new<F>(
        listening: Vec<Listening>,
        name: impl Into<String>,
        health: Health,
        run: impl FnOnce(Shutdown) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), RoleError>> + Send + 'static,
    {
        Self {
            name: name.into(),
            listening,
            health,
            admin: Router::new(),
            run: Box::new(move |shutdown| Box::pin(run(shutdown))),
        }
    }

    /// Adds routes to the process's admin address.
    pub fn with_admin(mut self, admin: Router) -> Self {
        self.admin = admin;
        self
    }

    /// Gives the address others call.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listening.first().map(|listening| listening.address)
    }

    /// Serves until the shutdown is requested and what is in flight has finished or the grace is over.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RoleError> {
        (self.run)(shutdown).await
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("name", &self.name).field("listening", &self.listening).finish()
    }
}
