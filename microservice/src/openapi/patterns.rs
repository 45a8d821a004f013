//! What the texts of a request look like, as regular expressions (ECMA-262) that admit what the service takes.
//!
//! They are narrower than the service where all of it could not be read any more: values of groups without quotes have no
//! parentheses, numbers have as many digits as anybody writes, and groups hold conditions and no further groups.

use database::Declaration;
use database::find::field::{CREATED_AT, ID, UPDATED_AT};
use database::find::{Field, Kind};

use crate::collection::Collection;

/// The name of a record: neither `.` nor `..`, which no path can end in.
pub(super) const NAME: &str = "^([A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254}|\\.[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,253}|\\.\\.[A-Za-z0-9._~-]{1,253})$";

/// A cursor, which only the service that wrote it can read.
pub(super) const CURSOR: &str = "^[A-Za-z0-9_-]+$";

/// The names of up to four fields.
pub(super) const FIELDS: &str =
    "^[A-Za-z0-9_-]{1,30}(\\.[A-Za-z0-9_-]{1,30})?(,[A-Za-z0-9_-]{1,30}(\\.[A-Za-z0-9_-]{1,30})?){0,3}$";

/// What `if_match` of an operation in a batch holds.
pub(super) const TAG: &str = "^(\\*|\"[0-9]{1,18}\")$";

/// What `If-Match` and `If-None-Match` hold beside `*`: entity tags (RFC 9110 §8.8.3).
pub(super) const TAGS: &str = r#"^(W/)?"[!#-~]{0,40}"(, (W/)?"[!#-~]{0,40}"){0,7}$"#;

/// What `Idempotency-Key` holds, in quotes or without.
pub(super) const KEY: &str = r#"^([!#-~]{1,255}|"[!#-~]{1,255}")$"#;

/// A text in quotes, in which `\` keeps the next character.
const QUOTED: &str = r#""([^"\\]|\\[^\n])*""#;

/// A number.
const NUMBER: &str = r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?";

/// A time.
const TIME: &str = r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z";

/// What the values of a field are written like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    Text,
    Number,
    Boolean,
    Time,
    /// The schema gives the field no single type.
    Any,
}

/// Names the fields that filters may ask about, each with what its values are written like.
pub(super) fn filterable(collection: &Collection, declaration: &Declaration) -> Vec<(String, Operand)> {
    let mut fields = vec![(ID.to_owned(), Operand::Text)];
    for field in declaration.indexes.iter().flat_map(|index| &index.columns).map(|column| &column.field) {
        if fields.iter().all(|(known, _)| known != field.as_str()) {
            fields.push((field.to_string(), operand(collection, field)));
        }
    }
    fields
}

fn operand(collection: &Collection, field: &Field) -> Operand {
    match (field.as_str(), collection.schema.kind_of(field)) {
        (CREATED_AT | UPDATED_AT, _) => Operand::Time,
        (_, Some(Kind::Text)) => Operand::Text,
        (_, Some(Kind::Number)) => Operand::Number,
        (_, Some(Kind::Boolean)) => Operand::Boolean,
        (_, None) => Operand::Any,
    }
}

/// Writes what the condition of a parameter named like a field may be.
pub(super) fn condition(operand: Operand) -> String {
    let (one, item) = match operand {
        // Without quotes all is taken as it stands, but for a quote at its beginning.
        Operand::Text | Operand::Any => {
            (format!(r#"([^"][^\n]*|{QUOTED})?"#), format!(r#"([^",\n][^,\n]*|{QUOTED})?"#))
        }
        Operand::Number => (NUMBER.to_owned(), NUMBER.to_owned()),
        Operand::Boolean => ("(true|false)".to_owned(), "(true|false)".to_owned()),
        Operand::Time => (TIME.to_owned(), TIME.to_owned()),
    };
    format!("^{}$", operation(operand, &one, &item))
}

/// Writes what a group may be.
pub(super) fn group(fields: &[(String, Operand)]) -> String {
    let conditions = fields.iter().map(|(field, operand)| {
        let plain = match operand {
            Operand::Text | Operand::Any => format!(r#"([^",()\n][^",()\n]*|{QUOTED})"#),
            Operand::Number => NUMBER.to_owned(),
            Operand::Boolean => "(true|false)".to_owned(),
            Operand::Time => TIME.to_owned(),
        };
        format!("{}\\.{}", field.replace('.', "\\."), operation(*operand, &plain, &plain))
    });
    let condition = format!("({})", conditions.collect::<Vec<_>>().join("|"));
    format!("^\\({condition}(,{condition}){{0,3}}\\)$")
}

fn operation(operand: Operand, one: &str, item: &str) -> String {
    let like = if matches!(operand, Operand::Text | Operand::Any) { "|like" } else { "" };
    format!(
        r"(not\.)?((eq|neq|gt|gte|lt|lte{like})\.{one}|in\.\(({item}(,{item}){{0,7}})?\)|is\.(null|not_null|true|false))"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::query::{read_condition, read_group};

    const FORMS: [(&str, Operand); 5] = [
        ("text", Operand::Text),
        ("number", Operand::Number),
        ("flag", Operand::Boolean),
        (CREATED_AT, Operand::Time),
        ("a.b", Operand::Any),
    ];

    fn kind_of(field: &Field) -> Option<Kind> {
        match field.as_str() {
            "text" => Some(Kind::Text),
            "number" | CREATED_AT => Some(Kind::Number),
            "flag" => Some(Kind::Boolean),
            _ => None,
        }
    }

    fn each(pattern: &str, check: impl Fn(&str) -> Result<(), String>) {
        let inner = pattern.trim_start_matches('^').trim_end_matches('$');
        let texts = string_regex(inner).unwrap();
        let mut runner = TestRunner::new(Config::with_cases(300));
        let checked = runner.run(&texts, |text| {
            check(&text).map_err(|error| TestCaseError::fail(format!("{text:?}: {error}")))
        });
        checked.unwrap_or_else(|error| panic!("{pattern}: {error}"));
    }

    #[test]
    fn whatever_a_pattern_of_conditions_admits_is_read() {
        for (name, operand) in FORMS {
            let field = Field::new(name).unwrap();
            each(&condition(operand), |text| {
                read_condition(&field, text, &kind_of)?.check().map_err(|e| e.to_string())
            });
        }
        let fields = FORMS.map(|(name, operand)| (name.to_owned(), operand));
        each(&group(&fields), |text| read_group("or", text, &kind_of)?.check().map_err(|e| e.to_string()));
    }

    #[test]
    fn whatever_a_pattern_of_fields_tags_or_keys_admits_is_read() {
        each(FIELDS, |text| match text.split(',').all(|name| Field::new(name).is_some()) {
            true => Ok(()),
            false => Err("no fields".to_owned()),
        });
        each(NAME, |text| match crate::collection::is_record_name(text) {
            true => Ok(()),
            false => Err("no name".to_owned()),
        });
        each(CURSOR, |text| if crate::cursor::is_one(text) { Ok(()) } else { Err("no cursor".to_owned()) });
        for tags in [TAG, TAGS] {
            each(tags, |text| {
                let fields = http::HeaderMap::from_iter([(http::header::IF_MATCH, text.parse().unwrap())]);
                crate::condition::Conditions::read(&fields).map(drop).ok_or("no tag".to_owned())
            });
        }
        each(KEY, |text| {
            let name = http::HeaderName::from_static("idempotency-key");
            let fields = http::HeaderMap::from_iter([(name, text.parse().unwrap())]);
            match crate::collection::key_of(&fields) {
                Ok(Some(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}
