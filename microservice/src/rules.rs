//! Who may do what with a collection's records, and which of them a caller sees.
//!
//! A rule is a list of roles, `public` for everybody, and `owner` for whom a record belongs to; without a rule
//! whoever the gateway lets pass may. `rows` is a filter on top, in which `$subject` stands for the caller's name and
//! `$claims.NAME` for another claim of its token: to a caller, records outside it do not exist. A caller is who a gateway says it is (`process::Identity`).

use database::Record;
use database::find::{Comparison, Field, Filter};
use process::problem::kinds;
use process::{Identity, Problem};
use serde_json::Value;

use crate::config;
use crate::query::Reader;
use crate::schema::Schema;

/// What a rule says of everybody.
const PUBLIC: &str = "public";

/// What it says of whom a record belongs to.
const OWNER: &str = "owner";

/// What stands for the caller's name in `rows`.
const SUBJECT: &str = "$subject";

/// What stands for a claim of the caller's token, before the claim's name.
const CLAIMS: &str = "$claims.";

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

    /// Tells whether a record belongs to a caller.
    pub(crate) fn owns(&self, caller: Option<&Identity>, record: &Record) -> bool {
        match (self.owner_is(caller), caller) {
            (Some(is_owner), Some(_)) => is_owner.matches(record),
            _ => false,
        }
    }

    /// Narrows what a caller asks for to what it may see.
    pub(crate) fn narrow(
        &self,
        caller: Option<&Identity>,
        grant: Grant,
        asked: Option<Filter>,
    ) -> Option<Filter> {
        // Who can own nothing sees nothing of its own.
        let own = || self.owner_is(caller).unwrap_or(NOTHING);
        let own = (grant == Grant::Own).then(own);
        let mut all: Vec<Filter> = [asked, self.rows_of(caller), own].into_iter().flatten().collect();
        match all.len() {
            0 | 1 => all.pop(),
            _ => Some(Filter::And(all)),
        }
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

/// No record.
const NOTHING: Filter = Filter::Or(Vec::new());

/// Every record.
const EVERYTHING: Filter = Filter::And(Vec::new());

/// Puts a caller in the place of `$subject`, and its claims in theirs. A condition about what is not known of the caller
/// lets no record through, also where it is negated: `counts` is false within a negation.
fn for_caller(filter: &Filter, caller: Option<&Identity>, counts: bool) -> Filter {
    let each = |parts: &[Filter]| parts.iter().map(|part| for_caller(part, caller, counts)).collect();
    match filter {
        Filter::And(parts) => Filter::And(each(parts)),
        Filter::Or(parts) => Filter::Or(each(parts)),
        Filter::Not(part) => Filter::Not(Box::new(for_caller(part, caller, !counts))),
        Filter::Compare { field, comparison, value: Value::String(text) } if text.starts_with('$') => {
            match known_of(caller, text) {
                Some(value) => Filter::Compare { field: field.clone(), comparison: *comparison, value },
                None if counts => NOTHING,
                None => EVERYTHING,
            }
        }
        other => other.clone(),
    }
}

/// Gives what stands in the place of a text that begins with `$`.
fn known_of(caller: Option<&Identity>, text: &str) -> Option<Value> {
    let caller = caller?;
    match text.strip_prefix(CLAIMS) {
        Some(claim) => caller.claims.get(claim).cloned(),
        None => Some(Value::from(caller.subject.as_str())),
    }
}

/// Finds what in `rows` stands for nothing, or where it cannot stand.
fn find_fault(filter: &Filter) -> Option<String> {
    let is_known =
        |text: &str| text == SUBJECT || text.strip_prefix(CLAIMS).is_some_and(|claim| !claim.is_empty());
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().find_map(find_fault),
        Filter::Not(part) => find_fault(part),
        Filter::Compare { value: Value::String(text), .. } if text.starts_with('$') && !is_known(text) => {
            Some(format!("`{text}` stands for nothing; there are {SUBJECT} and {CLAIMS}NAME"))
        }
        Filter::In { values, .. } => {
            let text = values.iter().filter_map(Value::as_str).find(|text| text.starts_with('$'))?;
            Some(format!("`{text}` stands for one value: compare with it, by `eq` for one"))
        }
        Filter::Like { pattern, .. } if is_known(pattern) => {
            Some(format!("`{pattern}` stands for a value, and `like` takes a form"))
        }
        _ => None,
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
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn person(name: &str, roles: &[&str]) -> Identity {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Identity { subject: name.into(), roles, claims: BTreeMap::new() }
    }

    fn rule(roles: &[&str]) -> Option<Vec<String>> {
        Some(roles.iter().map(|role| (*role).to_owned()).collect())
    }

    fn record(data: Value) -> Record {
        let Value::Object(data) = data else { panic!("an object") };
        let at = jiff::Timestamp::UNIX_EPOCH;
        Record { collection: "c".into(), id: "r".into(), version: 1, created_at: at, updated_at: at, data }
    }

    fn rules(change: impl FnOnce(&mut config::Collection)) -> Rules {
        let mut settings = config::Collection::default();
        change(&mut settings);
        Rules::read(&settings, &Schema::load(&settings).unwrap()).unwrap()
    }

    #[test]
    fn a_rule_is_for_roles_for_owners_or_for_everybody() {
        let (ada, admin) = (person("ada", &["user"]), person("root", &["user", "admin"]));
        let status = |rule: Option<Vec<String>>, caller| {
            grant(rule.as_deref(), caller).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(status(None, None), Ok(Grant::All));
        assert_eq!(status(rule(&["public"]), None), Ok(Grant::All));
        assert_eq!(status(rule(&["admin", "owner"]), Some(&admin)), Ok(Grant::All));
        assert_eq!(status(rule(&["admin", "owner"]), Some(&ada)), Ok(Grant::Own));
        assert_eq!(status(rule(&["admin"]), Some(&ada)), Err(403));
        assert_eq!(status(rule(&["owner"]), None), Err(401));
        assert_eq!(status(rule(&[]), Some(&admin)), Err(403), "nobody");
    }

    #[test]
    fn rows_narrow_what_a_caller_sees() {
        let rules = rules(|settings| {
            settings.rules.rows = Some("or=(public.is.true,by.eq.$subject)".into());
            settings.rules.all_rows = vec!["admin".into()];
        });
        let (ada, admin) = (person("ada", &[]), person("root", &["admin"]));
        let (hers, shown, other) = (
            record(json!({"by": "ada"})),
            record(json!({"public": true})),
            record(json!({"by": "$subject"})),
        );
        let sees =
            |caller: Option<&Identity>| [&hers, &shown, &other].map(|record| rules.sees(caller, record));
        assert_eq!(sees(Some(&ada)), [true, true, false]);
        assert_eq!(sees(None), [false, true, false]);
        assert_eq!(sees(Some(&admin)), [true, true, true]);
        assert_eq!(rules.narrow(Some(&admin), Grant::All, None), None);
        assert!(rules.narrow(None, Grant::All, None).unwrap().matches(&shown));
    }

    #[test]
    fn claims_narrow_what_a_caller_sees_and_without_them_it_sees_nothing() {
        let of = |tenant: Option<Value>| {
            let mut person = person("ada", &[]);
            person.claims.extend(tenant.map(|tenant| ("tenant".to_owned(), tenant)));
            person
        };
        let (acme, other) = (record(json!({"tenant": "acme"})), record(json!({"tenant": "$claims.tenant"})));
        for (rows, expected) in [
            ("tenant=eq.$claims.tenant", [true, false]),
            ("tenant=not.eq.$claims.tenant", [false, true]),
            ("not.or=(tenant.eq.$claims.tenant)", [false, true]),
            ("tenant=neq.$claims.tenant", [false, true]),
        ] {
            let rules = rules(|settings| settings.rules.rows = Some(rows.into()));
            let sees = |caller: Option<&Identity>| [&acme, &other].map(|record| rules.sees(caller, record));
            assert_eq!(sees(Some(&of(Some(json!("acme"))))), expected, "{rows}");
            assert_eq!(sees(Some(&of(None))), [false, false], "{rows}");
            assert_eq!(sees(None), [false, false], "{rows}");
        }
        let rules = rules(|settings| {
            (settings.owner, settings.owner_claim) = (Some("tenant".into()), Some("tenant".into()));
            settings.rules.list = rule(&["owner"]);
        });
        assert!(rules.owns(Some(&of(Some(json!("acme")))), &acme));
        assert!(!rules.owns(Some(&of(None)), &acme) && !rules.owns(Some(&of(Some(json!("x")))), &acme));
        let narrowed = rules.narrow(Some(&of(None)), Grant::Own, None).unwrap();
        assert!(!narrowed.matches(&acme) && !narrowed.matches(&record(json!({}))));
        assert_eq!(rules.grant_create(Some(&of(None))).unwrap_err().status(), 403);
        assert_eq!(rules.owner_name(Some(&of(Some(json!("acme"))))), Some(json!("acme")));
    }

    #[test]
    fn an_owner_has_its_own_records_and_nobody_has_those_of_nobody() {
        let rules = rules(|settings| settings.owner = Some("by".into()));
        let ada = person("ada", &[]);
        assert!(rules.owns(Some(&ada), &record(json!({"by": "ada"}))));
        for data in [json!({"by": "bob"}), json!({}), json!({"by": ["ada"]})] {
            assert!(!rules.owns(Some(&ada), &record(data.clone())) && !rules.owns(None, &record(data)));
        }
    }

    #[test]
    fn rules_that_cannot_hold_are_named() {
        let refuse = |change: &dyn Fn(&mut config::Collection)| {
            let mut settings = config::Collection::default();
            change(&mut settings);
            Rules::read(&settings, &Schema::load(&settings).unwrap()).unwrap_err().0
        };
        assert_eq!(refuse(&|settings| settings.rules.list = rule(&["owner"])), "rules");
        assert_eq!(refuse(&|settings| settings.owner = Some("a.b".into())), "owner");
        assert_eq!(refuse(&|settings| settings.rules.rows = Some("a=1".into())), "rules.rows");
        for rows in ["limit=1", "a=eq.$tenant", "a=eq.$claims.", "a=in.($subject,b)", "a=like.$subject"] {
            assert_eq!(refuse(&|settings| settings.rules.rows = Some(rows.into())), "rules.rows", "{rows}");
        }
        assert_eq!(refuse(&|settings| settings.owner_claim = Some("tenant".into())), "owner_claim");
    }
}
