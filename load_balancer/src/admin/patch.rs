//! `PATCH /v1/backends/{host:port}`: weight and drain of any backend, over what its sources say.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use http::HeaderMap;
use process::Problem;
use process::problem::kinds;
use serde::{Deserialize, Deserializer};

use super::{AdminState, BackendView, Named, check_weight, read_body, refuse_body, unknown};

/// The media types a patch may have: a merge patch (RFC 7396), which is also what plain JSON is taken for.
const MEDIA_TYPES: [&str; 2] = ["application/merge-patch+json", "application/json"];

/// What is to be changed: a value sets, null gives the word back to the sources, what is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Patch {
    #[serde(deserialize_with = "present")]
    weight: Option<Option<f64>>,
    #[serde(deserialize_with = "present")]
    drain: Option<Option<bool>>,
}

/// Tells a null from a member that is not there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Sets weight and drain; with `load_balancer.state` it is durable when it is answered.
pub(super) async fn patch(
    State(state): State<AdminState>,
    Named(name): Named,
    fields: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<BackendView>, Problem> {
    check_media_type(&fields)?;
    let body = body.map_err(refuse_body)?;
    let Patch { weight, drain } = read_body(&body)?;
    weight.flatten().map_or(Ok(()), check_weight)?;
    let revision = {
        let name = name.clone();
        let set = move |set: &mut crate::discovery::Override| {
            set.weight = weight.unwrap_or(set.weight);
            set.drain = drain.unwrap_or(set.drain);
        };
        state.change(move |directory| directory.set(&name, set)).await?
    };
    let revision = revision.ok_or_else(|| unknown(&name))?;
    let (cluster, backend) = (state.0.directory.cluster().name(), name.as_str());
    let (weight, drain) = (tell(weight), tell(drain));
    tracing::info!(cluster, backend, weight, drain, "a backend was set by hand");
    if !state.0.keeper.until_saved(revision).await {
        let detail =
            "it holds now, but it could not be written to load_balancer.state and ends with this process";
        return Err(Problem::new(kinds::INTERNAL).detail(detail));
    }
    state.view(&name).map(Json).ok_or_else(|| unknown(&name))
}

/// Tells a member for the log: what it was set to, `null`, or nothing where it was not there.
fn tell<T: ToString>(member: Option<Option<T>>) -> Option<String> {
    member.map(|value| value.map_or_else(|| "null".to_owned(), |value| value.to_string()))
}

fn check_media_type(fields: &HeaderMap) -> Result<(), Problem> {
    let Some(sent) = process::media_type(fields) else { return Ok(()) };
    if MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(sent)) {
        return Ok(());
    }
    Err(Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE).detail("a patch is application/merge-patch+json"))
}
