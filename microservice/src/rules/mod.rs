//! Who may do what with a collection's records, and which of them a caller sees.
//!
//! A rule is a list of roles, `public` for everybody, and `owner` for whom a record belongs to; without a rule
//! whoever the gateway lets pass may. `rows` is a filter on top, in which `$subject` stands for the caller's name and
//! `$claims.NAME` for another claim of its token: to a caller, records outside it do not exist. A caller is who a gateway says it is (`process::Identity`).

mod placeholders;

use database::Record;
use database::find::{Comparison, Field, Filter};
use process::problem::kinds;
use process::{Identity, Problem};
use serde_json::Value;

use self::placeholders::{EVERYTHING, NOTHING, find_fault, for_caller};
use crate::config;
use crate::query::Reader;
use crate::schema::Schema;

/// What a rule says of everybody.
const PUBLIC: &str = "public";

/// What it says of whom a record belongs to.
const OWNER: &str = "owner";

/// The rules of one collection, ready to decide.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    settings: config::Rules,
    owner: Option<Field>,
    /// The claim that says who an owner is; the caller's name without it.
    owner_claim: Option<String>,
    rows: Option<Filter>,
}

/// How far somebody may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// With every record.
    All,
    /// With the caller's own records.
    Own,
}

impl Grant {
    /// Gives what two grants allow together.
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::All { other } else { self }
    }
}

impl Rules {
    /// Reads the rules of a collection; the error names the setting and says what is wrong.
    pub(crate) fn read(
        settings: &config::Collection,
        schema: &Schema,
    ) -> Result<Self, (&'static str, String)> {
        let rules = &settings.rules;
        let owner = match &settings.owner {
            Some(name) => {
                let field = Field::new(name.as_str()).filter(|_| !name.contains('.'));
                Some(field.ok_or_else(|| ("owner", format!("`{name}` is no field of the record itself")))?)
            }
            None => None,
        };
        let lists = [
            &rules.list,
            &rules.read,
            &rules.create,
            &rules.update,
            &rules.delete,
            &rules.sensitive,
            &rules.deleted,
        ];
        let names_owner = lists.into_iter().flatten().any(|rule| rule.iter().any(|role| role == OWNER));
        if names_owner && owner.is_none() {
            return Err(("rules", "`owner` is named, but the collection has no `owner` field".to_owned()));
        }
        let rows = match &rules.rows {
            Some(rows) => {
                let kind_of = |field: &Field| schema.kind_of(field);
                let asked = Reader { kind_of: &kind_of, page_limit: 1, soft_delete: false }.read(rows);
                let asked = asked.map_err(|reason| ("rules.rows", reason))?;
                let filter = asked.filter.ok_or_else(|| ("rules.rows", "it has no condition".to_owned()))?;
                if let Some(field) = filter.fields().into_iter().find(|field| settings.is_sensitive(field)) {
                    return Err((
                        "rules.rows",
                        format!("`{field}` is sensitive: no condition can ask about it"),
                    ));
                }
                Some(filter)
            }
            None => None,
        };
        let owner_claim = settings.owner_claim.clone();
        if owner_claim.is_some() && owner.is_none() {
            return Err(("owner_claim", "the collection has no `owner` field".to_owned()));
        }
        if let Some(fault) = rows.as_ref().and_then(find_fault) {
            return Err(("rules.rows", fault));
        }
        // A caller's question and the owner's condition must find room beside them.
        let beside = Filter::And(rows.iter().cloned().chain([EVERYTHING, EVERYTHING]).collect());
        beside.check().map_err(|error| ("rules.rows", error.to_string()))?;
        Ok(Self { settings: rules.clone(), owner, owner_claim, rows })
    }

