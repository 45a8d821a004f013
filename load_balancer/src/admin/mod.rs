//! What the load balancer adds to the admin address: `GET /v1/backends`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::{BackendReport, Cluster};

/// What `GET /v1/backends` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backends {
    /// Each backend, in the order of the configuration.
    pub backends: Vec<BackendReport>,
}

/// Makes the routes for one cluster.
pub fn routes(cluster: Arc<Cluster>) -> Router {
    Router::new().route("/v1/backends", get(list)).with_state(cluster)
}

async fn list(State(cluster): State<Arc<Cluster>>) -> Json<Backends> {
    Json(Backends { backends: cluster.report() })
}
