//! Finding records by what they hold: every engine understands filters, orders and positions alike.

use database::find::{Column, Comparison, Count, Field, Filter, Index, Kind, Order, State, Total};
use database::{Database, Declaration, Error, Find, Page, Precondition, Query, Transaction};
use serde_json::{Value, json};

use crate::harness::{delete, object, put, transact, write};

crate::on_every_handle! {
    values_are_compared_within_their_type_and_null_is_no_value
    null_comes_first_and_a_value_of_another_type_counts_as_null
    pages_of_a_find_neither_skip_nor_repeat_while_others_write
    two_records_never_share_a_unique_field
    a_declaration_holds_for_what_is_there_already
    what_records_contradict_keeps_nothing_else_of_a_declaration
    what_no_index_has_is_refused_by_name
    a_find_that_matches_little_ends_early_and_goes_on
    matches_are_counted_and_answers_cut_down
    a_position_of_another_question_is_refused
}

fn field(name: &str) -> Field {
    Field::new(name).unwrap()
}

fn column(name: &str, kind: Kind) -> Column {
    Column { field: field(name), kind, descending: false }
}

fn index(columns: Vec<Column>) -> Index {
    Index { columns, unique: false }
}

fn unique(name: &str, kind: Kind) -> Index {
    Index { columns: vec![column(name, kind)], unique: true }
}

async fn try_declare(database: &Database, indexes: Vec<Index>, scan: bool) -> Result<(), Error> {
    let declaration = Declaration { collection: "things".into(), indexes, scan, ..Declaration::default() };
    database.declare("shop", &declaration).await
}

async fn declare(database: &Database, indexes: Vec<Index>) {
    try_declare(database, indexes, false).await.unwrap();
}

fn compare(name: &str, comparison: Comparison, value: Value) -> Filter {
    Filter::Compare { field: field(name), comparison, value }
}

fn is(name: &str, state: State) -> Filter {
    Filter::Is { field: field(name), state }
}

fn order(spelled: &str) -> Vec<Order> {
    let fields = spelled.split(',').map(|spelled| Order {
        field: field(spelled.trim_start_matches('-')),
        descending: spelled.starts_with('-'),
    });
    fields.collect()
}

fn asking(filter: Filter) -> Find {
    Find { filter: Some(filter), ..Find::all("things", 1000) }
}

async fn find(database: &Database, find: Find) -> Result<Page, Error> {
    database.query("shop", &Query::Find(find)).await
}

/// Names what is found, page by page.
async fn found(database: &Database, mut asked: Find) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let page = find(database, asked.clone()).await.unwrap();
        names.extend(page.records.into_iter().map(|record| record.id));
        asked.after = page.position;
        if asked.after.is_none() {
            return names;
        }
    }
}

async fn fill(database: &Database, records: &[(&str, Value)]) {
    let operations = records.iter().map(|(id, data)| put(id, data.clone(), Precondition::None)).collect();
    transact(database, operations).await.unwrap();
}

