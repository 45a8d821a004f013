//! Random records, filters and orders against a naive evaluation that knows no index.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::cmp::Ordering;
use std::path::Path;

use database::find::{Column, Comparison, Field, Filter, Index, Kind, Order, State};
use database::{
    Config, Database, Declaration, Engine, Find, Operation, Precondition, Query, Record, Transaction, Url,
};
use proptest::prelude::*;
use serde_json::{Map, Value};
use system_tests::postgres::Scratch;

/// The fields of the random records.
const FIELDS: [&str; 4] = ["n", "t", "b", "o.n"];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        4 => (-3i64..4).prop_map(Value::from),
        2 => prop_oneof![Just(0.5), Just(-2.0), Just(2.0), Just(1e300)].prop_map(Value::from),
        4 => "[abä]{0,3}".prop_map(Value::from),
        2 => any::<bool>().prop_map(Value::from),
        1 => Just(serde_json::json!([1])),
        1 => Just(serde_json::json!({"n": "x"})),
        1 => Just(Value::from(u64::MAX)),
    ]
}

fn record() -> impl Strategy<Value = Map<String, Value>> {
    let inner = prop_oneof![
        3 => value().prop_map(|value| serde_json::json!({ "n": value })),
        1 => value(),
    ];
    let fields = (
        prop::option::of(value()),
        prop::option::of(value()),
        prop::option::of(value()),
        prop::option::of(inner),
    );
    fields.prop_map(|(n, t, b, o)| {
        let named = [("n", n), ("t", t), ("b", b), ("o", o)];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

fn field() -> impl Strategy<Value = Field> {
    prop::sample::select(FIELDS.to_vec()).prop_map(|name| Field::new(name).unwrap())
}

fn scalar() -> impl Strategy<Value = Value> {
    value().prop_filter("scalars", |value| value.is_number() || value.is_string() || value.is_boolean())
}

fn filter() -> impl Strategy<Value = Filter> {
    let comparison = prop::sample::select(vec![
        Comparison::Eq,
        Comparison::Eq,
        Comparison::Neq,
        Comparison::Gt,
        Comparison::Gte,
        Comparison::Lt,
        Comparison::Lte,
    ]);
    let state = prop::sample::select(vec![State::Null, State::NotNull, State::True, State::False]);
    let leaf = prop_oneof![
        6 => (field(), comparison, scalar()).prop_map(|(field, comparison, value)| Filter::Compare { field, comparison, value }),
        2 => (field(), prop::collection::vec(scalar(), 0..4)).prop_map(|(field, values)| Filter::In { field, values }),
        2 => (field(), "[abä*]{0,4}").prop_map(|(field, pattern)| Filter::Like { field, pattern }),
        2 => (field(), state).prop_map(|(field, state)| Filter::Is { field, state }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            1 => inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

/// Orders that the indexes below give.
fn order() -> impl Strategy<Value = Vec<Order>> {
    let spelled =
        ["", "n", "-n", "t", "-t,n", "t,-n", "b,o.n", "-b,-o.n", "o.n,t", "id", "-id", "n,id", "-t"];
    prop::sample::select(spelled.to_vec()).prop_map(|spelled| {
        let fields = spelled.split(',').filter(|spelled| !spelled.is_empty());
        let order = |spelled: &str| Order {
            field: Field::new(spelled.trim_start_matches('-')).unwrap(),
            descending: spelled.starts_with('-'),
        };
        fields.map(order).collect()
    })
}

fn indexes() -> Vec<Index> {
    let column = |spelled: &str| {
        let name = spelled.trim_start_matches('-');
        let kind = match name {
            "t" => Kind::Text,
            "b" => Kind::Boolean,
            _ => Kind::Number,
        };
        Column { field: Field::new(name).unwrap(), kind, descending: spelled.starts_with('-') }
    };
    let spelled = ["n", "t,-n", "b,o.n", "o.n,t"];
    let index = |spelled: &str| Index { columns: spelled.split(',').map(column).collect(), unique: false };
    spelled.map(index).to_vec()
}

/// Reads a field as the page on filters says it, written once more.
fn read(data: &Map<String, Value>, field: &Field) -> Value {
    let mut place = Value::Object(data.clone());
    for name in field.names() {
        place = match place {
            Value::Object(members) => members.get(name).cloned().unwrap_or(Value::Null),
            _ => Value::Null,
        };
    }
    place
}

fn compared(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        // Exact for the numbers that are made here.
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        _ => None,
    }
}

fn holds(filter: &Filter, data: &Map<String, Value>) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(|part| holds(part, data)),
        Filter::Or(parts) => parts.iter().any(|part| holds(part, data)),
        Filter::Not(part) => !holds(part, data),
        Filter::Compare { field, comparison, value } => {
            let found = read(data, field);
            let order = compared(&found, value);
            match comparison {
                Comparison::Eq => order == Some(Ordering::Equal),
                Comparison::Neq => !found.is_null() && order != Some(Ordering::Equal),
                Comparison::Gt => order == Some(Ordering::Greater),
                Comparison::Gte => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                Comparison::Lt => order == Some(Ordering::Less),
                Comparison::Lte => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            }
        }
        Filter::In { field, values } => {
            values.iter().any(|value| compared(&read(data, field), value) == Some(Ordering::Equal))
        }
        Filter::Like { field, pattern } => {
            fn like(text: &[char], pattern: &[char]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some(('*', rest)) => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
                    Some((first, rest)) => text.first() == Some(first) && like(&text[1..], rest),
                }
            }
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            read(data, field).as_str().is_some_and(|text| like(&chars(text), &chars(pattern)))
        }
        Filter::Is { field, state } => match state {
            State::Null => read(data, field).is_null(),
            State::NotNull => !read(data, field).is_null(),
            State::True => read(data, field) == Value::Bool(true),
            State::False => read(data, field) == Value::Bool(false),
        },
    }
}

/// What an order sees of a record: values of the type of the field's index, and null for all else.
fn key(record: &Record, order: &Order) -> Value {
    let found = match order.field.as_str() {
        "id" => return Value::from(record.id.as_str()),
        _ => read(&record.data, &order.field),
    };
    let fits = match order.field.as_str() {
        "t" => found.is_string(),
        "b" => found.is_boolean(),
        _ => found.is_number(),
    };
    if fits { found } else { Value::Null }
}

fn is_in_order(one: &Record, next: &Record, order: &[Order]) -> bool {
    for order in order {
        let (one, next) = (key(one, order), key(next, order));
        let found = match (one.is_null(), next.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => compared(&one, &next).unwrap(),
        };
        match if order.descending { found.reverse() } else { found } {
            Ordering::Less => return true,
            Ordering::Greater => return false,
            Ordering::Equal => {}
        }
    }
    true
}

/// Fills another collection with so much that no index is made at once any more.
async fn fill(database: &Database) {
    for batch in 0..3 {
        let put = |number| Operation::Put {
            collection: "others".into(),
            id: format!("{batch} {number}"),
            data: Map::new(),
            precondition: Precondition::None,
        };
        let operations = (0..1000).map(put).collect();
        database.transact(Transaction { namespace: "shop".into(), operations }).await.unwrap();
    }
}

async fn run(
    url: Url,
    is_large: bool,
    records: Vec<Map<String, Value>>,
    late: Vec<Map<String, Value>>,
    filters: Vec<(Filter, Vec<Order>)>,
    limit: u32,
) {
    let config = Config { url, ..Config::default() };
    let database = Database::Local(Engine::open(&config, Path::new("none")).unwrap());
    let declaration =
        Declaration { collection: "things".into(), indexes: indexes(), ..Declaration::default() };
    if is_large {
        fill(&database).await;
    }
    let put = async |id: String, data: Map<String, Value>| {
        let operation =
            Operation::Put { collection: "things".into(), id, data, precondition: Precondition::None };
        database
            .transact(Transaction { namespace: "shop".into(), operations: vec![operation] })
            .await
            .unwrap();
    };
    let half = if is_large { records.len() / 2 } else { 0 };
    // Names in another order than they were made.
    let write = async |from: usize, to: usize| {
        for (number, data) in records.iter().enumerate().take(to).skip(from) {
            put(format!("{}", number * 7 % 10 + number * 10), data.clone()).await;
        }
    };
    write(0, half).await;
    let (declared, ()) = tokio::join!(database.declare("shop", &declaration), write(half, records.len()));
    declared.unwrap();
    let mut late = late.into_iter().enumerate();
    for (filter, order) in filters {
        let mut asked =
            Find { filter: Some(filter.clone()), order: order.clone(), ..Find::all("things", limit) };
        let mut before = database
            .query("shop", &Query::Find(Find { limit: 1000, ..Find::all("things", 1) }))
            .await
            .unwrap()
            .records;
        before.retain(|record| holds(&filter, &record.data));
        let mut found: Vec<Record> = Vec::new();
        loop {
            let page = database.query("shop", &Query::Find(asked.clone())).await.unwrap();
            assert!(page.records.len() <= limit as usize);
            found.extend(page.records);
            asked.after = page.position;
            if asked.after.is_none() {
                break;
            }
            if let Some((number, data)) = late.next() {
                put(format!("{}late{number}", number % 10), data).await;
            }
        }
        assert!(found.iter().all(|record| holds(&filter, &record.data)), "{filter:?}");
        assert!(found.windows(2).all(|pair| is_in_order(&pair[0], &pair[1], &order)), "{order:?}: {found:?}");
        let mut names: Vec<_> = found.iter().map(|record| record.id.as_str()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "repeated: {filter:?} {order:?}");
        for record in &before {
            assert!(names.contains(&record.id.as_str()), "skipped {record:?}: {filter:?} {order:?}");
        }
    }
}

type Case = (Vec<Map<String, Value>>, Vec<Map<String, Value>>, Vec<(Filter, Vec<Order>)>, u32);

fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(record(), 0..40),
        prop::collection::vec(record(), 0..20),
        prop::collection::vec((filter(), order()), 1..12),
        1u32..9,
    )
}

fn check(url: Url, is_large: bool, (records, late, filters, limit): Case) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(url, is_large, records, late, filters, limit));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn sqlite_finds_what_a_look_at_every_record_finds(case in case()) {
        let data = tempfile::tempdir().unwrap();
        check(Url::SqliteIn(data.path().to_owned()), false, case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sqlite_finds_the_same_by_indexes_that_are_made_while_others_write(case in case()) {
        let data = tempfile::tempdir().unwrap();
        check(Url::SqliteIn(data.path().to_owned()), true, case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn postgres_finds_what_a_look_at_every_record_finds(case in case()) {
        check(Scratch::create().url().parse().unwrap(), false, case);
    }
}
