//! `PUT` and `DELETE /v1/backends/{host:port}`: a backend that comes, stays and leaves by itself.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use http::StatusCode;
use process::Problem;
use process::problem::kinds;
use process::weighted::WEIGHT;
use serde::Deserialize;
use tokio::time::Instant;

use super::{AdminState, BackendView, Named, check_weight, fault, read_body, refuse_body, unknown};
use crate::discovery::registry::Registered;
use crate::discovery::{Leaving, Refused};

/// The lease of a backend that asks for none: three renewals may be lost within it.
const LEASE: Duration = Duration::from_secs(10);

/// What a backend says of itself.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Registration {
    weight: f64,
    #[serde(with = "process::duration")]
    lease: Duration,
}

impl Default for Registration {
    fn default() -> Self {
        Self { weight: WEIGHT, lease: LEASE }
    }
}

/// Registers a backend (201) or renews its lease (200); the same request may come any number of times.
pub(super) async fn register(
    State(state): State<AdminState>,
    Named(name): Named,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<BackendView>), Problem> {
    let body = body.map_err(refuse_body)?;
    let Registration { weight, lease } = read_body(&body)?;
    check_weight(weight)?;
    let registered = {
        let name = name.clone();
        state.change(move |directory| directory.register(&name, weight, lease, Instant::now())).await?
    };
    let status = match registered {
        Ok(Registered::New) => {
            let (cluster, backend) = (state.0.directory.cluster().name(), name.as_str());
            tracing::info!(cluster, backend, weight, "a backend registered");
            StatusCode::CREATED
        }
        Ok(Registered::Renewed { .. }) => StatusCode::OK,
        Err(Refused::Full(limit)) => {
            let detail = format!(
                "{limit} backends are registered, as many as load_balancer.registration.limit allows"
            );
            return Err(Problem::new(kinds::CONFLICT).detail(detail));
        }
        Err(Refused::Lease(shortest, longest)) => {
            let (shortest, longest) =
                (process::duration::format(shortest), process::duration::format(longest));
            return Err(fault("/lease", format!("a lease lies between {shortest} and {longest}")));
        }
    };
    state.view(&name).map(|view| (status, Json(view))).ok_or_else(|| unknown(&name))
}

/// Ends a registration: when it is answered, no new request is sent there.
pub(super) async fn leave(
    State(state): State<AdminState>,
    Named(name): Named,
) -> Result<StatusCode, Problem> {
    let left = {
        let name = name.clone();
        state.change(move |directory| directory.leave(&name)).await?
    };
    match left {
        Leaving::Done => {
            let (cluster, backend) = (state.0.directory.cluster().name(), name.as_str());
            tracing::info!(cluster, backend, "a backend left");
            Ok(StatusCode::NO_CONTENT)
        }
        Leaving::NotRegistered => {
            let detail = "it is configured and did not register; PATCH it with {\"drain\": true}";
            Err(Problem::new(kinds::CONFLICT).detail(detail))
        }
        Leaving::Unknown => Err(unknown(&name)),
    }
}
