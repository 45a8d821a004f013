//! One condition: `[not.]OPERATOR.VALUE`, and what its value is meant as.

use database::find::field::{CREATED_AT, ID, UPDATED_AT};
use database::find::{Comparison, Field, Filter, Kind, State};
use jiff::Timestamp;
use serde_json::{Number, Value};

/// Tells the type of a field's values, where it is declared.
pub(super) type KindOf<'a> = &'a dyn Fn(&Field) -> Option<Kind>;

/// The operators.
const OPERATORS: [&str; 9] = ["eq", "neq", "gt", "gte", "lt", "lte", "in", "like", "is"];

/// Reads the condition of a parameter named like a field.
pub(crate) fn read_condition(field: &Field, text: &str, kind_of: KindOf<'_>) -> Result<Filter, String> {
    match text.strip_prefix("not.") {
        Some(rest) => Ok(Filter::Not(Box::new(read_plain(field, rest, kind_of)?))),
        None => read_plain(field, text, kind_of),
    }
}

/// Reads a condition that is not negated.
fn read_plain(field: &Field, text: &str, kind_of: KindOf<'_>) -> Result<Filter, String> {
    let unknown = || format!("begins with one of {}, each followed by `.`", OPERATORS.join(", "));
    let (operator, rest) = text.split_once('.').ok_or_else(unknown)?;
    match operator {
        "in" => {
            let inner = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            let items = split_items(inner.ok_or("`in` takes a list in parentheses")?)?;
            build(field, operator, Operand::List(items), kind_of)
        }
        _ => build(field, operator, Operand::One(read_item(rest)?), kind_of),
    }
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) text: String,
    /// Whether it stood in quotes, which make it a string where no type is declared.
    pub(super) quoted: bool,
}

/// What follows an operator.
pub(super) enum Operand {
    One(Item),
    List(Vec<Item>),
}

/// Tells whether a name is an operator.
pub(super) fn is_operator(name: &str) -> bool {
    OPERATORS.contains(&name)
}

/// Makes a condition of its parts.
pub(super) fn build(
    field: &Field,
    operator: &str,
    operand: Operand,
    kind_of: KindOf<'_>,
) -> Result<Filter, String> {
    let field = field.clone();
    let item = match (operator, operand) {
        ("in", Operand::List(items)) => {
            let values =
                items.iter().map(|item| read_value(&field, item, kind_of)).collect::<Result<_, _>>()?;
            return Ok(Filter::In { field, values });
        }
        ("in", Operand::One(_)) => return Err("`in` takes a list in parentheses".to_owned()),
        (_, Operand::List(_)) => return Err(format!("`{operator}` takes one value")),
        (_, Operand::One(item)) => item,
    };
    let comparison = match operator {
        "eq" => Comparison::Eq,
        "neq" => Comparison::Neq,
        "gt" => Comparison::Gt,
        "gte" => Comparison::Gte,
        "lt" => Comparison::Lt,
        "lte" => Comparison::Lte,
        "like" => {
            return match kind_of(&field).filter(|_| field.as_str() != ID) {
                None | Some(Kind::Text) => Ok(Filter::Like { field, pattern: item.text }),
                Some(_) => Err(format!("`{field}` is no text, and `like` is for texts")),
            };
        }
        "is" => {
            let state = match item.text.as_str() {
                "null" => State::Null,
                "not_null" => State::NotNull,
                "true" => State::True,
                "false" => State::False,
                _ => return Err("`is` takes null, not_null, true or false".to_owned()),
            };
            return Ok(Filter::Is { field, state });
        }
        _ => return Err(format!("`{operator}` is none of {}", OPERATORS.join(", "))),
    };
    let value = read_value(&field, &item, kind_of)?;
    Ok(Filter::Compare { field, comparison, value })
}

/// Reads a value as what its field holds.
fn read_value(field: &Field, item: &Item, kind_of: KindOf<'_>) -> Result<Value, String> {
    let text = item.text.as_str();
    let kind = match field.as_str() {
        ID => Some(Kind::Text),
        CREATED_AT | UPDATED_AT => {
            let time: Timestamp =
                text.parse().map_err(|_| format!("`{field}` is a time, as 2026-01-31T12:00:00Z"))?;
            return Ok(Value::from(time.as_microsecond()));
        }
        _ => kind_of(field),
    };
    let number = || text.parse::<Number>().ok().map(Value::Number);
    let boolean = || text.parse::<bool>().ok().map(Value::Bool);
    match kind {
        Some(Kind::Text) => Ok(Value::from(text)),
        Some(Kind::Number) => number().ok_or_else(|| format!("`{field}` is a number")),
        Some(Kind::Boolean) => boolean().ok_or_else(|| format!("`{field}` is true or false")),
        None if item.quoted => Ok(Value::from(text)),
        None => Ok(number().or_else(boolean).unwrap_or_else(|| Value::from(text))),
    }
}

/// Reads a whole text as one value, in quotes or without.
fn read_item(text: &str) -> Result<Item, String> {
    if !text.starts_with('"') {
        return Ok(Item { text: text.to_owned(), quoted: false });
    }
    match read_quoted(text)? {
        (text, "") => Ok(Item { text, quoted: true }),
        _ => Err("something follows the closing quote".to_owned()),
    }
}

/// Reads a list of values separated by commas.
fn split_items(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = text;
    if rest.is_empty() {
        return Ok(items);
    }
    loop {
        let (item, after) = if rest.starts_with('"') {
            let (text, after) = read_quoted(rest)?;
            (Item { text, quoted: true }, after)
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (Item { text: rest[..end].to_owned(), quoted: false }, &rest[end..])
        };
        items.push(item);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(items),
            None => return Err("something follows the closing quote".to_owned()),
        }
    }
}

/// Reads a text in quotes, in which `\` keeps the next character as it is, and gives what follows it.
pub(super) fn read_quoted(text: &str) -> Result<(String, &str), String> {
    let mut read = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Ok((read, &text[place + 1..])),
            '\\' => read.extend(characters.next().map(|(_, kept)| kept)),
            other => read.push(other),
        }
    }
    Err("a quote is not closed".to_owned())
}
