//! Which index is walked for which question.

use serde_json::json;

use super::*;
use crate::find::Position;

fn column(spelled: &str) -> Column {
    let (name, kind) = match spelled.trim_start_matches('-') {
        name if name.starts_with("is_") => (name, Kind::Boolean),
        name if name.starts_with('n') => (name, Kind::Number),
        name => (name, Kind::Text),
    };
    Column { field: Field::new(name).unwrap(), kind, descending: spelled.starts_with('-') }
}

fn index(spelled: &str) -> Index {
    let (unique, columns) = match spelled.strip_prefix("unique ") {
        Some(columns) => (true, columns),
        None => (false, spelled),
    };
    Index { columns: columns.split(',').map(column).collect(), unique }
}

fn find(filter: Option<Filter>, order: &str) -> Find {
    let order = order.split(',').filter(|spelled| !spelled.is_empty()).map(|spelled| Order {
        field: Field::new(spelled.trim_start_matches('-')).unwrap(),
        descending: spelled.starts_with('-'),
    });
    Find { filter, order: order.collect(), ..Find::all("things", 10) }
}

fn compare(name: &str, comparison: Comparison, value: Value) -> Filter {
    Filter::Compare { field: Field::new(name).unwrap(), comparison, value }
}

fn eq(name: &str, value: Value) -> Filter {
    compare(name, Comparison::Eq, value)
}

/// Says which index is walked, which way, and with what fixed and bounded.
fn chosen(find: &Find, indexes: &[&str]) -> Result<String, String> {
    let indexes: Vec<Index> = indexes.iter().map(|spelled| index(spelled)).collect();
    let walk = plan(find, &indexes, false).map_err(|error| error.to_string())?;
    let columns: Vec<&str> = walk.columns.iter().map(|column| column.field.as_str()).collect();
    let range = walk.range.map_or(String::new(), |range| {
        let spell = |bound: Option<Value>| bound.map_or(String::new(), |bound| bound.to_string());
        format!(" {}..{}", spell(range.lower), spell(range.upper))
    });
    let equals: Vec<String> = walk.equals.iter().map(Value::to_string).collect();
    let arrow = if walk.backward { "<" } else { ">" };
    Ok(format!("{arrow}{} [{}]{range}", columns.join(","), equals.join(",")))
}

#[test]
fn the_index_that_fixes_most_and_gives_the_order_is_walked() {
    let indexes = ["n", "a", "a,n", "a,-n"];
    let cases = [
        (find(None, ""), "> []"),
        (find(None, "-id"), "< []"),
        (find(None, "n"), ">n []"),
        (find(None, "-n"), "<n []"),
        (find(None, "a,-n"), ">a,n []"),
        (find(None, "-a,n"), "<a,n []"),
        (find(None, "n,id"), ">n []"),
        (find(Some(eq("a", json!("x"))), ""), ">a [\"x\"]"),
        (find(Some(eq("a", json!("x"))), "-n"), "<a,n [\"x\"]"),
        (find(Some(eq("a", json!("x"))), "a,n"), ">a,n [\"x\"]"),
        (find(Some(eq("id", json!("x"))), "n"), ">n []"),
        (find(Some(eq("id", json!("x"))), ""), "> [] \"x\"..\"x\""),
        (find(Some(compare("n", Comparison::Gt, json!(5))), ""), ">n [] 5.."),
        (find(Some(compare("n", Comparison::Neq, json!(5))), ""), "> []"),
    ];
    for (find, expected) in cases {
        assert_eq!(chosen(&find, &indexes).unwrap(), expected, "{find:?}");
    }
}

#[test]
fn bounds_of_all_conditions_come_together() {
    let conditions = vec![
        compare("n", Comparison::Gte, json!(1)),
        compare("n", Comparison::Gt, json!(3.5)),
        Filter::And(vec![compare("n", Comparison::Lt, json!(9))]),
        Filter::In { field: Field::new("n").unwrap(), values: vec![json!(8), json!(2)] },
    ];
    assert_eq!(chosen(&find(Some(Filter::And(conditions)), ""), &["n"]).unwrap(), ">n [] 3.5..8");
    let like = |pattern: &str| Filter::Like { field: Field::new("a").unwrap(), pattern: pattern.into() };
    let cases = [
        ("ab*", ">a [] \"ab\"..\"ac\""),
        ("ab*c*", ">a [] \"ab\"..\"ac\""),
        ("ab", ">a [\"ab\"]"),
        ("*", "> []"),
    ];
    for (pattern, expected) in cases {
        assert_eq!(chosen(&find(Some(like(pattern)), ""), &["a"]).unwrap(), expected);
    }
    assert_eq!(after_prefix("a\u{10ffff}"), Some("b".into()));
    assert_eq!(after_prefix("\u{d7ff}"), Some("\u{e000}".into()));
    assert_eq!(after_prefix("\u{10ffff}"), None);
}

#[test]
fn what_only_perhaps_holds_narrows_nothing() {
    let either = Filter::Or(vec![eq("n", json!(1)), eq("a", json!("x"))]);
    assert_eq!(chosen(&find(Some(either), ""), &["n", "a"]).unwrap(), "> []");
    let not = Filter::Not(Box::new(eq("n", json!(1))));
    assert_eq!(chosen(&find(Some(not), ""), &["n"]).unwrap(), "> []");
    let other_type = eq("n", json!("1"));
    assert_eq!(chosen(&find(Some(other_type), ""), &["n"]).unwrap(), "> []");
}

#[test]
fn a_unique_index_is_for_finding_one_record() {
    let one = find(Some(eq("a", json!("x"))), "-n");
    assert_eq!(chosen(&one, &["unique a", "n"]).unwrap(), ">a [\"x\"]");
    let is_null = Filter::Is { field: Field::new("a").unwrap(), state: State::Null };
    assert_eq!(chosen(&find(Some(is_null), ""), &["unique a"]).unwrap(), "> []");
    assert!(chosen(&find(None, "a"), &["unique a"]).is_err());
}

#[test]
fn a_field_that_no_index_has_is_named() {
    let unindexed = find(Some(eq("b", json!(1))), "");
    assert!(chosen(&unindexed, &["a"]).unwrap_err().contains("`b`"));
    plan(&unindexed, &[], true).unwrap();
    let text = chosen(&find(None, "a,b"), &["a"]).unwrap_err();
    assert!(text.contains("`b`") && text.contains("`a,b`"), "{text}");
    let text = chosen(&find(None, "-a,n"), &["a,n"]).unwrap_err();
    assert!(text.contains("`-a,n`"), "{text}");
}

#[test]
fn a_position_keeps_its_index_when_a_better_one_comes() {
    let mut asked = find(Some(eq("a", json!("x"))), "");
    asked.after = Some(Position { index: "a:text".into(), values: vec![json!("r")] });
    assert_eq!(chosen(&asked, &["unique a", "a,n", "a"]).unwrap(), ">a [\"x\"]");
    assert!(chosen(&asked, &["a,n"]).unwrap_err().contains("start again"));
}
