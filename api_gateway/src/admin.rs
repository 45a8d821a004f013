//! What a gateway adds to the admin address, under its port, because one process may hold several.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::routing::get;
use axum::{Json, Router};
use load_balancer::BackendReport;
use serde::Serialize;

use crate::shared::Shared;

/// What `/v1/gateways/{port}/services` answers.
#[derive(Debug, Serialize)]
struct Report {
    services: Vec<ServiceReport>,
}

/// What is known about one service.
#[derive(Debug, Serialize)]
struct ServiceReport {
    service: String,
    internal: bool,
    /// The circuit of each thread of the gateway: `closed`, `half-open`, `open`.
    breakers: Vec<&'static str>,
    /// Whether its schemas are known; absent when no route asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas_known: Option<bool>,
    instances: Vec<BackendReport>,
}

/// Makes the routes of one gateway.
pub(crate) fn routes(current: &Arc<ArcSwap<Shared>>) -> Router {
    let path = format!("/v1/gateways/{}/services", current.load().label);
    let current = Arc::clone(current);
    Router::new().route(&path, get(move || std::future::ready(Json(report(&current.load())))))
}

fn report(shared: &Shared) -> Report {
    let services = shared.services.iter().map(|service| ServiceReport {
        service: service.name.clone(),
        internal: service.is_internal,
        breakers: service.circuits().into_iter().map(|state| state.name()).collect(),
        schemas_known: service.schemas.as_ref().map(|schemas| schemas.load().is_some()),
        instances: service.cluster.report(),
    });
    Report { services: services.collect() }
}