async fn values_are_compared_within_their_type_and_null_is_no_value(database: &Database) {
    let v = |value: Value| json!({ "v": value });
    let records = [
        ("a", v(json!(1))),
        ("b", v(json!(1.0))),
        ("c", v(json!("1"))),
        ("d", v(json!(true))),
        ("e", v(json!(null))),
        ("f", json!({})),
        ("g", v(json!([1]))),
        ("h", v(json!({"v": 1}))),
        ("i", v(json!(2))),
        ("j", v(json!("ä"))),
        ("k", v(json!("z"))),
        ("l", v(json!(false))),
    ];
    fill(database, &records).await;
    let (eq, neq, gt) = (Comparison::Eq, Comparison::Neq, Comparison::Gt);
    let not = |filter| Filter::Not(Box::new(filter));
    let like = |pattern: &str| Filter::Like { field: field("v"), pattern: pattern.into() };
    let cases = [
        (compare("v", eq, json!(1)), "ab"),
        (compare("v", eq, json!("1")), "c"),
        (compare("v", neq, json!(1)), "cdghijkl"),
        (not(compare("v", eq, json!(1))), "cdefghijkl"),
        (compare("v", gt, json!(0)), "abi"),
        (compare("v", gt, json!("1")), "jk"),
        (compare("v", gt, json!("z")), "j"),
        (compare("v", gt, json!(false)), "d"),
        (compare("v", Comparison::Lte, json!(1)), "ab"),
        (is("v", State::Null), "ef"),
        (is("v", State::NotNull), "abcdghijkl"),
        (is("v", State::True), "d"),
        (is("v", State::False), "l"),
        (is("v.v", State::NotNull), "h"),
        (compare("v.v", eq, json!(1)), "h"),
        (Filter::In { field: field("v"), values: vec![json!(2), json!("z"), json!(true)] }, "dik"),
        (like("*"), "cjk"),
        (like("z*"), "k"),
        (Filter::Or(vec![compare("v", eq, json!(2)), is("v", State::Null)]), "efi"),
        (Filter::And(vec![compare("v", gt, json!(1)), not(compare("v", gt, json!(3)))]), "i"),
        (Filter::Or(vec![]), ""),
        (Filter::And(vec![]), "abcdefghijkl"),
        (compare("id", gt, json!("j")), "kl"),
    ];
    // Whether an index helps, and which, changes nothing.
    for kind in [None, Some(Kind::Number), Some(Kind::Text), Some(Kind::Boolean)] {
        let indexes = kind.map(|kind| index(vec![column("v", kind)])).into_iter().collect();
        try_declare(database, indexes, true).await.unwrap();
        for (filter, expected) in &cases {
            let mut names = found(database, Find { limit: 3, ..asking(filter.clone()) }).await;
            names.sort();
            assert_eq!(names.concat(), *expected, "{filter:?} with {kind:?}");
        }
    }
}

async fn null_comes_first_and_a_value_of_another_type_counts_as_null(database: &Database) {
    let records = [
        ("a", json!({"n": 2, "t": "b"})),
        ("b", json!({"n": -1.5, "t": "B"})),
        ("c", json!({"n": "2", "t": "ä"})),
        ("d", json!({"t": "b"})),
        ("e", json!({"n": 2.0, "t": 5})),
        ("f", json!({"n": 10, "t": ""})),
    ];
    fill(database, &records).await;
    let two = vec![column("t", Kind::Text), Column { descending: true, ..column("n", Kind::Number) }];
    declare(database, vec![index(vec![column("n", Kind::Number)]), index(two)]).await;
    let cases = [
        ("n", "cdbaef"),
        ("-n", "feabdc"),
        ("t,-n", "efbadc"),
        ("-t,n", "cdabfe"),
        ("n,id", "cdbaef"),
        ("-id", "fedcba"),
    ];
    for (spelled, expected) in cases {
        for limit in [1, 2, 100] {
            let asked = Find { order: order(spelled), ..Find::all("things", limit) };
            assert_eq!(found(database, asked).await.concat(), expected, "{spelled} by {limit}");
        }
    }
}

