//! A role's health: what `/health`, `/livez` and `/readyz` answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use serde::{Deserialize, Serialize};

/// Where a role stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// Bound, and not yet able to serve.
    Starting,
    /// Able to serve.
    Ready,
    /// Alive, but something it needs is missing.
    Degraded,
    /// Stopping: it finishes what it has and takes nothing new.
    Draining,
}

/// What `/health` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthReport {
    /// The role's name.
    pub role: String,
    /// Where it stands.
    pub state: HealthState,
    /// Why, when it is not ready.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Seconds since it was bound.
    pub uptime_seconds: u64,
    /// The version of the binary.
    pub version: String,
}

/// A role's health; clones share one state.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    role: String,
    since: Instant,
    state: Mutex<(HealthState, Option<String>)>,
}

impl Health {
    /// Makes the health of a role that is starting.
    pub fn new(role: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            role: role.into(),
            since: Instant::now(),
            state: Mutex::new((HealthState::Starting, None)),
        }))
    }

    /// Notes that the role can serve.
    pub fn set_ready(&self) {
        self.set(HealthState::Ready, None);
    }

    /// Notes that something the role needs is missing.
    pub fn set_degraded(&self, reason: impl Into<String>) {
        self.set(HealthState::Degraded, Some(reason.into()));
    }

    /// Notes that the role is stopping; this is final.
    pub fn set_draining(&self) {
        self.set(HealthState::Draining, None);
    }

    fn set(&self, state: HealthState, reason: Option<String>) {
        let mut current = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != HealthState::Draining {
            *current = (state, reason);
        }
    }

    /// Gives the present state.
    pub fn state(&self) -> HealthState {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Gives what `/health` answers.
    pub fn report(&self) -> HealthReport {
        let (state, reason) = self.0.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        HealthReport {
            role: self.0.role.clone(),
            state,
            reason,
            uptime_seconds: self.0.since.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Makes the routes `/health`, `/livez` and `/readyz`; they need no token and tell nothing internal.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/readyz", get(health))
            .route("/livez", get(|| async { "ok\n" }))
            .with_state(self.clone())
    }
}

/// 200 when ready, 503 otherwise, so that a prober needs to read nothing but the status.
async fn health(State(health): State<Health>) -> impl IntoResponse {
    let report = health.report();
    let status =
        if report.state == HealthState::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}