    /// Names the fields that listings are narrowed by, which must be indexed.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        let is_own = |rule: &Option<Vec<String>>| {
            rule.as_ref().is_some_and(|rule| rule.iter().any(|role| role == OWNER))
        };
        let owner =
            self.owner.iter().filter(|_| is_own(&self.settings.list) || is_own(&self.settings.deleted));
        self.rows.iter().flat_map(Filter::fields).chain(owner).collect()
    }

    /// Decides who lists.
    pub(crate) fn grant_list(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        grant(self.settings.list.as_deref(), caller)
    }

    /// Decides who reads.
    pub(crate) fn grant_read(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        grant(self.settings.read.as_deref(), caller)
    }

    /// Decides which records are there for who is to change them: those it reads, since it is answered with them.
    pub(crate) fn grant_sight(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        let refused = |problem: Problem| problem.detail("who may not read records cannot change them");
        self.grant_read(caller).map_err(refused)
    }

    /// Decides who creates; where records have an owner, somebody must be there to be it.
    pub(crate) fn grant_create(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        match (&self.owner, caller) {
            (Some(_), None) => Err(Problem::new(kinds::UNAUTHENTICATED)),
            (Some(_), Some(_)) if self.owner_name(caller).is_none() => {
                let detail = "your token does not say to whom the record would belong";
                Err(Problem::new(kinds::FORBIDDEN).detail(detail))
            }
            _ => grant(self.settings.create.as_deref(), caller),
        }
    }

    /// Decides who changes.
    pub(crate) fn grant_update(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        grant(self.settings.update.as_deref(), caller)
    }

    /// Decides who deletes.
    pub(crate) fn grant_delete(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        grant(self.settings.delete.as_deref(), caller)
    }

    /// Decides who reads sensitive fields.
    pub(crate) fn grant_sensitive(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        grant(Some(self.settings.sensitive.as_deref().unwrap_or_default()), caller)
    }

    /// Decides who sees deleted records, restores and purges them.
    pub(crate) fn grant_deleted(&self, caller: Option<&Identity>) -> Result<Grant, Problem> {
        grant(Some(self.settings.deleted.as_deref().unwrap_or_default()), caller)
    }

    /// Tells whether what a record holds decides who reads it.
    pub(crate) fn look_at_records(&self) -> bool {
        self.rows.is_some() || self.owner.is_some()
    }

    /// Gives what a caller's own records hold in the owner's field; nothing of a caller who can have none.
    pub(crate) fn owner_name(&self, caller: Option<&Identity>) -> Option<Value> {
        let caller = caller?;
        match &self.owner_claim {
            Some(claim) => caller.claims.get(claim).cloned(),
            None => Some(Value::from(caller.subject.as_str())),
        }
    }

    /// Names the field that says whom a record belongs to.
    pub(crate) fn owner_field(&self) -> Option<&Field> {
        self.owner.as_ref()
    }

    /// Tells whether a record is among those that a caller sees at all.
    pub(crate) fn sees(&self, caller: Option<&Identity>, record: &Record) -> bool {
        self.rows_of(caller).is_none_or(|rows| rows.matches(record))
    }

    /// Tells whether a caller that may do something so far may not do it with every record.
    pub(crate) fn hide_some(&self, caller: Option<&Identity>, grant: Grant) -> bool {
        grant == Grant::Own || self.rows_of(caller).is_some()
    }

    /// Tells whether a record belongs to a caller.
    pub(crate) fn owns(&self, caller: Option<&Identity>, record: &Record) -> bool {
        match (self.owner_is(caller), caller) {
            (Some(is_owner), Some(_)) => is_owner.matches(record),
            _ => false,
        }
    }

    /// Narrows what a caller asks for to what it may see; refused when the two together are more than the database takes.
    pub(crate) fn narrow(
        &self,
        caller: Option<&Identity>,
        grant: Grant,
        asked: Option<Filter>,
    ) -> Result<Option<Filter>, Problem> {
        // Who can own nothing sees nothing of its own.
        let own = || self.owner_is(caller).unwrap_or(NOTHING);
        let own = (grant == Grant::Own).then(own);
        let mut all: Vec<Filter> = [asked, self.rows_of(caller), own].into_iter().flatten().collect();
        let narrowed = match all.len() {
            0 | 1 => all.pop(),
            _ => Some(Filter::And(all)),
        };
        narrowed.as_ref().map_or(Ok(()), Filter::check).map_err(|error| {
            let detail = format!("{error}, with the conditions on what you may see");
            Problem::new(kinds::MALFORMED_REQUEST).detail(detail)
        })?;
        Ok(narrowed)
    }

    fn owner_is(&self, caller: Option<&Identity>) -> Option<Filter> {
        let (field, value) = (self.owner.clone()?, self.owner_name(caller)?);
        Some(Filter::Compare { field, comparison: Comparison::Eq, value })
    }

    fn rows_of(&self, caller: Option<&Identity>) -> Option<Filter> {
        let rows = self.rows.as_ref()?;
        let all = &self.settings.all_rows;
        let sees_all = caller.is_some_and(|caller| caller.roles.iter().any(|role| all.contains(role)));
        (!sees_all).then(|| for_caller(rows, caller, true))
    }
}

fn grant(rule: Option<&[String]>, caller: Option<&Identity>) -> Result<Grant, Problem> {
    let Some(rule) = rule else { return Ok(Grant::All) };
    if rule.iter().any(|role| role == PUBLIC) {
        return Ok(Grant::All);
    }
    let caller = caller.ok_or_else(|| Problem::new(kinds::UNAUTHENTICATED))?;
    if rule.iter().any(|role| caller.roles.contains(role)) {
        return Ok(Grant::All);
    }
    match rule.iter().any(|role| role == OWNER) {
        true => Ok(Grant::Own),
        false => Err(Problem::new(kinds::FORBIDDEN)),
    }
}

#[cfg(test)]
mod tests;
