//! Deleted records, where deletions are soft: out of sight of every question that does not name them.
//!
//! A deletion moves the record to a collection of its own (`declare::deleted`), so nothing that reads the records, an
//! index, a job or another program, has to know; a unique field is free again. Restoring moves it back.

use axum::extract::Request;
use axum::response::Response;
use database::{Error, Operation, Precondition, Record};
use process::problem::kinds;
use process::{Identity, Problem};

use super::Collection;
use super::commit::{Change, commit};
use super::list::read_of_one;
use super::prepare::check_grant;
use super::read::{check_readable, check_sight, load_from, load_within};
use super::write::{self, ROUNDS, overtaken, respond};
use crate::declare::deleted;
use crate::fault::problem_of;
use crate::query::Deleted;
use crate::rules::Grant;
use crate::staleness::Staleness;

/// Where the records lie that a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sources {
    /// Those that are there.
    Live,
    /// And then the deleted ones.
    Both,
    /// The deleted ones.
    Deleted,
}

impl Sources {
    /// Gives the sources of a question; where deletions are not soft there is one.
    pub(super) fn of(collection: &Collection, asked: Deleted) -> Self {
        match asked {
            Deleted::Include if collection.settings.soft_delete => Self::Both,
            Deleted::Only if collection.settings.soft_delete => Self::Deleted,
            _ => Self::Live,
        }
    }

    /// Decides how far a caller that may read so far may read these.
    pub(super) fn grant(
        self,
        collection: &Collection,
        caller: Option<&Identity>,
        grant: Grant,
    ) -> Result<Grant, Problem> {
        match self {
            Self::Live => Ok(grant),
            Self::Both | Self::Deleted => {
                let refused = |problem: Problem| problem.detail("deleted records are not for everybody");
                Ok(grant.and(collection.rules.grant_deleted(caller).map_err(refused)?))
            }
        }
    }

    /// Names the collections in the database.
    pub(super) fn places(self, collection: &Collection) -> Vec<String> {
        match self {
            Self::Live => vec![collection.name.clone()],
            Self::Both => vec![collection.name.clone(), deleted(&collection.name)],
            Self::Deleted => vec![deleted(&collection.name)],
        }
    }
}

/// Finds one record in the first of the places that has it, if the caller may read it.
pub(super) async fn find_in(
    collection: &Collection,
    sources: Sources,
    id: &str,
    caller: Option<&Identity>,
    grant: Grant,
    staleness: &Staleness,
) -> Result<Record, Problem> {
    let grant = sources.grant(collection, caller, grant)?;
    let mut found = Err(Problem::new(kinds::NOT_FOUND));
    for place in sources.places(collection) {
        found = load_within(collection, &place, id, staleness).await;
        match &found {
            Err(problem) if problem.kind() == kinds::NOT_FOUND => {}
            _ => break,
        }
    }
    let record = found?;
    check_sight(collection, caller, grant, &record)?;
    Ok(record)
}

/// Answers POST to `/SERVICE/COLLECTION/ID/restore`.
pub(super) async fn restore(
    collection: &Collection,
    id: &str,
    request: Request,
) -> Result<Response, Problem> {
    settle(collection, id, request, Grant::All, |collection, current| Operation::Move {
        collection: deleted(&collection.name),
        id: current.id.clone(),
        to: collection.name.clone(),
        precondition: Precondition::Version(current.version),
        target: Precondition::Absent,
    })
    .await
}

/// Tells whether a DELETE is of a record that was deleted before, and so for good.
pub(super) fn is_purge(collection: &Collection, query: Option<&str>) -> Result<bool, Problem> {
    let asked = read_of_one(collection, query, &["deleted"])?;
    Ok(Sources::of(collection, asked.deleted) == Sources::Deleted)
}

/// Answers DELETE of a deleted record: it is gone for good, its history with it.
pub(super) async fn purge(collection: &Collection, id: &str, request: Request) -> Result<Response, Problem> {
    let grant = collection.rules.grant_delete(Identity::read(request.headers()).as_ref())?;
    settle(collection, id, request, grant, |collection, current| Operation::Delete {
        collection: deleted(&collection.name),
        id: current.id.clone(),
        precondition: Precondition::Version(current.version),
    })
    .await
}

/// Says why there is no deleted record of a name: it may be that the record is not deleted.
async fn absent(collection: &Collection, id: &str, caller: Option<&Identity>, sight: Grant) -> Problem {
    match load_from(collection, &collection.name, id).await {
        Ok(record) if check_sight(collection, caller, sight, &record).is_ok() => {
            Problem::new(kinds::ALREADY_EXISTS).detail("the record is not deleted")
        }
        Ok(_) => Problem::new(kinds::NOT_FOUND),
        Err(problem) => problem,
    }
}

/// Does something with a deleted record as it is, for whom another rule lets so far too; anew whenever another was
/// faster.
async fn settle(
    collection: &Collection,
    id: &str,
    request: Request,
    also: Grant,
    decide: impl Fn(&Collection, &Record) -> Operation,
) -> Result<Response, Problem> {
    let asked = write::read(collection, request).await?;
    write::once(collection, &asked, async {
        let caller = asked.caller.as_ref();
        let may_restore = collection.rules.grant_deleted(caller)?;
        let sight = collection.rules.grant_sight(caller)?;
        let place = deleted(&collection.name);
        for _ in 0..ROUNDS {
            let current = match load_from(collection, &place, id).await {
                Err(problem) if problem.kind() == kinds::NOT_FOUND => {
                    return Err(absent(collection, id, caller, sight).await);
                }
                current => current?,
            };
            check_grant(collection, caller, sight.and(may_restore), also, &current)?;
            if !asked.conditions.allow_write(current.version) {
                return Err(Problem::new(kinds::PRECONDITION_FAILED));
            }
            let operation = decide(collection, &current);
            let is_restore = matches!(operation, Operation::Move { .. });
            if is_restore {
                check_readable(&current)?;
            }
            let change = Change { operations: vec![operation], cache_key: Some(collection.cache_key(id)) };
            match commit(collection, vec![change], asked.once.as_ref()).await {
                Ok(outcomes) => return respond(collection, outcomes),
                Err(Error::PreconditionFailed { .. }) => {
                    // The name may have been given to another record since.
                    if is_restore && load_from(collection, &collection.name, id).await.is_ok() {
                        let detail = "there is a record under this name";
                        return Err(Problem::new(kinds::ALREADY_EXISTS).detail(detail));
                    }
                }
                Err(error) => return Err(problem_of(&error)),
            }
        }
        Err(overtaken())
    })
    .await
}
