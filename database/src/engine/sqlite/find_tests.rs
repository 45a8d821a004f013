//! The statements of a walk find their rows through the index that was chosen, and sort nothing.

use serde_json::json;

use super::*;
use crate::Declaration;
use crate::engine::sqlite::declared::{self, Making};
use crate::engine::sqlite::schema;
use crate::find::{Column, Comparison, Field, Filter, Index, Order};

fn column(spelled: &str) -> Column {
    let name = spelled.trim_start_matches('-');
    let kind = match name {
        "name" | "a.b" => Kind::Text,
        "sold" => Kind::Boolean,
        _ => Kind::Number,
    };
    Column { field: Field::new(name).unwrap(), kind, descending: spelled.starts_with('-') }
}

fn index(spelled: &str, unique: bool) -> Index {
    Index { columns: spelled.split(',').map(column).collect(), unique }
}

fn declare(connection: &Connection, indexes: Vec<Index>) -> Declared {
    let declaration = Declaration { collection: "things".into(), indexes, ..Declaration::default() };
    declared::declare(connection, "shop", &declaration, Making::AtOnce).unwrap();
    declared::load(connection, "shop", "things").unwrap()
}

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    connection
}

/// Declares where there is too much for an index at once, and has the tables filled.
fn declare_large(connection: &Connection, indexes: Vec<Index>) -> Declared {
    let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n <= ?1) \
        INSERT INTO records (namespace, collection, id, version, created_at, updated_at, data) \
        SELECT 'shop', 'others', n, n, 0, 0, '{}' FROM n";
    connection.execute(fill, [index_table::LARGE]).unwrap();
    let declaration = Declaration { collection: "things".into(), indexes, ..Declaration::default() };
    declared::declare(connection, "shop", &declaration, Making::Online).unwrap();
    while index_table::advance(connection).unwrap() != index_table::Step::Idle {}
    declared::load(connection, "shop", "things").unwrap()
}

fn numbers(declared: &Declared) -> Vec<i64> {
    declared.numbers.iter().map(|(number, _)| *number).collect()
}

fn asking(filter: Option<Filter>, order: &str) -> Find {
    let order = order.split(',').filter(|spelled| !spelled.is_empty()).map(|spelled| Order {
        field: Field::new(spelled.trim_start_matches('-')).unwrap(),
        descending: spelled.starts_with('-'),
    });
    Find { filter, order: order.collect(), ..Find::all("things", 10) }
}

fn compare(name: &str, comparison: Comparison, value: Value) -> Option<Filter> {
    Some(Filter::Compare { field: Field::new(name).unwrap(), comparison, value })
}

/// Gives SQLite's plan of every statement of a walk, from its beginning and from a place on.
fn plans(
    connection: &Connection,
    declared: &Declared,
    find: &Find,
    after: &[Value],
) -> Vec<(String, String)> {
    let walk = plan(find, &declared.indexes, declared.scan).unwrap();
    let stretches = segments(&walk, None).unwrap().into_iter().chain(segments(&walk, Some(after)).unwrap());
    let plan = |stretch| {
        let (sql, values) = statement("shop", "things", &walk, declared, &stretch);
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        (sql, steps.map(Result::unwrap).collect::<Vec<_>>().join("\n"))
    };
    stretches.map(plan).collect()
}

#[test]
fn every_stretch_is_searched_in_its_index_and_nothing_is_sorted() {
    for declare in [declare, declare_large] {
        check_stretches(declare);
    }
}

fn check_stretches(declare: fn(&Connection, Vec<Index>) -> Declared) {
    let connection = database();
    let spelled = ["price", "name,-price", "a.b", "sold,created_at"];
    let declared = declare(&connection, spelled.map(|spelled| index(spelled, false)).to_vec());
    let cases = [
        (asking(None, "price"), vec![json!(1), json!("x")], 1),
        (asking(None, "-price"), vec![json!(1), json!("x")], 1),
        (asking(compare("price", Comparison::Gte, json!(3)), ""), vec![json!(4), json!("x")], 1),
        (asking(compare("name", Comparison::Eq, json!("n")), "-price"), vec![json!(1), json!("x")], 2),
        (asking(None, "-name,price"), vec![json!("n"), json!(1), json!("x")], 2),
        (asking(compare("a.b", Comparison::Lt, json!("n")), "a.b"), vec![json!("m"), json!("x")], 3),
        (asking(compare("sold", Comparison::Eq, json!(true)), "-created_at"), vec![json!(1), json!("x")], 4),
    ];
    for (find, after, number) in cases {
        for (place, (sql, plan)) in plans(&connection, &declared, &find, &after).into_iter().enumerate() {
            let uses = ["USING INDEX", "USING COVERING INDEX"]
                .map(|uses| format!("{uses} records_declared_{number}"));
            assert!(uses.iter().any(|uses| plan.contains(uses)), "{sql}\n{plan}");
            // With a table, each record is then found by its number.
            let steps = plan.lines().skip(1).all(|step| step.contains("INTEGER PRIMARY KEY"));
            assert!(steps, "{sql}\n{plan}");
            // Only a walk from the very beginning without any condition is not a search.
            let whole = place == 0 && find.filter.is_none();
            assert!(whole || plan.starts_with("SEARCH"), "{sql}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
    }
    for (sql, plan) in plans(&connection, &declared, &asking(None, "-id"), &[json!("x")]) {
        assert!(plan.starts_with("SEARCH") && plan.contains("sqlite_autoindex_records_1"), "{sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

#[test]
fn a_unique_field_finds_its_one_record() {
    for declare in [declare, declare_large] {
        let connection = database();
        let declared = declare(&connection, vec![index("name", true)]);
        let find = asking(compare("name", Comparison::Eq, json!("n")), "");
        let (sql, plan) = plans(&connection, &declared, &find, &[json!("x")]).remove(0);
        assert!(plan.starts_with("SEARCH") && plan.contains("records_declared_1"), "{sql}\n{plan}");
    }
}

#[test]
fn a_declaration_is_made_once_and_an_index_goes_only_when_it_is_dropped() {
    let connection = database();
    declare(&connection, vec![index("price", false), index("name", true)]);
    let declared =
        declare(&connection, vec![index("price", false), index("name", true), index("a.b", false)]);
    assert_eq!(numbers(&declared), [1, 2, 3]);
    assert_eq!(numbers(&declare(&connection, vec![])), [1, 2, 3]);
    let dropped = vec![index("name", true)];
    let declaration =
        Declaration { collection: "things".into(), dropped, scan: true, ..Declaration::default() };
    declared::declare(&connection, "shop", &declaration, Making::AtOnce).unwrap();
    let declared = declared::load(&connection, "shop", "things").unwrap();
    assert_eq!((numbers(&declared), declared.scan), (vec![1, 3], true));
    let again = declare(&connection, vec![index("name", true)]);
    assert_eq!((numbers(&again), again.scan), (vec![1, 3, 4], false), "a number is never used again");
}
