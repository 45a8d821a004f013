//! Random transactions against a model in memory: the same answers, the same records, the same changes.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use database::change::ChangeKind;
use database::{
    Config, Database, Engine, Error, Operation, Outcome, Precondition, Query, Record, Transaction, Url,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use system_tests::postgres::Scratch;

/// What the model knows of one record.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    version: u64,
    data: Map<String, Value>,
}

type Model = BTreeMap<String, Known>;

/// A precondition before it is known which versions there are.
#[derive(Debug, Clone, Copy)]
enum Guard {
    None,
    Absent,
    Present,
    Current,
    Stale,
}

#[derive(Debug, Clone)]
struct Step {
    verb: u8,
    id: String,
    data: Map<String, Value>,
    guard: Guard,
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no such number", |number| number.is_finite())
            .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::collection::btree_map("[ab]", any::<bool>(), 0..3).prop_map(|members| json!(members)),
    ];
    let data = prop::collection::btree_map("[abc]", value, 0..4).prop_map(Map::from_iter);
    let guard = prop_oneof![
        5 => Just(Guard::None), 1 => Just(Guard::Absent), 1 => Just(Guard::Present),
        3 => Just(Guard::Current), 1 => Just(Guard::Stale),
    ];
    (0u8..5, "[a-d]", data, guard).prop_map(|(verb, id, data, guard)| Step { verb, id, data, guard })
}

impl Step {
    fn operation(&self, model: &Model) -> Operation {
        let version = model.get(&self.id).map_or(0, |known| known.version);
        let precondition = match self.guard {
            Guard::None => Precondition::None,
            Guard::Absent => Precondition::Absent,
            Guard::Present => Precondition::Present,
            Guard::Current => Precondition::Version(version),
            Guard::Stale => Precondition::Version(version.wrapping_sub(1) >> 1),
        };
        let (collection, id, data) = ("things".to_owned(), self.id.clone(), self.data.clone());
        match self.verb {
            0 | 1 => Operation::Put { collection, id, data, precondition },
            2 | 3 => Operation::Patch { collection, id, patch: data, precondition },
            _ => Operation::Delete { collection, id, precondition },
        }
    }
}

/// Does to the model what the operation should do; `None` when it should be refused.
fn apply(model: &mut Model, operation: &Operation, sequence: u64) -> Option<ChangeKind> {
    let (Operation::Put { id, precondition, .. }
    | Operation::Patch { id, precondition, .. }
    | Operation::Delete { id, precondition, .. }) = operation
    else {
        return None;
    };
    let current = model.get(id).cloned();
    let holds = match precondition {
        Precondition::None => true,
        Precondition::Absent => current.is_none(),
        Precondition::Present => current.is_some(),
        Precondition::Version(version) => current.as_ref().is_some_and(|known| known.version == *version),
    };
    if !holds {
        return None;
    }
    let kind = if current.is_some() { ChangeKind::Update } else { ChangeKind::Create };
    let data = match operation {
        Operation::Put { data, .. } => data.clone(),
        Operation::Patch { patch, .. } => merge(current?.data, patch),
        _ => {
            current?;
            model.remove(id);
            return Some(ChangeKind::Delete);
        }
    };
    model.insert(id.clone(), Known { version: sequence, data });
    Some(kind)
}

/// RFC 7396 once more, written from its pseudo code.
fn merge(target: Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    fn merge_values(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let Value::Object(mut target) = target else { return merge_values(json!({}), &json!(patch)) };
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                let before = target.remove(name).unwrap_or(Value::Null);
                target.insert(name.clone(), merge_values(before, value));
            }
        }
        Value::Object(target)
    }
    match merge_values(Value::Object(target), &json!(patch)) {
        Value::Object(merged) => merged,
        _ => Map::new(),
    }
}

async fn run(url: Url, transactions: Vec<Vec<Step>>) {
    let config = Config { url, ..Config::default() };
    let database = Database::Local(Engine::open(&config, Path::new("none")).unwrap());
    let mut model = Model::new();
    let mut log: Vec<(u64, String, ChangeKind)> = Vec::new();
    for steps in transactions {
        let operations: Vec<Operation> = steps.iter().map(|step| step.operation(&model)).collect();
        let transaction = Transaction { namespace: "shop".into(), operations };
        let result = database.transact(&transaction).await;
        // The model gives sequences of its own; a refused transaction leaves none behind.
        let mut after = model.clone();
        let first = log.last().map_or(1, |(sequence, ..)| sequence + 1);
        let kinds: Option<Vec<ChangeKind>> = (first..)
            .zip(&transaction.operations)
            .map(|(sequence, operation)| apply(&mut after, operation, sequence))
            .collect();
        match (result, kinds) {
            (Ok(committed), Some(kinds)) => {
                model = after;
                for (index, (outcome, kind)) in committed.outcomes.iter().zip(kinds).enumerate() {
                    let version = match outcome {
                        Outcome::Written { record, .. } => record.version,
                        Outcome::Deleted { version } => *version,
                        other => panic!("the model did no such thing: {other:?}"),
                    };
                    assert_eq!(version, first + index as u64);
                    log.push((version, steps[index].id.clone(), kind));
                }
            }
            (Err(Error::PreconditionFailed { .. } | Error::NotFound { .. }), None) => {}
            (result, kinds) => panic!("the database: {result:?}, the model: {kinds:?}"),
        }
    }
    let query = Query::List { collection: "things".into(), after: None, limit: 100 };
    let found = database.query("shop", &query).await.unwrap().records.into_iter();
    let known = |record: Record| (record.id, Known { version: record.version, data: record.data });
    assert_eq!(found.map(known).collect::<Model>(), model);
    let changes = database.changes(Some("shop"), 0, 1000, Duration::ZERO).await.unwrap().into_iter();
    assert_eq!(changes.map(|change| (change.sequence, change.id, change.kind)).collect::<Vec<_>>(), log);
}

fn check(url: Url, transactions: Vec<Vec<Step>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(url, transactions));
}

fn transactions() -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 1..4), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn sqlite_does_what_the_model_does(transactions in transactions()) {
        let data = tempfile::tempdir().unwrap();
        check(Url::SqliteIn(data.path().to_owned()), transactions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn postgres_does_what_the_model_does(transactions in transactions()) {
        check(Scratch::create().url().parse().unwrap(), transactions);
    }
}
