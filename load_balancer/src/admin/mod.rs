//! What the load balancer adds to the admin address: `/v1/backends`, to see them and to change who they are.
//!
//! `GET` lists them, or shows one. A backend registers itself and renews its lease by `PUT`, and leaves by
//! `DELETE` ([`lease`]); weight and drain of any backend are set by `PATCH` ([`patch`]). What is answered with
//! 2xx holds for every request chosen after it. The cluster token guards all of it, as everything there.

mod lease;
mod patch;

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::request::Parts;
use process::problem::{Fault, kinds};
use process::{Problem, weighted};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::BackendReport;
use crate::discovery::{Directory, MemberStanding, Membership, Override, read_address};

/// The largest body that is read, in bytes; what may be said fits into a tenth.
const BODY_LIMIT: usize = 4096;

/// What `GET /v1/backends` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backends {
    /// Each backend: in the order of the configuration, then those that registered.
    pub backends: Vec<BackendView>,
    /// Each entry of DNS, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameView>,
}

/// One entry of DNS, also one that stands for no backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameView {
    /// The entry: `dns://host:port` or `srv://name`.
    pub source: String,
    /// How many backends it stands for; 0 while nothing was found.
    pub backends: usize,
}

/// One backend: what is known of it, and why it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// What is known of it.
    #[serde(flatten)]
    pub report: BackendReport,
    /// Who named it: `config`, the entry of DNS, `registered`; empty once nobody does.
    pub sources: Vec<String>,
    /// What was set for it at run time, over what its sources say.
    pub set: Set,
    /// How long its registration holds without a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_left_ms: Option<u64>,
    /// Whether it registered once, left, and has not come back: it drains then, unless it is set not to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_left: bool,
}

/// What was set for a backend at run time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Whether it is sent no new requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
}

impl From<Override> for Set {
    fn from(set: Override) -> Self {
        Self { weight: set.weight, drain: set.drain }
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct AdminState(Membership);

/// Makes the routes for one cluster.
pub(crate) fn routes(members: &Membership) -> Router {
    let one = get(show).put(lease::register).delete(lease::leave).patch(patch::patch);
    Router::new()
        .route("/v1/backends", get(list))
        .route("/v1/backends/{backend}", one)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(AdminState(members.clone()))
}

async fn list(State(state): State<AdminState>) -> Json<Backends> {
    Json(Backends { backends: state.views(), names: state.0.directory.names() })
}

async fn show(State(state): State<AdminState>, Named(name): Named) -> Result<Json<BackendView>, Problem> {
    state.view(&name).map(Json).ok_or_else(|| unknown(&name))
}

impl AdminState {
    fn views(&self) -> Vec<BackendView> {
        let standings = self.0.directory.standings(Instant::now());
        let reports = self.0.directory.cluster().report();
        reports.into_iter().map(|report| view(report, &standings)).collect()
    }

    fn view(&self, name: &str) -> Option<BackendView> {
        self.views().into_iter().find(|view| *view.report.address == *name)
    }

    /// Does what may look a name up, and so block, off the runtime's own threads.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Directory) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let directory = Arc::clone(&self.0.directory);
        let changed = tokio::task::spawn_blocking(move || change(&directory)).await;
        changed.map_err(|_| Problem::new(kinds::INTERNAL))
    }
}

fn is_false(claim: &bool) -> bool {
    !claim
}

fn view(report: BackendReport, standings: &[MemberStanding]) -> BackendView {
    let standing = standings.iter().find(|standing| *standing.entry.member.name == *report.address);
    let lease_left = standing.and_then(|standing| standing.lease_left);
    BackendView {
        report,
        sources: standing.map(|standing| standing.entry.sources.clone()).unwrap_or_default(),
        set: standing.map(|standing| standing.set.into()).unwrap_or_default(),
        lease_left_ms: lease_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        has_left: standing.is_some_and(|standing| standing.has_left),
    }
}

/// The backend a path names.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let malformed = |fault: String| Problem::new(kinds::MALFORMED_REQUEST).detail(fault);
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = path.map_err(|_| malformed("the path is not UTF-8".to_owned()))?;
        read_address(&name).map(Self).map_err(malformed)
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(kinds::NOT_FOUND).detail(format!("there is no backend {name}"))
}

/// Reads an object of JSON; an empty body is an empty object.
fn read_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { body };
    // A struct alone would also be read from an array.
    let object = serde_json::from_slice::<serde_json::Map<_, _>>(body);
    let read = object.and_then(|object| serde_json::from_value(object.into()));
    read.map_err(|error| match error.is_data() {
        true => Problem::new(kinds::INVALID_BODY).detail(error.to_string()),
        false => Problem::new(kinds::MALFORMED_REQUEST).detail(format!("the body is not JSON: {error}")),
    })
}

/// Refuses a body that could not be read, most likely for its size.
fn refuse_body(rejection: BytesRejection) -> Problem {
    match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(kinds::BODY_TOO_LARGE),
        _ => Problem::new(kinds::MALFORMED_REQUEST).detail("the body broke off"),
    }
}

/// Checks a weight somebody asks for.
fn check_weight(weight: f64) -> Result<(), Problem> {
    weighted::check_weight(weight)
        .map_err(|range| fault("/weight", format!("{range}; to send nothing, set drain")))
}

fn fault(pointer: &str, detail: String) -> Problem {
    Problem::new(kinds::INVALID_BODY).errors(vec![Fault { pointer: pointer.to_owned(), detail }])
}
