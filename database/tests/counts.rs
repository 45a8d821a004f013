//! Estimates of how many records match: within their margin, however the records that match lie.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;

use database::find::{Column, Comparison, Count, Field, Filter, Index, Kind, Total};
use database::{
    Config, Database, Declaration, Engine, Find, Operation, Precondition, Query, Record, Transaction, Url,
};
use serde_json::{Map, Value, json};
use system_tests::postgres::Scratch;

/// Few enough that a sample is taken from the names, and enough that it is from the index.
const STAGES: [u32; 2] = [6_000, 20_000];

fn compare(name: &str, comparison: Comparison, value: Value) -> Filter {
    Filter::Compare { field: Field::new(name).unwrap(), comparison, value }
}

/// What a record of this number holds: `n` as it was made, `turn` in turns of seven, `odd` of one in two hundred.
fn data(number: u32) -> Map<String, Value> {
    let data =
        json!({"n": number, "turn": number % 7, "odd": number.is_multiple_of(200), "pad": "x".repeat(40)});
    data.as_object().unwrap().clone()
}

async fn fill(database: &Database, from: u32, to: u32) {
    for thousand in (from..to).step_by(1000) {
        let put = |number| {
            let Record { collection, id, data, .. } = record(number);
            Operation::Put { collection, id, data, precondition: Precondition::None }
        };
        let operations = (thousand..thousand + 1000).map(put).collect();
        database.transact(Transaction { namespace: "shop".into(), operations }).await.unwrap();
    }
}

fn record(number: u32) -> Record {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let (collection, id) = ("things".to_owned(), format!("r{number:06}"));
    Record {
        collection,
        id,
        version: 1,
        created_at: now,
        updated_at: now,
        data: data(number),
        unreadable: false,
    }
}

async fn total(database: &Database, filter: Filter) -> Total {
    let asked = Find { filter: Some(filter), count: Count::Estimated, ..Find::all("things", 1) };
    database.query("shop", &Query::Find(asked)).await.unwrap().total.unwrap()
}

async fn run(url: Url) {
    let config = Config { url, ..Config::default() };
    let database = Database::Local(Engine::open(&config, Path::new("none")).unwrap());
    let column = |name: &str, kind| Column { field: Field::new(name).unwrap(), kind, descending: false };
    let index = |name, kind| Index { columns: vec![column(name, kind)], unique: false };
    let indexes = vec![index("n", Kind::Number), index("turn", Kind::Number), index("odd", Kind::Boolean)];
    let declaration = Declaration { collection: "things".into(), indexes, ..Declaration::default() };
    database.declare("shop", &declaration).await.unwrap();
    // Others in the same tables, which must not be taken for the collection's.
    let other = Operation::Put {
        collection: "others".into(),
        id: "a".into(),
        data: data(1),
        precondition: Precondition::None,
    };
    database.transact(Transaction { namespace: "shop".into(), operations: vec![other] }).await.unwrap();
    let mut from = 0;
    for stage in STAGES {
        fill(&database, from, stage).await;
        from = stage;
        let (mut outside, mut estimates) = (0, 0);
        let mut filters = Vec::new();
        for tenth in 0..10 {
            // The first that the walk meets match, all of them, and then none does; or the other way round.
            filters.push(compare("n", Comparison::Lt, json!(stage * tenth / 10)));
            filters.push(Filter::Not(Box::new(compare("n", Comparison::Lt, json!(stage * tenth / 10)))));
        }
        filters.extend((0..7).map(|turn| compare("turn", Comparison::Neq, json!(turn))));
        filters.extend((0..7).map(|turn| {
            Filter::And(vec![
                compare("turn", Comparison::Gte, json!(turn)),
                compare("n", Comparison::Gte, json!(stage / 2)),
            ])
        }));
        for filter in filters {
            let truth = (0..stage).filter(|number| filter.matches(&record(*number))).count() as u64;
            let found = total(&database, filter.clone()).await;
            if found.is_exact {
                assert_eq!(found.counted, truth, "{filter:?}");
                continue;
            }
            estimates += 1;
            let margin = found.margin.unwrap();
            assert!(margin <= u64::from(stage) * 35 / 1000, "{found:?} of {stage}");
            let off = found.counted.abs_diff(truth);
            outside += u32::from(off > margin);
            assert!(off <= 2 * margin, "{found:?} instead of {truth:?}: {filter:?}");
        }
        assert!(estimates >= 20, "most are too many to count one by one: {estimates}");
        // One sample answers them all, so they are off together.
        assert!(outside * 4 <= estimates, "{outside} of {estimates} outside their margin, at {stage}");
        let few = total(&database, compare("odd", Comparison::Eq, json!(true))).await;
        assert_eq!(few, Total::exactly(u64::from(stage) / 200), "what an index narrows down is counted");
        let all = Find { count: Count::Estimated, ..Find::all("things", 1) };
        let all = database.query("shop", &Query::Find(all)).await.unwrap().total;
        assert_eq!(all, Some(Total::exactly(stage.into())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn estimates_are_within_their_margin_on_sqlite() {
    let data = tempfile::tempdir().unwrap();
    run(Url::SqliteIn(data.path().to_owned())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn estimates_are_within_their_margin_on_postgres() {
    let scratch = Scratch::create();
    run(scratch.url().parse().unwrap()).await;
}
