//! What a collection's settings declare to the database: indexes, and what is unique.

use database::find::declaration::{COLUMN_LIMIT, INDEX_LIMIT};
use database::find::field::UPDATED_AT;
use database::find::{Column, Declaration, Field, Index, Kind};

use crate::config;
use crate::schema::Schema;

/// Why settings cannot be declared: the part of them, and the reason.
type Refused = (&'static str, String);

/// Names the collection where deleted records of a collection lie. No declared collection has a dot in its name, so it
/// is nobody else's.
pub(crate) fn deleted(collection: &str) -> String {
    format!("{collection}.deleted")
}

/// Tells whether a collection is one where deleted records lie.
pub(crate) fn is_deleted(collection: &str) -> bool {
    collection.ends_with(".deleted")
}

/// Declares where deleted records lie: they are found as before, by when they were deleted too, and nothing of them is
/// unique. Their histories came with them and grow older.
pub(crate) fn of_deleted(declaration: &Declaration) -> Declaration {
    let plain = |indexes: &[Index]| {
        let mut plain: Vec<Index> = Vec::new();
        for index in indexes {
            let index = Index { unique: false, ..index.clone() };
            if !plain.contains(&index) {
                plain.push(index);
            }
        }
        plain
    };
    let mut indexes = plain(&declaration.indexes);
    if let Some(by_end) = by_end()
        && !indexes.contains(&by_end)
    {
        indexes.push(by_end);
    }
    let mut dropped = plain(&declaration.dropped);
    dropped.retain(|index| !indexes.contains(index));
    Declaration {
        collection: deleted(&declaration.collection),
        indexes,
        dropped,
        scan: declaration.scan,
        history: 0,
        history_age_ms: declaration.history_age_ms,
    }
}

/// The index by which deleted records are purged: they were last written when they were deleted.
fn by_end() -> Option<Index> {
    let column = Column { field: Field::new(UPDATED_AT)?, kind: Kind::Number, descending: false };
    Some(Index { columns: vec![column], unique: false })
}

/// Declares one collection.
pub(crate) fn declaration(
    name: &str,
    settings: &config::Collection,
    schema: &Schema,
) -> Result<Declaration, Refused> {
    let read = |part: &'static str, list: &[String], unique: bool| {
        let indexes = list.iter().map(|spelled| {
            let index = index(spelled, unique, schema).map_err(|reason| (part, reason))?;
            match index.columns.iter().find(|column| settings.is_sensitive(&column.field)) {
                Some(column) if !part.starts_with("dropped") => {
                    Err((part, format!("`{}` is sensitive, and no index has such", column.field)))
                }
                _ => Ok(index),
            }
        });
        indexes.collect::<Result<Vec<_>, _>>()
    };
    let mut indexes = read("indexes", &settings.indexes, false)?;
    indexes.extend(read("unique", &settings.unique, true)?);
    // Deleted records have one more.
    let most = if settings.soft_delete { INDEX_LIMIT - 1 } else { INDEX_LIMIT };
    if indexes.len() > most {
        return Err(("indexes", format!("at most {most}, unique ones included")));
    }
    let mut dropped = read("dropped_indexes", &settings.dropped_indexes, false)?;
    dropped.extend(read("dropped_unique", &settings.dropped_unique, true)?);
    if let Some(both) = dropped.iter().find(|dropped| indexes.contains(dropped)) {
        return Err(("dropped_indexes", format!("`{}` is declared too", both.fields().join(","))));
    }
    let age = settings.history_age;
    Ok(Declaration {
        collection: name.to_owned(),
        indexes,
        dropped,
        scan: settings.scan,
        history: settings.history,
        history_age_ms: (!age.is_zero()).then(|| u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1)),
    })
}

/// Names the fields that indexes have.
pub(crate) fn indexed(declaration: &Declaration) -> Vec<Field> {
    let columns = declaration.indexes.iter().flat_map(|index| &index.columns);
    columns.map(|column| column.field.clone()).collect()
}

