//! The names of deleted records: kept for them against everybody who may not purge them.
//!
//! A record that is deleted softly replaces the one that was deleted under its name before. So that nobody destroys
//! in this way what it may not purge, only who may purge the deleted record can give its name to another, or delete
//! another under it. Both are decided on what is read, and the transaction happens only if that is still so.

use database::{Operation, Precondition, Record};
use process::problem::kinds;
use process::{Identity, Problem};

use super::Collection;
use super::commit::Change;
use super::prepare::check_grant;
use super::read::load_from;
use crate::declare::deleted;

/// Has a change that makes a record under a name of its caller's choice happen only if no deleted record keeps the name
/// from the caller, and tells whether none does now; one it may not know of looks like any other that is there.
pub(super) async fn require_free_name(
    collection: &Collection,
    caller: Option<&Identity>,
    id: &str,
    change: &mut Change,
) -> Result<bool, Problem> {
    if !collection.settings.soft_delete {
        return Ok(true);
    }
    let found = find(collection, id).await?;
    let purgeable = found.as_ref().filter(|record| may_purge(collection, caller, record));
    let precondition = purgeable.map_or(Precondition::Absent, |record| Precondition::Version(record.version));
    let (collection, id) = (deleted(&collection.name), id.to_owned());
    change.operations.insert(0, Operation::Require { collection, id, precondition });
    Ok(found.is_none() || purgeable.is_some())
}

/// Says what must be so of the place that a record moves to when a caller deletes it, so that nothing is lost
/// there but what the caller may purge.
pub(super) async fn make_way(
    collection: &Collection,
    caller: Option<&Identity>,
    id: &str,
) -> Result<Precondition, Problem> {
    match find(collection, id).await? {
        None => Ok(Precondition::Absent),
        Some(record) if may_purge(collection, caller, &record) => Ok(Precondition::Version(record.version)),
        Some(_) => {
            let detail = "another record was deleted under this name and is kept: it must be purged first";
            Err(Problem::new(kinds::CONFLICT).detail(detail))
        }
    }
}

async fn find(collection: &Collection, id: &str) -> Result<Option<Record>, Problem> {
    if !collection.settings.soft_delete {
        return Ok(None);
    }
    match load_from(collection, &deleted(&collection.name), id).await {
        Err(problem) if problem.kind() == kinds::NOT_FOUND => Ok(None),
        found => found.map(Some),
    }
}

fn may_purge(collection: &Collection, caller: Option<&Identity>, record: &Record) -> bool {
    let rules = &collection.rules;
    let may = || {
        let sight = rules.grant_sight(caller)?.and(rules.grant_deleted(caller)?);
        check_grant(collection, caller, sight, rules.grant_delete(caller)?, record)
    };
    may().is_ok()
}
