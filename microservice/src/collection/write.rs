//! Creating, replacing, patching and deleting one record.
//!
//! Every change of a record reads it, decides on what it read, and writes on the condition that the record
//! is still at that version, so no update is lost.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use database::{Error, Outcome, Record};
use http::header::LOCATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};
use process::problem::kinds;
use process::{Identity, Problem};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Collection;
use super::commit::{self, commit};
use super::once::{Once, happen};
use super::patch::Patch;
use super::prepare::{self, check_grant, require_version};
use super::read::{conditions, load, open};
use super::representation::Prepared;
use super::reserved::{make_way, require_free_name};
use crate::body::{self, JSON, JSON_PATCH, MERGE_PATCH};
use crate::condition::Conditions;
use crate::declare::is_deleted;
use crate::fault::{RETRY_AFTER, problem_of};
use crate::rules::Grant;

/// How often a change that another writer overtook is decided anew; each round one of them gets through.
pub(super) const ROUNDS: usize = 8;

/// A request that changes something, as far as it was read.
pub(super) struct Asked {
    pub(super) caller: Option<Identity>,
    pub(super) conditions: Conditions,
    body: Bytes,
    pub(super) once: Option<Once>,
}

/// Answers POST to the collection: a new record under a new name.
pub(super) async fn create(collection: &Collection, request: Request) -> Result<Response, Problem> {
    body::media_type(request.headers(), &[JSON])?;
    let asked = read(collection, request).await?;
    once(collection, &asked, async {
        // Version 7 grows with time, so new records lie together and listings show the oldest first.
        let id = Uuid::now_v7().to_string();
        let body = body::parse(&asked.body)?;
        let change = prepare::create(collection, asked.caller.as_ref(), &id, body, true)?;
        respond(
            collection,
            commit(collection, vec![change], asked.once.as_ref()).await.map_err(|e| problem_of(&e))?,
        )
    })
    .await
}

/// Answers PUT: replaces a record or, with `If-None-Match: *`, makes one under a chosen name.
pub(super) async fn replace(
    collection: &Collection,
    id: &str,
    request: Request,
) -> Result<Response, Problem> {
    body::media_type(request.headers(), &[JSON])?;
    let asked = read(collection, request).await?;
    once(collection, &asked, async {
        let body = body::parse(&asked.body)?;
        if asked.conditions.wants_absence() {
            let mut change = prepare::create(collection, asked.caller.as_ref(), id, body, false)?;
            // If-Match, which comes first, wants the record that must not be there (RFC 9110 §13.2.2).
            if asked.conditions.names_a_version() {
                return Err(Problem::new(kinds::PRECONDITION_FAILED));
            }
            if !require_free_name(collection, asked.caller.as_ref(), id, &mut change).await? {
                return Err(Problem::new(kinds::PRECONDITION_FAILED));
            }
            let done = commit(collection, vec![change], asked.once.as_ref()).await;
            return respond(collection, done.map_err(|error| problem_of(&error))?);
        }
        require_version(collection, &asked.conditions)?;
        let grant = collection.rules.grant_update(asked.caller.as_ref())?;
        // Said before the record is looked for, as far as it does not depend on the record.
        let data = body::as_object(body)?;
        let decide = |current: &Record| Ok(prepare::with_unseen(collection, current, data.clone()));
        settle(collection, id, &asked, grant, Wanted::Rewrite(&decide)).await
    })
    .await
}

/// Answers PATCH: applies a merge patch or a JSON patch to a record.
pub(super) async fn patch(collection: &Collection, id: &str, request: Request) -> Result<Response, Problem> {
    let media_type = body::media_type(request.headers(), &[MERGE_PATCH, JSON_PATCH])?;
    let asked = read(collection, request).await?;
    once(collection, &asked, async {
        require_version(collection, &asked.conditions)?;
        let grant = collection.rules.grant_update(asked.caller.as_ref())?;
        let patch = Patch::read(media_type, &asked.body)?;
        let decide = |current: &Record| patch.apply(collection, current);
        settle(collection, id, &asked, grant, Wanted::Rewrite(&decide)).await
    })
    .await
}