/// Names the fields of texts that an index has: such a text is bounded, since cursors carry it.
pub(crate) fn indexed_texts(declaration: &Declaration) -> Vec<Field> {
    let columns = declaration.indexes.iter().flat_map(|index| &index.columns);
    let texts = columns.filter(|column| column.kind == Kind::Text).map(|column| column.field.clone());
    let mut texts: Vec<Field> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// Reads `"field"`, `"field,-other"`, `"field:number"`.
fn index(spelled: &str, unique: bool, schema: &Schema) -> Result<Index, String> {
    let columns: Vec<Column> =
        spelled.split(',').map(|part| column(part.trim(), schema)).collect::<Result<_, _>>()?;
    if columns.len() > COLUMN_LIMIT {
        return Err(format!("`{spelled}` has more than {COLUMN_LIMIT} fields"));
    }
    for (place, column) in columns.iter().enumerate() {
        if columns[..place].iter().any(|earlier| earlier.field == column.field) {
            return Err(format!("`{spelled}` has `{}` twice", column.field));
        }
        if unique && (column.field.is_of_record() || column.descending) {
            return Err(format!("`{spelled}`: unique fields are those of the data, without `-`"));
        }
    }
    Ok(Index { columns, unique })
}

fn column(spelled: &str, schema: &Schema) -> Result<Column, String> {
    let (descending, rest) = match spelled.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, spelled),
    };
    let (name, kind) = rest.split_once(':').map_or((rest, None), |(name, kind)| (name, Some(kind)));
    let field = Field::new(name).ok_or_else(|| format!("`{spelled}` is no field"))?;
    if field.as_str() == database::find::field::ID {
        return Err("every index ends with `id`, so none names it".to_owned());
    }
    let kind = match kind {
        Some("text") => Kind::Text,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        Some(other) => return Err(format!("`{other}` is none of text, number, boolean")),
        None => schema.kind_of(&field).ok_or_else(|| {
            format!("the schema gives `{name}` no single type: write `{name}:text`, `:number` or `:boolean`")
        })?,
    };
    Ok(Column { field, kind, descending })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(change: impl FnOnce(&mut config::Collection)) -> Result<Declaration, String> {
        let mut settings =
            config::Collection { schema: Some("products".into()), ..config::Collection::default() };
        change(&mut settings);
        let schema = Schema::load(&settings).unwrap();
        declaration("products", &settings, &schema).map_err(|(part, reason)| format!("{part}: {reason}"))
    }

    fn list(spelled: &[&str]) -> Vec<String> {
        spelled.iter().map(|spelled| (*spelled).to_owned()).collect()
    }

    #[test]
    fn an_index_takes_its_types_from_the_schema() {
        let declared = declare(|settings| {
            settings.indexes = list(&["-price", "category, -stock", "size.width:number", "created_at"]);
            settings.unique = list(&["name,currency"]);
        });
        let names: Vec<String> = declared.unwrap().indexes.iter().map(Index::name).collect();
        let expected = [
            "-price:number",
            "category:text,-stock:number",
            "size.width:number",
            "created_at:number",
            "unique name:text,currency:text",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_cannot_be_an_index_is_named() {
        let cases: [(&str, &[&str], &[&str]); 6] = [
            ("indexes: `pri ce` is no field", &["pri ce"], &[]),
            ("write `size:text`", &["size"], &[]),
            ("`date` is none of", &["size:date"], &[]),
            ("twice", &["price,-price"], &[]),
            ("ends with `id`", &["id"], &[]),
            ("unique: `-name`", &[], &["-name"]),
        ];
        for (expected, indexes, unique) in cases {
            let error = declare(|settings| {
                settings.indexes = list(indexes);
                settings.unique = list(unique);
            });
            let error = error.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let hidden = declare(|settings| {
            settings.sensitive = list(&["size"]);
            settings.unique = list(&["size.width:number"]);
        });
        assert_eq!(hidden.unwrap_err(), "unique: `size.width` is sensitive, and no index has such");
        let both = declare(|settings| {
            settings.indexes = list(&["price"]);
            settings.dropped_indexes = list(&["price"]);
        });
        assert!(both.unwrap_err().starts_with("dropped_indexes: `price`"));
    }
}
