//! The statements of hot paths find their rows through an index, in its order, however many there are.

use std::path::Path;

use serde_json::json;
use system_tests::postgres::Scratch;

use super::session::{Server, Session};
use super::{columns, find, jobs, readers, records, sample, trim, versions};
use crate::find::plan::plan;
use crate::find::segment::segments;
use crate::find::{Column, Comparison, Declaration, Field, Filter, Find, Index, Kind, Order};
use crate::{Config, Database, Engine};

/// A connection to a database whose schema is up, with what is declared in it.
async fn connect(scratch: &Scratch, declaration: &Declaration) -> Session {
    let config = Config { url: scratch.url().parse().unwrap(), ..Config::default() };
    let database = Database::Local(Engine::open(&config, Path::new("none")).unwrap());
    database.declare("shop", declaration).await.unwrap();
    let server = Server::new(&scratch.url(), tokio::runtime::Handle::current()).unwrap();
    let session = server.connect(&[], None).await.unwrap();
    // The plan every caller gets sooner or later, and the one that knows least.
    session.run("SET plan_cache_mode = force_generic_plan").await.unwrap();
    session
}

/// Gives the server's plan of a statement, one line a step.
async fn explain(session: &Session, sql: &str) -> String {
    let count = (1..20).take_while(|number| sql.contains(&format!("${number}"))).count();
    let values = vec!["NULL"; count].join(", ");
    let values = if count == 0 { String::new() } else { format!("({values})") };
    session.run(&format!("PREPARE one AS {sql}")).await.unwrap();
    let rows = session.query(&format!("EXPLAIN EXECUTE one{values}"), &[]).await.unwrap();
    session.run("DEALLOCATE one").await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hot_statement_scans() {
    let scratch = Scratch::create();
    let session =
        connect(&scratch, &Declaration { collection: "things".into(), ..Declaration::default() }).await;
    let statements = [
        (records::FIND, "records_pkey"),
        (columns::DELETE, "records_pkey"),
        (records::FIND_HISTORIES, "collections_pkey"),
        (versions::KEEP_FOUND, "records_pkey"),
        (versions::CUT, "versions_pkey"),
        (versions::MOVE, "versions_pkey"),
        (versions::REMOVE, "versions_pkey"),
        (versions::TRIM, "versions_by_end"),
        (readers::HISTORY, "versions_pkey"),
        (records::FIND_ANSWERS, "answers_pkey"),
        (records::FORGET, "answers_by_expiry"),
        (readers::GET, "records_pkey"),
        (readers::LIST, "records_pkey"),
        (readers::SOME, "records_pkey"),
        (readers::CHANGES, "changes_pkey"),
        (readers::CHANGES_OF_NAMESPACE, "changes_by_namespace"),
        (readers::LATEST, "changes_by_namespace"),
        (trim::TRIM_CHANGES, "changes_pkey"),
        (trim::TRIM_JOBS, "jobs_ended"),
        (trim::NTH_ENDED, "jobs_ended"),
        (readers::ANSWER, "answers_pkey"),
        (sample::COUNT, "counts_pkey"),
        (sample::INDEXED, "records_sampled"),
        (sample::NAMED, "records_pkey"),
        (records::ADJUST, "counts_pkey"),
        (readers::JOB, "jobs_pkey"),
        (readers::NEXT_DUE, "jobs_waiting"),
        (readers::FIGURES, "jobs_dead"),
        (jobs::NAMED, "jobs_pkey"),
        (jobs::EXPIRED, "jobs_leased"),
        (jobs::CLAIMABLE, "jobs_waiting"),
        (jobs::UPDATE, "jobs_pkey"),
        (jobs::NEXT_EXPIRY, "jobs_leased"),
    ];
    for (sql, expected) in statements {
        let plan = explain(&session, sql).await;
        assert!(plan.contains(expected) && !plan.contains("Seq Scan"), "{sql}\n{plan}");
    }
    // Nothing is known of the table yet; each record is found by its own name all the same.
    let plan = explain(&session, readers::SOME).await;
    assert!(plan.contains("(collection = $2) AND (id = "), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_find_walks_its_index_in_order() {
    let column = |name: &str, kind, descending| Column { field: Field::new(name).unwrap(), kind, descending };
    let index = |columns| Index { columns, unique: false };
    let indexes = vec![
        index(vec![column("n", Kind::Number, false)]),
        index(vec![column("t", Kind::Text, false), column("n", Kind::Number, true)]),
        index(vec![column("b", Kind::Boolean, false), column("updated_at", Kind::Number, false)]),
        Index { columns: vec![column("mail", Kind::Text, false)], unique: true },
    ];
    let declaration =
        Declaration { collection: "things".into(), indexes: indexes.clone(), ..Declaration::default() };
    let scratch = Scratch::create();
    let session = connect(&scratch, &declaration).await;
    let compare = |name: &str, comparison, value| {
        Some(Filter::Compare { field: Field::new(name).unwrap(), comparison, value })
    };
    let cases = [
        ("", None, 0, None),
        ("-id", None, 0, None),
        ("n", None, 1, Some(vec![json!(3), json!("x")])),
        ("-n", compare("n", Comparison::Lt, json!(7.5)), 1, Some(vec![json!(3), json!("x")])),
        ("t,-n", None, 2, Some(vec![json!("a"), json!(null), json!("x")])),
        ("-t,n", None, 2, Some(vec![json!(null), json!(1), json!("x")])),
        ("-n", compare("t", Comparison::Eq, json!("a")), 2, Some(vec![json!(1), json!("x")])),
        ("updated_at", compare("b", Comparison::Eq, json!(true)), 3, Some(vec![json!(1), json!("x")])),
        ("", compare("mail", Comparison::Eq, json!("a@b")), 4, None),
    ];
    for (spelled, filter, number, after) in cases {
        let order = |spelled: &str| Order {
            field: Field::new(spelled.trim_start_matches('-')).unwrap(),
            descending: spelled.starts_with('-'),
        };
        let order = spelled.split(',').filter(|spelled| !spelled.is_empty()).map(order).collect();
        let asked = Find { filter, order, ..Find::all("things", 10) };
        let walk = plan(&asked, &indexes, false).unwrap();
        let expected =
            if number == 0 { "records_pkey".to_owned() } else { format!("records_declared_{number} ") };
        for stretch in segments(&walk, after.as_deref()).unwrap() {
            let (sql, _) = find::statement("shop", "things", &walk, &stretch);
            let plan = explain(&session, &sql).await;
            assert!(plan.contains(&expected), "{spelled}: {sql}\n{plan}");
            // Only the numbered rows of one piece may be sorted again, which they are already.
            let inner = plan.split_once("Limit").map_or("", |(_, inner)| inner);
            assert!(!inner.contains("Sort") && !plan.contains("Seq Scan"), "{spelled}: {sql}\n{plan}");
        }
    }
}
