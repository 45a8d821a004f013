//! A role's health: what `/health`, `/livez` and `/readyz` answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Alive, but something is missing: it serves all the same or not ([`HealthReport::serving`]).
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
    /// Whether it serves what it is asked, which the status of an answer goes by.
    #[serde(default)]
    pub serving: bool,
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
    standing: Mutex<Standing>,
}

#[derive(Debug, Clone)]
struct Standing {
    state: HealthState,
    is_serving: bool,
    reason: Option<String>,
}

impl Health {
    /// Makes the health of a role that is starting.
    pub fn new(role: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            role: role.into(),
            since: Instant::now(),
            standing: Mutex::new(Standing { state: HealthState::Starting, is_serving: false, reason: None }),
        }))
    }

    /// Notes that the role can serve.
    pub fn set_ready(&self) {
        self.set(HealthState::Ready, true, None);
    }

    /// Notes that something the role needs is missing, without which it cannot serve.
    pub fn set_degraded(&self, reason: impl Into<String>) {
        self.set(HealthState::Degraded, false, Some(reason.into()));
    }

    /// Notes that something is missing that somebody should see to, and that the role serves all the same.
    pub fn set_degraded_serving(&self, reason: impl Into<String>) {
        self.set(HealthState::Degraded, true, Some(reason.into()));
    }

    /// Notes that the role is stopping; this is final.
    pub fn set_draining(&self) {
        self.set(HealthState::Draining, false, None);
    }

    fn set(&self, state: HealthState, is_serving: bool, reason: Option<String>) {
        let mut current = self.lock();
        if current.state != HealthState::Draining {
            *current = Standing { state, is_serving, reason };
        }
    }

    /// Gives the present state.
    pub fn state(&self) -> HealthState {
        self.lock().state
    }

    /// Tells whether the role serves at present.
    pub fn is_serving(&self) -> bool {
        self.lock().is_serving
    }

    /// Gives what `/health` answers.
    pub fn report(&self) -> HealthReport {
        let Standing { state, is_serving, reason } = self.lock().clone();
        HealthReport {
            role: self.0.role.clone(),
            state,
            serving: is_serving,
            reason,
            uptime_seconds: self.0.since.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
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

/// 200 while the role serves, 503 otherwise, so that a prober needs to read nothing but the status.
async fn health(State(health): State<Health>) -> impl IntoResponse {
    let report = health.report();
    let status = if report.serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_status_tells_whether_it_serves_and_the_state_whether_all_is_well() {
        let health = Health::new("database");
        let told = async |expected: u16, state: &str| {
            for path in ["/readyz", "/health"] {
                let request = Request::get(path).body(Body::empty()).unwrap();
                let answer = health.routes().oneshot(request).await.unwrap();
                assert_eq!(answer.status().as_u16(), expected, "{state}");
                let body = axum::body::to_bytes(answer.into_body(), 1 << 10).await.unwrap();
                let report: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(
                    (&report["state"], &report["serving"]),
                    (&state.into(), &(expected == 200).into())
                );
            }
        };
        told(503, "starting").await;
        health.set_ready();
        told(200, "ready").await;
        health.set_degraded_serving("the backup's destination cannot be used");
        told(200, "degraded").await;
        health.set_degraded("the last write failed");
        told(503, "degraded").await;
        health.set_draining();
        health.set_ready();
        told(503, "draining").await;
    }
}
