//! The query of a listing: `?price=gte.10&or=(a.eq.1,b.is.null)&order=-price,name&limit=…&cursor=…`.
//!
//! The form is PostgREST's: a parameter named like a field is a condition on it, and all conditions hold
//! together. What a value is meant as, a number or a string, the field's declared type says. Every
//! refusal names the parameter, and the character where a group cannot be read.

mod condition;
mod decode;
mod group;

use database::find::{Count, FIELDS_LIMIT, Field, Filter, Kind, ORDER_LIMIT, Order};

pub(crate) use condition::read_condition;
pub(crate) use group::read_group;

/// How many records a page has unless the client says otherwise.
pub(crate) const DEFAULT_LIMIT: u32 = 50;

/// The most conditions beside each other, well under what the database takes.
const PARAMETER_LIMIT: usize = 48;

/// What a listing asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// What the records must be like.
    pub(crate) filter: Option<Filter>,
    /// In what order they come.
    pub(crate) order: Vec<Order>,
    /// How many at most, if that is said.
    pub(crate) limit: Option<u32>,
    /// The cursor, as it was sent.
    pub(crate) cursor: Option<String>,
    /// Which fields are answered; all without.
    pub(crate) fields: Option<Vec<Field>>,
    /// Whether all that match are counted.
    pub(crate) count: Count,
    /// Whether deleted records are meant.
    pub(crate) deleted: Deleted,
}

/// Whether a question is about deleted records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// It is not.
    #[default]
    No,
    /// About them too.
    Include,
    /// About them alone.
    Only,
}

/// What the query of a collection is read by.
pub(crate) struct Reader<'a> {
    /// Tells the type of a field's values, where it is declared.
    pub(crate) kind_of: &'a dyn Fn(&Field) -> Option<Kind>,
    /// The most records of one page.
    pub(crate) page_limit: u32,
    /// Whether deletions are soft, so that `deleted` is a parameter and no field.
    pub(crate) soft_delete: bool,
}

impl Reader<'_> {
    /// Reads a query; the error says which parameter is wrong, and how.
    pub(crate) fn read(&self, query: &str) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let mut conditions = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode::decode(name).ok_or("the name of a parameter is not percent-encoded UTF-8")?;
            let value = decode::decode(value)
                .ok_or_else(|| format!("`{name}`: the value is not percent-encoded UTF-8"))?;
            let is_known = matches!(name.as_str(), "order" | "limit" | "cursor" | "fields" | "count");
            if is_known || self.soft_delete && name == "deleted" {
                if seen.contains(&name) {
                    return Err(format!("`{name}` stands twice"));
                }
                seen.push(name.clone());
            }
            let told = |detail: String| format!("`{name}`: {detail}");
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit: &u32| *limit > 0);
                    asked.limit = Some(limit.ok_or("`limit`: a number from 1")?.min(self.page_limit));
                }
                "cursor" => asked.cursor = Some(value),
                "order" => asked.order = read_order(&value).map_err(told)?,
                "fields" => asked.fields = Some(read_fields(&value).map_err(told)?),
                "deleted" if self.soft_delete => asked.deleted = read_deleted(&value).map_err(told)?,
                "count" => asked.count = read_count(&value).map_err(told)?,
                "and" | "or" | "not.and" | "not.or" => {
                    conditions.push(read_group(&name, &value, self.kind_of).map_err(told)?);
                }
                _ => {
                    let field = Field::new(name.as_str())
                        .ok_or_else(|| told("not a parameter, and not the name of a field".to_owned()))?;
                    conditions.push(read_condition(&field, &value, self.kind_of).map_err(told)?);
                }
            }
        }
        if conditions.len() > PARAMETER_LIMIT {
            return Err(format!("there are more than {PARAMETER_LIMIT} conditions"));
        }
        asked.filter = match conditions.len() {
            0 => None,
            1 => conditions.pop(),
            _ => Some(Filter::And(conditions)),
        };
        if let Some(filter) = &asked.filter {
            filter.check().map_err(|error| error.to_string())?;
        }
        Ok(asked)
    }
}

/// What is asked of one record.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct AskedOfOne {
    /// Which fields are answered; all without.
    pub(crate) fields: Option<Vec<Field>>,
    /// Whether a deleted one is meant.
    pub(crate) deleted: Deleted,
    /// How many versions at most.
    pub(crate) limit: Option<u32>,
    /// The cursor, as it was sent.
    pub(crate) cursor: Option<String>,
}

impl AskedOfOne {
    /// Reads the query of one record, which may have these parameters; the error says which one is wrong, and how.
    pub(crate) fn read(query: &str, taken: &[&str]) -> Result<Self, String> {
        let (mut asked, mut seen) = (Self::default(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !taken.contains(&name) {
                let shown: String = name.chars().take(100).collect();
                return Err(format!("`{shown}`: not a parameter here"));
            }
            let told = |detail: String| format!("`{name}`: {detail}");
            if seen.contains(&name) {
                return Err(told("it stands twice".to_owned()));
            }
            seen.push(name);
            let value = decode::decode(value)
                .ok_or_else(|| told("the value is not percent-encoded UTF-8".to_owned()))?;
            match name {
                "fields" => asked.fields = Some(read_fields(&value).map_err(told)?),
                "deleted" => asked.deleted = read_deleted(&value).map_err(told)?,
                "limit" => {
                    let limit = value.parse().ok().filter(|limit: &u32| *limit > 0);
                    asked.limit = Some(limit.ok_or("`limit`: a number from 1")?);
                }
                _ => asked.cursor = Some(value),
            }
        }
        Ok(asked)
    }
}

fn read_order(text: &str) -> Result<Vec<Order>, String> {
    let read = |spelled: &str| {
        let (descending, name) = match spelled.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, spelled),
        };
        let field = Field::new(name).ok_or_else(|| format!("`{spelled}` is no field"))?;
        Ok(Order { field, descending })
    };
    let order: Vec<Order> = text.split(',').map(read).collect::<Result<_, String>>()?;
    match order.len() <= ORDER_LIMIT {
        true => Ok(order),
        false => Err(format!("at most {ORDER_LIMIT} fields")),
    }
}

fn read_fields(text: &str) -> Result<Vec<Field>, String> {
    let read = |name: &str| Field::new(name).ok_or_else(|| format!("`{name}` is no field"));
    let fields: Vec<Field> = text.split(',').map(read).collect::<Result<_, String>>()?;
    match fields.len() <= FIELDS_LIMIT {
        true => Ok(fields),
        false => Err(format!("at most {FIELDS_LIMIT} fields")),
    }
}

fn read_deleted(text: &str) -> Result<Deleted, String> {
    match text {
        "include" => Ok(Deleted::Include),
        "only" => Ok(Deleted::Only),
        _ => Err("include or only".to_owned()),
    }
}

fn read_count(text: &str) -> Result<Count, String> {
    match text {
        "exact" => Ok(Count::Exact),
        "estimated" => Ok(Count::Estimated),
        "none" => Ok(Count::None),
        _ => Err("exact, estimated or none".to_owned()),
    }
}

#[cfg(test)]
mod tests;
