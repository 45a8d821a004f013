//! Queries as clients write them, and what is said about those that cannot be read.

use database::find::{Comparison, State};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn kind_of(field: &Field) -> Option<Kind> {
    match field.as_str() {
        "price" | "stock" => Some(Kind::Number),
        "name" => Some(Kind::Text),
        "sold" => Some(Kind::Boolean),
        _ => None,
    }
}

fn read(query: &str) -> Result<Asked, String> {
    Reader { kind_of: &kind_of, page_limit: 200, soft_delete: false }.read(query)
}

fn filter(query: &str) -> Filter {
    read(query).unwrap_or_else(|error| panic!("{query}: {error}")).filter.unwrap()
}

fn field(name: &str) -> Field {
    Field::new(name).unwrap()
}

fn compare(name: &str, comparison: Comparison, value: Value) -> Filter {
    Filter::Compare { field: field(name), comparison, value }
}

fn eq(name: &str, value: Value) -> Filter {
    compare(name, Comparison::Eq, value)
}

#[test]
fn what_a_query_says_is_read() {
    let asked = read("order=-price,name&limit=7&cursor=abc&fields=name,a.b&count=exact").unwrap();
    let order =
        [("price", true), ("name", false)].map(|(name, descending)| Order { field: field(name), descending });
    assert_eq!((asked.order, asked.limit, asked.count), (order.to_vec(), Some(7), Count::Exact));
    assert_eq!(
        (asked.cursor.as_deref(), asked.fields),
        (Some("abc"), Some(vec![field("name"), field("a.b")]))
    );
    assert_eq!(read("").unwrap(), Asked::default());
    assert_eq!(read("limit=1000").unwrap().limit, Some(200), "no more than the collection allows");
}

#[test]
fn a_value_is_what_its_field_holds() {
    assert_eq!(filter("price=gte.10"), compare("price", Comparison::Gte, json!(10)));
    assert_eq!(filter("price=eq.1e2"), eq("price", json!(100.0)));
    assert_eq!(filter("name=eq.10"), eq("name", json!("10")));
    assert_eq!(filter("name=eq.a.b,(c)"), eq("name", json!("a.b,(c)")));
    assert_eq!(filter("sold=neq.true"), compare("sold", Comparison::Neq, json!(true)));
    assert_eq!(filter("id=eq.10"), eq("id", json!("10")));
    assert_eq!(
        filter("created_at=lt.1970-01-01T00:00:01Z"),
        compare("created_at", Comparison::Lt, json!(1_000_000))
    );
    // Where nothing is declared it is read as it looks, unless quotes say that it is a string.
    for (text, value) in [
        ("10", json!(10)),
        ("true", json!(true)),
        ("x", json!("x")),
        ("%2210%22", json!("10")),
        ("", json!("")),
    ] {
        assert_eq!(filter(&format!("other=eq.{text}")), eq("other", value));
    }
    let values = vec![json!("a,b"), json!("c\"d"), json!(5)];
    assert_eq!(filter(r#"other=in.("a,b","c\"d",5)"#), Filter::In { field: field("other"), values });
    assert_eq!(filter("name=like.ab*"), Filter::Like { field: field("name"), pattern: "ab*".into() });
    assert_eq!(filter("name=is.null"), Filter::Is { field: field("name"), state: State::Null });
    assert_eq!(filter("a%2Eb=not.eq.1"), Filter::Not(Box::new(eq("a.b", json!(1)))));
}

#[test]
fn conditions_hold_together_and_groups_nest() {
    let both = Filter::And(vec![
        compare("price", Comparison::Gt, json!(1)),
        compare("price", Comparison::Lt, json!(9)),
    ]);
    assert_eq!(filter("price=gt.1&price=lt.9"), both);
    let nested = Filter::Or(vec![
        eq("name", json!("a,b")),
        Filter::Is { field: field("a.b"), state: State::Null },
        Filter::Not(Box::new(eq("price", json!(2)))),
        Filter::Not(Box::new(Filter::And(vec![
            Filter::In { field: field("stock"), values: vec![json!(1), json!(2)] },
            Filter::Or(vec![eq("sold", json!(true))]),
        ]))),
    ]);
    let query = r#"or=(name.eq."a,b",a.b.is.null,price.not.eq.2,not.and(stock.in.(1,2),or(sold.eq.true)))"#;
    assert_eq!(filter(query), nested);
    assert_eq!(
        filter("and=(limit.eq.1)"),
        Filter::And(vec![eq("limit", json!(1))]),
        "named like a parameter"
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_what_and_where() {
    let cases = [
        ("limit=0", "`limit`"),
        ("limit=many", "`limit`"),
        ("limit=1&limit=2", "`limit` stands twice"),
        ("price=10", "`price`: begins with one of eq"),
        ("price=about.10", "`about` is none of eq"),
        ("price=gte.ten", "`price`: `price` is a number"),
        ("price=in.1", "list in parentheses"),
        ("sold=eq.yes", "true or false"),
        ("name=is.empty", "`is` takes null"),
        ("created_at=gt.yesterday", "is a time"),
        ("name=eq.%ff", "`name`: the value is not"),
        ("order=price%3B", "`order`: `price;` is no field"),
        ("order=a,b,c,d,e", "`order`: at most"),
        ("order=", "`order`"),
        ("count=all", "`count`: exact"),
        ("fields=a..b", "`fields`: `a..b`"),
        ("a'b=eq.1", "`a'b`: not a parameter"),
        ("or=(price.eq.1", "`or`: a `,` or `)` is expected, at character 12"),
        ("or=(price.eq.1,)", "at character 13"),
        ("or=price.eq.1", "a `(` is expected, at character 1"),
        ("or=(price)", "a condition is"),
        ("or=(a.not.b.eq.1)", "after `not`"),
        ("or=(a.eq.\"x)", "not closed"),
        ("or=(a.eq.1)x", "something follows"),
        ("name=eq.\"a\"b", "closing quote"),
    ];
    for (query, expected) in cases {
        let error = read(query).unwrap_err();
        assert!(error.contains(expected), "{query}: {error}");
    }
    let deep = format!("or={}a.eq.1{}", "(and".repeat(20), ")".repeat(20));
    assert!(read(&deep).is_err());
    let many = vec!["a=eq.1"; 100].join("&");
    assert!(read(&many).is_err());
}

proptest! {
    #[test]
    fn no_query_is_a_panic(query in "(or=|a=|order=|&|\\(|\\)|,|\\.|not|and|in|eq|\"|\\\\|%2|%22|ä|[a-z0-9]){0,24}") {
        let _ = read(&query);
    }

    #[test]
    fn any_string_can_be_asked_for_in_quotes(text in ".{0,20}") {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let encoded: String = quoted.bytes().map(|byte| format!("%{byte:02x}")).collect();
        prop_assert_eq!(filter(&format!("other=eq.{encoded}")), eq("other", json!(text)));
        let grouped: String = format!("(other.eq.{quoted})").bytes().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(filter(&format!("or={grouped}")), Filter::Or(vec![eq("other", json!(text))]));
    }
}
