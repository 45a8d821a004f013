//! Accounts: who somebody is, and the tokens that prove it to the gateways.
//!
//! A login checks a password ([`password`]), is slowed down when it keeps failing ([`throttle`]), and
//! answers with two tokens: a signed one for fifteen minutes that the gateways check by the public keys of
//! `/.well-known/jwks.json` ([`signer`]), and a random one that is good for one refresh ([`session`]).
//!
//! Everything lies in the database, under the namespace of the service: `users`, `sessions` and
//! `signing_keys`. The private key is there too, because every instance must sign with the same one; who
//! can read that namespace can be anyone.

mod endpoints;
mod password;
mod session;
mod signer;
mod start;
mod throttle;
mod user;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use database::Database;
use process::problem::kinds;
use process::{ClusterToken, Problem, Secret};
use tokio::sync::oneshot;

pub(crate) use endpoints::routes;

use crate::config;
use crate::fault::RETRY_AFTER;
use crate::namespace::Namespace;
use password::Hasher;
use signer::Signer;
use throttle::Throttle;
pub(crate) use user::refuse_password;

/// The account that the very first start makes, told once and stored only as a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAdmin {
    /// Its name.
    pub username: String,
    /// Its random password.
    pub password: Secret,
}

/// The accounts service.
#[derive(Debug)]
pub(crate) struct Accounts {
    settings: config::Accounts,
    records: Namespace,
    token: ClusterToken,
    hasher: Hasher,
    throttle: Mutex<Throttle>,
    /// Empty until the database has answered once.
    signer: OnceLock<Signer>,
    /// What is still to be told.
    first_admin: Mutex<Option<FirstAdmin>>,
}

impl Accounts {
    /// Makes the service; [`Accounts::prepare`] gives it its keys.
    pub(crate) fn new(
        namespace: &str,
        settings: config::Accounts,
        database: Database,
        token: ClusterToken,
    ) -> Self {
        Self {
            hasher: Hasher::new(settings.hashes),
            settings,
            records: Namespace { name: namespace.to_owned(), database },
            token,
            throttle: Mutex::default(),
            signer: OnceLock::new(),
            first_admin: Mutex::default(),
        }
    }

    /// Tells the process of the account that this start made, if it made one.
    pub(crate) fn tell_first_admin(&self, listener: Option<oneshot::Sender<FirstAdmin>>) {
        let made = self.first_admin.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(made) = made else { return };
        if listener.is_none_or(|listener| listener.send(made).is_err()) {
            tracing::warn!("the first admin was made, but nobody was there to be told its password");
        }
    }

    fn signer(&self) -> Result<&Signer, Problem> {
        let not_yet = || Problem::new(kinds::UNAVAILABLE).detail("the keys are not there yet");
        self.signer.get().ok_or_else(|| not_yet().retry_after(RETRY_AFTER))
    }
}

/// So that the routes can share it.
type Shared = Arc<Accounts>;
