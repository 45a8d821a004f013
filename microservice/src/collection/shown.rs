//! What a caller is shown of records: all fields or those it names, and sensitive ones only if it names them and may
//! read them.

use database::Record;
use database::find::{FIELDS_LIMIT, Field, project};
use process::problem::kinds;
use process::{Identity, Problem};

use super::Collection;
use crate::rules::Grant;

/// What one answer shows of each of its records.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    caller: Option<Identity>,
    /// The fields that were named; all but sensitive ones without.
    fields: Option<Vec<Field>>,
    /// The sensitive fields that are opened.
    opened: Vec<String>,
    /// With which records they are.
    grant: Grant,
}

impl Shown {
    /// Decides what a caller that names these fields is shown; sensitive ones that it may not read are refused.
    pub(super) fn decide(
        collection: &Collection,
        caller: Option<&Identity>,
        fields: Option<Vec<Field>>,
    ) -> Result<Self, Problem> {
        let named = fields.as_deref().unwrap_or_default();
        let named: Vec<&Field> = named.iter().filter(|field| collection.sensitive.holds(field)).collect();
        let mut grant = Grant::All;
        if let Some(field) = named.first() {
            grant = collection
                .rules
                .grant_sensitive(caller)
                .map_err(|problem| problem.detail(format!("`{field}` is a sensitive field")))?;
        }
        let mut opened: Vec<String> = named.iter().map(|field| top(field).to_owned()).collect();
        opened.sort_unstable();
        opened.dedup();
        Ok(Self { caller: caller.cloned(), fields, opened, grant })
    }

    /// Gives the fields that were named.
    pub(super) fn fields(&self) -> Option<&[Field]> {
        self.fields.as_deref()
    }

    /// Tells whether a record without its sensitive fields is all that is shown.
    pub(super) fn is_plain(&self) -> bool {
        self.fields.is_none()
    }

    /// Tells whether a copy that has no sensitive fields is enough.
    pub(super) fn needs_no_sensitive(&self) -> bool {
        self.opened.is_empty()
    }

    /// Gives the fields that are needed of a record: sensitive ones whole, and what says whom it belongs to.
    pub(super) fn needed(&self, collection: &Collection) -> Option<Vec<Field>> {
        let fields = self.fields.as_ref()?;
        if self.opened.is_empty() {
            return Some(fields.clone());
        }
        let whole = |field: &Field| match collection.sensitive.holds(field) {
            true => Field::new(top(field)).unwrap_or_else(|| field.clone()),
            false => field.clone(),
        };
        let owner = collection.rules.owner_field().filter(|_| self.grant == Grant::Own);
        let mut needed: Vec<Field> = fields.iter().map(whole).chain(owner.cloned()).collect();
        needed.sort_unstable();
        needed.dedup();
        // Of all of it no less is shown.
        (needed.len() <= FIELDS_LIMIT).then_some(needed)
    }

    /// Refuses to show one record without what was named of it; in listings that is left out.
    pub(super) fn check_one(&self, collection: &Collection, record: &Record) -> Result<(), Problem> {
        let may = self.grant == Grant::All || collection.rules.owns(self.caller.as_ref(), record);
        match self.opened.first().filter(|_| !may) {
            Some(name) => {
                let detail = format!("`{name}` is a sensitive field, and the record is somebody else's");
                Err(Problem::new(kinds::FORBIDDEN).detail(detail))
            }
            None => Ok(()),
        }
    }

    /// Makes of a record as it is stored what is shown of it. Fields that cannot be opened, because the key is missing they
    /// were sealed with, are left out; they are named in what is given back.
    pub(super) fn apply(&self, collection: &Collection, record: &mut Record) -> Vec<String> {
        let mut unopened = Vec::new();
        let sensitive = &collection.sensitive;
        if !sensitive.is_empty() {
            let may = self.grant == Grant::All || collection.rules.owns(self.caller.as_ref(), record);
            let opened: &[String] = if may { &self.opened } else { &[] };
            record.data.retain(|name, _| !sensitive.names().contains(name) || opened.contains(name));
            unopened = sensitive.open(&record.id, &mut record.data, opened);
            record.data.retain(|name, _| !unopened.contains(name));
        }
        if let Some(fields) = &self.fields {
            record.data = project(&record.data, fields);
        }
        unopened
    }
}

/// Gives the member of the record that a field is, or lies in.
fn top(field: &Field) -> &str {
    field.names().next().unwrap_or_default()
}
