//! Random transactions against a model in memory: the same answers, the same records with their histories and counts, the
//! same changes.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use database::change::ChangeKind;
use database::find::Count;
use database::{
    Config, Database, Declaration, Engine, Error, Find, Operation, Outcome, Precondition, Query, Transaction,
    Url,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use system_tests::postgres::Scratch;

/// Where records lie; a record can move from one to the other.
const COLLECTIONS: [&str; 2] = ["things", "attic"];

/// What the model knows of one record.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    version: u64,
    data: Map<String, Value>,
    /// Its earlier versions, the latest first.
    earlier: Vec<Before>,
}

/// An earlier version: its number, and what it held.
type Before = (u64, Map<String, Value>);

/// Records by collection and name.
type Records = BTreeMap<(String, String), Known>;

#[derive(Debug, Clone, Default)]
struct Model {
    records: Records,
    /// How many earlier versions each collection keeps.
    histories: BTreeMap<String, usize>,
}

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
    place: usize,
    id: String,
    data: Map<String, Value>,
    guard: Guard,
    /// Of the place that a record moves to.
    target: Guard,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    Transaction(Vec<Step>),
    /// A collection declares how many earlier versions it keeps.
    History(usize, u32),
}

fn guard() -> impl Strategy<Value = Guard> {
    prop_oneof![
        6 => Just(Guard::None), 1 => Just(Guard::Absent), 1 => Just(Guard::Present),
        3 => Just(Guard::Current), 1 => Just(Guard::Stale),
    ]
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
    let place = prop_oneof![3 => Just(0usize), 1 => Just(1usize)];
    (0u8..9, place, "[a-c]", data, guard(), guard()).prop_map(|(verb, place, id, data, guard, target)| Step {
        verb,
        place,
        id,
        data,
        guard,
        target,
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let transaction = prop::collection::vec(step(), 1..5).prop_map(Event::Transaction);
    let history = (0usize..2, 0u32..4).prop_map(|(place, most)| Event::History(place, most));
    let events = prop::collection::vec(prop_oneof![12 => transaction, 1 => history], 1..25);
    (0u32..4, events).prop_map(|(most, mut events)| {
        events.insert(0, Event::History(0, most));
        events
    })
}

impl Step {
    fn operation(&self, model: &Model) -> Operation {
        let of = |place: usize, guard: Guard| {
            let known = model.records.get(&(COLLECTIONS[place].to_owned(), self.id.clone()));
            let version = known.map_or(0, |known| known.version);
            match guard {
                Guard::None => Precondition::None,
                Guard::Absent => Precondition::Absent,
                Guard::Present => Precondition::Present,
                Guard::Current => Precondition::Version(version),
                Guard::Stale => Precondition::Version(version.wrapping_sub(1) >> 1),
            }
        };
        let precondition = of(self.place, self.guard);
        let (collection, id, data) = (COLLECTIONS[self.place].to_owned(), self.id.clone(), self.data.clone());
        match self.verb {
            0 | 1 => Operation::Put { collection, id, data, precondition },
            2 | 3 => Operation::Patch { collection, id, patch: data, precondition },
            4 => Operation::Delete { collection, id, precondition },
            5 => Operation::Trim { collection },
            6 => Operation::Require { collection, id, precondition },
            _ => {
                let to = 1 - self.place;
                // A place that must not be taken, or anything else, but seldom the version of what is there.
                let target =
                    of(to, if matches!(self.target, Guard::Current) { Guard::None } else { self.target });
                Operation::Move { collection, id, to: COLLECTIONS[to].to_owned(), precondition, target }
            }
        }
    }
}

impl Model {
    fn holds(&self, key: &(String, String), precondition: Precondition) -> bool {
        let current = self.records.get(key).map(|known| known.version);
        match precondition {
            Precondition::None => true,
            Precondition::Absent => current.is_none(),
            Precondition::Present => current.is_some(),
            Precondition::Version(version) => current == Some(version),
        }
    }

    /// Gives what a write of a record leaves of it as earlier versions.
    fn kept(&self, collection: &str, known: &Known) -> Vec<Before> {
        let mut earlier = known.earlier.clone();
        let most = self.histories.get(collection).copied().unwrap_or(0);
        if most > 0 {
            earlier.insert(0, (known.version, known.data.clone()));
            earlier.truncate(most);
        }
        earlier
    }

    /// Does what an operation should do and notes its changes; `None` when it should be refused.
    fn apply(&mut self, operation: &Operation, log: &mut Vec<Told>) -> Option<()> {
        let next = log.last().map_or(1, |told| told.sequence + 1);
        let mut tell = |sequence: u64, key: &(String, String), kind: ChangeKind| {
            log.push(Told { sequence, collection: key.0.clone(), id: key.1.clone(), kind });
        };
        match operation {
            Operation::Put { collection, id, precondition, .. }
            | Operation::Patch { collection, id, precondition, .. } => {
                let key = (collection.clone(), id.clone());
                self.holds(&key, *precondition).then_some(())?;
                let current = self.records.get(&key);
                let data = match operation {
                    Operation::Put { data, .. } => data.clone(),
                    Operation::Patch { patch, .. } => merge(current?.data.clone(), patch),
                    _ => return None,
                };
                let earlier = current.map(|known| self.kept(collection, known)).unwrap_or_default();
                let kind = if current.is_some() { ChangeKind::Update } else { ChangeKind::Create };
                tell(next, &key, kind);
                self.records.insert(key, Known { version: next, data, earlier });
            }
            Operation::Delete { collection, id, precondition } => {
                let key = (collection.clone(), id.clone());
                self.holds(&key, *precondition).then_some(())?;
                self.records.remove(&key)?;
                tell(next, &key, ChangeKind::Delete);
            }
            Operation::Move { collection, id, to, precondition, target } => {
                let (from, to) = ((collection.clone(), id.clone()), (to.clone(), id.clone()));
                (self.holds(&from, *precondition) && self.holds(&to, *target)).then_some(())?;
                let known = self.records.get(&from)?;
                let earlier = self.kept(collection, known);
                let moved = Known { version: next + 1, earlier, ..known.clone() };
                self.records.remove(&from);
                tell(next, &from, ChangeKind::Delete);
                let replaced = self.records.insert(to.clone(), moved);
                tell(next + 1, &to, if replaced.is_some() { ChangeKind::Update } else { ChangeKind::Create });
            }
            Operation::Require { collection, id, precondition } => {
                self.holds(&(collection.clone(), id.clone()), *precondition).then_some(())?;
            }
            Operation::Trim { .. } => {}
            _ => return None,
        }
        Some(())
    }
}

/// A change as it is told.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    sequence: u64,
    collection: String,
    id: String,
    kind: ChangeKind,
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

async fn run(url: Url, events: Vec<Event>) {
    let config = Config { url, ..Config::default() };
    let database = Database::Local(Engine::open(&config, Path::new("none")).unwrap());
    let (mut model, mut log) = (Model::default(), Vec::new());
    for event in events {
        let steps = match event {
            Event::Transaction(steps) => steps,
            Event::History(place, history) => {
                let collection = COLLECTIONS[place].to_owned();
                model.histories.insert(collection.clone(), history as usize);
                let declaration = Declaration { collection, history, ..Declaration::default() };
                database.declare("shop", &declaration).await.unwrap();
                continue;
            }
        };
        let operations: Vec<Operation> = steps.iter().map(|step| step.operation(&model)).collect();
        let transaction = Transaction { namespace: "shop".into(), operations };
        let result = database.transact(transaction.clone()).await;
        // The model gives sequences of its own; a refused transaction leaves nothing behind.
        let (mut after, mut log_after) = (model.clone(), log.clone());
        let done: Option<Vec<u64>> = transaction
            .operations
            .iter()
            .map(|operation| {
                after.apply(operation, &mut log_after)?;
                Some(log_after.last().map_or(0, |told| told.sequence))
            })
            .collect();
        match (result, done) {
            (Ok(committed), Some(sequences)) => {
                (model, log) = (after, log_after);
                for (outcome, sequence) in committed.outcomes.iter().zip(sequences) {
                    match outcome {
                        Outcome::Written { record, .. } => {
                            assert_eq!(record.version, sequence);
                            // Gone again within the transaction, it leaves nothing to compare with.
                            let known = model.records.values().find(|known| known.version == sequence);
                            if let Some(known) = known {
                                assert_eq!(record.data, known.data);
                            }
                        }
                        Outcome::Deleted { version } => assert_eq!(*version, sequence),
                        Outcome::Held | Outcome::Trimmed => {}
                        other => panic!("the model did no such thing: {other:?}"),
                    }
                }
            }
            (Err(Error::PreconditionFailed { .. } | Error::NotFound { .. }), None) => {}
            (result, done) => panic!("the database: {result:?}, the model: {done:?}"),
        }
    }
    assert_eq!(found(&database).await, model.records);
    let changes = database.changes(Some("shop"), 0, 1000, Duration::ZERO).await.unwrap().into_iter();
    let told = changes.map(|change| Told {
        sequence: change.sequence,
        collection: change.collection,
        id: change.id,
        kind: change.kind,
    });
    assert_eq!(told.collect::<Vec<_>>(), log);
}

/// Reads everything there is as the model has it.
async fn found(database: &Database) -> Records {
    let mut found = Records::new();
    for collection in COLLECTIONS {
        let asked = Find { count: Count::Exact, ..Find::all(collection, 100) };
        let page = database.query("shop", &Query::Find(asked)).await.unwrap();
        assert_eq!(page.total.unwrap().counted, page.records.len() as u64, "{collection} is counted");
        for record in page.records {
            let id = record.id.clone();
            let query =
                Query::History { collection: collection.into(), id: id.clone(), before: None, limit: 100 };
            let earlier = database.query("shop", &query).await.unwrap().earlier.into_iter();
            let earlier = earlier.map(|earlier| {
                assert!(earlier.until <= record.updated_at, "it ended when another took its place");
                assert_eq!(earlier.record.created_at, record.created_at, "a record keeps when it was made");
                (earlier.record.version, earlier.record.data)
            });
            let earlier = earlier.collect();
            let known = Known { version: record.version, data: record.data.clone(), earlier };
            found.insert((collection.to_owned(), id), known);
        }
    }
    found
}

fn check(url: Url, events: Vec<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(url, events));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn sqlite_does_what_the_model_does(events in events()) {
        let data = tempfile::tempdir().unwrap();
        check(Url::SqliteIn(data.path().to_owned()), events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn postgres_does_what_the_model_does(events in events()) {
        check(Scratch::create().url().parse().unwrap(), events);
    }
}