async fn pages_of_a_find_neither_skip_nor_repeat_while_others_write(database: &Database) {
    declare(database, vec![index(vec![column("n", Kind::Number)])]).await;
    let names: Vec<String> = (0..60).map(|number| format!("r{number:02}")).collect();
    let records: Vec<_> =
        names.iter().enumerate().map(|(number, name)| (name.as_str(), json!({"n": number % 7}))).collect();
    fill(database, &records).await;
    let mut asked = Find { order: order("-n"), limit: 4, ..Find::all("things", 4) };
    let mut seen = Vec::new();
    for round in 0.. {
        let page = find(database, asked.clone()).await.unwrap();
        seen.extend(page.records.into_iter().map(|record| record.id));
        asked.after = page.position;
        if asked.after.is_none() {
            break;
        }
        // Others come before, behind and at the very place, and the record the place is named after goes.
        for n in [-1, 3, 9] {
            write(database, put(&format!("x{round} {n}"), json!({ "n": n }), Precondition::None)).await;
        }
        if round == 2 {
            let last = seen.last().unwrap().clone();
            transact(database, vec![delete(&last, Precondition::None)]).await.unwrap();
        }
    }
    let mut of_before: Vec<_> = seen.iter().filter(|name| name.starts_with('r')).cloned().collect();
    of_before.sort();
    assert_eq!(of_before, names);
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

async fn two_records_never_share_a_unique_field(database: &Database) {
    declare(database, vec![unique("a.mail", Kind::Text)]).await;
    let mail = |mail: Value| json!({"a": {"mail": mail}});
    write(database, put("x", mail(json!("ada@b")), Precondition::None)).await;
    let taken = |operation| Err(Error::NotUnique { operation, fields: vec!["a.mail".into()] });
    let second = put("y", mail(json!("ada@b")), Precondition::None);
    assert_eq!(transact(database, vec![second.clone()]).await, taken(0));
    let both = vec![put("z", json!({}), Precondition::None), second.clone()];
    assert_eq!(transact(database, both).await, taken(1), "and z is not there");
    assert_eq!(found(database, Find::all("things", 10)).await, ["x"]);
    // What is null, or of another type, is free.
    for (id, value) in [("n1", json!(null)), ("n2", json!(null)), ("m1", json!(1)), ("m2", json!(1))] {
        write(database, put(id, mail(value), Precondition::None)).await;
    }
    write(database, put("x", mail(json!("ada@b")), Precondition::None)).await;
    let swap = vec![put("x", mail(json!("bob@b")), Precondition::None), second];
    transact(database, swap).await.unwrap();
    let changed = put("x", mail(json!("ada@b")), Precondition::None);
    assert_eq!(transact(database, vec![changed]).await, taken(0));
    // Another collection and another namespace have names of their own.
    let operations = vec![put("x", mail(json!("ada@b")), Precondition::None)];
    database.transact(Transaction { namespace: "other".into(), operations }).await.unwrap();
    let one = asking(compare("a.mail", Comparison::Eq, json!("ada@b")));
    assert_eq!(found(database, one).await, ["y"]);
}

async fn a_declaration_holds_for_what_is_there_already(database: &Database) {
    fill(database, &[("a", json!({"n": 2, "m": 1})), ("b", json!({"n": 1, "m": 1}))]).await;
    for _ in 0..2 {
        declare(database, vec![index(vec![column("n", Kind::Number)])]).await;
    }
    let asked = Find { order: order("n"), ..Find::all("things", 10) };
    assert_eq!(found(database, asked.clone()).await, ["b", "a"]);
    let refused = try_declare(database, vec![unique("m", Kind::Number)], false).await.unwrap_err();
    assert!(matches!(&refused, Error::Invalid { reason } if reason.contains("the same m")), "{refused:?}");
    assert_eq!(found(database, asked).await, ["b", "a"], "what was declared before stands");
    for indexes in [
        vec![index(vec![])],
        vec![index(vec![column("n", Kind::Number), column("n", Kind::Text)])],
        vec![index(vec![column("id", Kind::Text)])],
        vec![index(vec![column("created_at", Kind::Text)])],
    ] {
        assert!(matches!(try_declare(database, indexes, false).await, Err(Error::Invalid { .. })));
    }
}

async fn what_records_contradict_keeps_nothing_else_of_a_declaration(database: &Database) {
    fill(database, &[("a", json!({"m": 1, "k": 1, "n": 2})), ("b", json!({"m": 1, "k": 1, "n": 1}))]).await;
    let declaration = Declaration {
        collection: "things".into(),
        indexes: vec![
            unique("m", Kind::Number),
            index(vec![column("n", Kind::Number)]),
            unique("k", Kind::Number),
            unique("n", Kind::Number),
        ],
        history: 3,
        ..Declaration::default()
    };
    for _ in 0..2 {
        let refused = database.declare("shop", &declaration).await;
        let reason = "records of things have the same m already; records of things have the same k already";
        assert_eq!(refused, Err(Error::Invalid { reason: reason.into() }));
    }
    assert_eq!(found(database, Find { order: order("n"), ..Find::all("things", 10) }).await, ["b", "a"]);
    let second = put("c", json!({"n": 1}), Precondition::None);
    let taken = Err(Error::NotUnique { operation: 0, fields: vec!["n".into()] });
    assert_eq!(transact(database, vec![second]).await, taken);
    write(database, put("a", json!({"m": 2, "k": 2, "n": 3}), Precondition::None)).await;
    let query = Query::History { collection: "things".into(), id: "a".into(), before: None, limit: 10 };
    assert_eq!(database.query("shop", &query).await.unwrap().earlier.len(), 1, "its settings hold");
    // And once the records allow it, all of it is there.
    database.declare("shop", &declaration).await.unwrap();
    let second = put("c", json!({"m": 2}), Precondition::None);
    let taken = Err(Error::NotUnique { operation: 0, fields: vec!["m".into()] });
    assert_eq!(transact(database, vec![second]).await, taken);
}

async fn what_no_index_has_is_refused_by_name(database: &Database) {
    declare(database, vec![index(vec![column("n", Kind::Number)])]).await;
    let refused = |field: &str, error: Result<Page, Error>| {
        assert!(matches!(&error, Err(Error::NotIndexed { field: named, .. }) if named == field), "{error:?}");
    };
    let inner = Filter::Not(Box::new(is("m", State::Null)));
    refused("m", find(database, asking(Filter::And(vec![is("n", State::Null), inner.clone()]))).await);
    refused("m", find(database, Find { order: order("n,m"), ..Find::all("things", 1) }).await);
    refused("created_at", find(database, asking(is("created_at", State::Null))).await);
    try_declare(database, vec![], true).await.unwrap();
    find(database, asking(inner)).await.unwrap();
    refused("m", find(database, Find { order: order("m"), ..Find::all("things", 1) }).await);
}

async fn a_find_that_matches_little_ends_early_and_goes_on(database: &Database) {
    try_declare(database, vec![], true).await.unwrap();
    for thousand in 0..11 {
        let records = (0..1000)
            .map(|one| put(&format!("{thousand:02}{one:03}"), json!({"n": one}), Precondition::None));
        transact(database, records.collect()).await.unwrap();
    }
    write(database, put("10500", json!({"m": 1}), Precondition::None)).await;
    let asked = Find { limit: 10, count: Count::Exact, ..asking(is("m", State::NotNull)) };
    let page = find(database, asked.clone()).await.unwrap();
    assert_eq!((page.records.len(), page.total), (0, Some(Total::exactly(1))));
    assert!(page.position.is_some(), "ten thousand were looked at");
    assert_eq!(found(database, asked.clone()).await, ["10500"]);
    let estimated = Find { count: Count::Estimated, ..asked.clone() };
    let total = find(database, estimated.clone()).await.unwrap().total.unwrap();
    assert!(!total.is_exact && total.counted.abs_diff(1) <= total.margin.unwrap(), "{total:?}");
    // Where no sample may be taken, the count tells how far it came: as far as a page, which the one that matches lies behind.
    let bound = find(database, Find { lower_bound: true, ..estimated.clone() }).await.unwrap().total;
    assert_eq!(bound, Some(Total::at_least(0)));
    let few = Find { lower_bound: true, ..estimated };
    let few = Find { filter: Some(compare("n", Comparison::Eq, json!(7))), ..few };
    assert_eq!(find(database, few).await.unwrap().total, Some(Total::at_least(10)));
    let exact = find(database, Find { lower_bound: true, ..asked }).await.unwrap().total;
    assert_eq!(exact, Some(Total::exactly(1)));
}

async fn matches_are_counted_and_answers_cut_down(database: &Database) {
    declare(database, vec![index(vec![column("n", Kind::Number)])]).await;
    let records: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .zip(1..)
        .map(|(id, n)| (*id, json!({"n": n, "o": {"p": n, "q": 0}})))
        .collect();
    fill(database, &records).await;
    let filter = compare("n", Comparison::Gt, json!(1));
    let asked = Find { limit: 2, fields: Some(vec![field("o.p")]), count: Count::Exact, ..asking(filter) };
    let page = find(database, asked).await.unwrap();
    assert_eq!(page.total, Some(Total::exactly(3)));
    let data: Vec<_> = page.records.into_iter().map(|record| record.data).collect();
    assert_eq!(data, [object(json!({"o": {"p": 2}})), object(json!({"o": {"p": 3}}))]);
    assert_eq!(find(database, Find::all("things", 2)).await.unwrap().total, None);
}

async fn a_position_of_another_question_is_refused(database: &Database) {
    declare(database, vec![index(vec![column("n", Kind::Number)]), index(vec![column("t", Kind::Text)])])
        .await;
    fill(database, &[("a", json!({"n": 1, "t": "x"})), ("b", json!({"n": 2, "t": "y"}))]).await;
    let by = |spelled: &str| Find { order: order(spelled), ..Find::all("things", 1) };
    let after = find(database, by("n")).await.unwrap().position;
    let other = Find { after, ..by("t") };
    assert!(matches!(find(database, other).await, Err(Error::Invalid { .. })));
}
