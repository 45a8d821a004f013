//! What stands in `rows` for something of the caller: its name, and the claims of its token.

use database::find::Filter;
use process::Identity;
use serde_json::Value;

/// What stands for the caller's name in `rows`.
const SUBJECT: &str = "$subject";

/// What stands for a claim of the caller's token, before the claim's name.
const CLAIMS: &str = "$claims.";

/// No record.
pub(super) const NOTHING: Filter = Filter::Or(Vec::new());

/// Every record.
pub(super) const EVERYTHING: Filter = Filter::And(Vec::new());

/// Puts a caller in the place of `$subject`, and its claims in theirs. A condition about what is not known of the caller
/// lets no record through, also where it is negated: `counts` is false within a negation.
pub(super) fn for_caller(filter: &Filter, caller: Option<&Identity>, counts: bool) -> Filter {
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
pub(super) fn find_fault(filter: &Filter) -> Option<String> {
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
