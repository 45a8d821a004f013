//! The parameters of requests: what a value may look like, so that a tool can make one that is taken.

use database::Declaration;
use database::find::Index;
use serde_json::{Value, json};

use super::patterns;
use crate::collection::Collection;

/// Describes the name of a record in a path.
pub(super) fn id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true,
        "schema": { "type": "string", "pattern": patterns::NAME },
    })
}

/// Describes how many entries a page has at most.
pub(super) fn limit() -> Value {
    query(
        "limit",
        "How many at most; more than the collection allows are as many as it allows.",
        json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
    )
}

/// Describes the parameter that names the fields of an answer.
pub(super) fn fields() -> Value {
    query(
        "fields",
        "Only these fields, and sensitive ones if the caller may read them.",
        json!({ "type": "string", "pattern": patterns::FIELDS }),
    )
}

/// Describes where a page starts.
pub(super) fn cursor() -> Value {
    query(
        "cursor",
        "`next` of the page before, for the same question: one of another, or of an index that is gone, is 409 `stale-cursor`.",
        json!({ "type": "string", "pattern": patterns::CURSOR }),
    )
}

/// Describes whether all that match are counted.
pub(super) fn count() -> Value {
    query(
        "count",
        "Whether all that match are counted, one by one up to 100,000 or by a sample.",
        json!({ "type": "string", "enum": ["exact", "estimated", "none"] }),
    )
}

/// Describes in what order records come.
pub(super) fn order(declaration: &Declaration) -> Value {
    let mut orders = vec!["id".to_owned(), "-id".to_owned()];
    for index in declaration.indexes.iter().filter(|index| !index.unique) {
        for length in 1..=index.columns.len() {
            for flip in [false, true] {
                let order = spell(index, length, flip);
                if !orders.contains(&order) {
                    orders.push(order);
                }
            }
        }
    }
    query(
        "order",
        "The orders that indexes give; a filter that fixes an index's first fields with `eq` makes more of them possible.",
        json!({ "type": "string", "enum": orders }),
    )
}

/// Spells the order that the first columns of an index give.
fn spell(index: &Index, length: usize, flip: bool) -> String {
    let fields = index.columns[..length]
        .iter()
        .map(|column| format!("{}{}", if column.descending != flip { "-" } else { "" }, column.field));
    fields.collect::<Vec<_>>().join(",")
}

/// Describes the conditions: one parameter for each field that an index has, and the groups of them.
pub(super) fn filters(collection: &Collection, declaration: &Declaration) -> Vec<Value> {
    let fields = patterns::filterable(collection, declaration);
    let condition = |(field, kind): &(String, patterns::Operand)| {
        let description = format!("A condition on `{field}`, `OPERATOR.VALUE`; several hold together.");
        query(field, &description, json!({ "type": "string", "pattern": patterns::condition(*kind) }))
    };
    let mut parameters: Vec<Value> = fields.iter().map(condition).collect();
    let group = patterns::group(&fields);
    for (name, meaning) in
        [("and", "all of"), ("or", "one of"), ("not.and", "not all of"), ("not.or", "none of")]
    {
        let description = format!(
            "Holds where {meaning} the conditions do, each `FIELD.OPERATOR.VALUE`. Groups within groups are taken too."
        );
        parameters.push(query(name, &description, json!({ "type": "string", "pattern": group })));
    }
    parameters
}

/// Describes the parameter that asks about deleted records; none where deletions are not soft.
pub(super) fn deleted(collection: &Collection) -> Option<Value> {
    collection.settings.soft_delete.then(|| {
        query(
            "deleted",
            "Deleted records too, or alone. A DELETE with `only` is for good.",
            json!({ "type": "string", "enum": ["include", "only"] }),
        )
    })
}

/// Describes a parameter of a query.
pub(super) fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}