/// Answers DELETE.
pub(super) async fn delete(collection: &Collection, id: &str, request: Request) -> Result<Response, Problem> {
    let asked = read(collection, request).await?;
    once(collection, &asked, async {
        require_version(collection, &asked.conditions)?;
        let grant = collection.rules.grant_delete(asked.caller.as_ref())?;
        settle(collection, id, &asked, grant, Wanted::Remove).await
    })
    .await
}

/// Reads what every change needs.
pub(super) async fn read(collection: &Collection, request: Request) -> Result<Asked, Problem> {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let conditions = conditions(&headers)?;
    let caller = Identity::read(&headers);
    let body = body::read_bytes(Request::new(body), collection.settings.max_body).await?;
    // What is asked of the record is in the query, too.
    let target = uri.path_and_query().map_or(uri.path(), PathAndQuery::as_str);
    let once = Once::read(&headers, &method, target, caller.as_ref(), &body, collection.sensitive.keys())?;
    Ok(Asked { caller, conditions, body, once })
}

/// Does what was asked unless it was done before under the same key.
pub(super) async fn once(
    collection: &Collection,
    asked: &Asked,
    act: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Problem> {
    let done = |outcomes| respond(collection, commit::records(outcomes));
    happen(collection, asked.once.as_ref(), done, act).await
}

/// What makes the new record of the present one.
type Decide<'a> = dyn Fn(&Record) -> Result<Map<String, Value>, Problem> + Sync + 'a;

/// What is to become of a record.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// What this makes of it.
    Rewrite(&'a Decide<'a>),
    /// It is deleted.
    Remove,
}

/// Decides a change on the record as it is stored and commits it, anew whenever another writer was faster.
///
/// With an `If-Match` the second round finds a version it does not name and ends with 412.
async fn settle(
    collection: &Collection,
    id: &str,
    asked: &Asked,
    grant: Grant,
    wanted: Wanted<'_>,
) -> Result<Response, Problem> {
    let caller = asked.caller.as_ref();
    let sight = collection.rules.grant_sight(caller)?;
    for _ in 0..ROUNDS {
        let current = load(collection, id).await?;
        check_grant(collection, caller, sight, grant, &current)?;
        if !asked.conditions.allow_write(current.version) {
            return Err(Problem::new(kinds::PRECONDITION_FAILED));
        }
        let change = match wanted {
            Wanted::Rewrite(decide) => {
                let (current, unopened) = open(collection, current)?;
                prepare::change(collection, caller, &current, &unopened, decide(&current)?)?
            }
            Wanted::Remove => prepare::remove(collection, &current, make_way(collection, caller, id).await?),
        };
        match commit(collection, vec![change], asked.once.as_ref()).await {
            Ok(outcomes) => return respond(collection, outcomes),
            Err(Error::PreconditionFailed { .. }) => {}
            Err(error) => return Err(problem_of(&error)),
        }
    }
    Err(overtaken())
}

/// Answers with what became of the one record.
pub(super) fn respond(collection: &Collection, outcomes: Vec<Outcome>) -> Result<Response, Problem> {
    match outcomes.into_iter().next() {
        // Out of sight is deleted.
        Some(Outcome::Written { record, .. }) if is_deleted(&record.collection) => {
            Ok((StatusCode::NO_CONTENT, Body::empty()).into_response())
        }
        Some(Outcome::Written { mut record, created }) => {
            collection.sensitive.strip(&mut record.data);
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = Prepared::new(&record).into_response(status);
            if created
                && let Ok(location) = HeaderValue::try_from(format!("{}/{}", collection.path, record.id))
            {
                response.headers_mut().insert(LOCATION, location);
            }
            Ok(response)
        }
        Some(Outcome::Deleted { .. }) => Ok((StatusCode::NO_CONTENT, Body::empty()).into_response()),
        other => {
            tracing::error!(?other, "the database answered a write with another outcome");
            Err(Problem::new(kinds::INTERNAL))
        }
    }
}

pub(super) fn overtaken() -> Problem {
    Problem::new(kinds::CONFLICT).detail("others keep changing this record").retry_after(RETRY_AFTER)
}
