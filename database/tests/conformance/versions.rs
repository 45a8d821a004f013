//! What was before: records that move out of the way and back, and their earlier versions.

use std::time::Duration;

use database::change::ChangeKind;
use database::find::{Column, Field, Index, Kind};
use database::{Database, Declaration, Earlier, Error, Operation, Outcome, Precondition, Query, Record};
use serde_json::{Value, json};

use crate::harness::{delete, get, object, patch, put, transact, write};

crate::on_every_handle! {
    a_record_moves_and_stays_what_it_is
    a_move_that_cannot_be_leaves_both_places_as_they_are
    every_write_keeps_the_version_before_it_up_to_so_many
    what_was_refused_left_no_version
    earlier_versions_go_where_their_record_goes
    versions_whose_time_is_over_are_not_told_and_go
    earlier_versions_follow_each_other_page_by_page
    a_version_is_written_anew_and_stays_what_it_is
    a_version_that_is_not_there_is_not_written
}

fn move_to(id: &str, from: &str, to: &str, precondition: Precondition, target: Precondition) -> Operation {
    Operation::Move { collection: from.into(), id: id.into(), to: to.into(), precondition, target }
}

fn away(id: &str) -> Operation {
    move_to(id, "things", "attic", Precondition::None, Precondition::None)
}

fn back(id: &str) -> Operation {
    move_to(id, "attic", "things", Precondition::None, Precondition::Absent)
}

async fn in_attic(database: &Database, id: &str) -> Option<Record> {
    let query = Query::Get { collection: "attic".into(), id: id.into() };
    database.query("shop", &query).await.unwrap().records.pop()
}

async fn declare(database: &Database, history: u32, history_age_ms: Option<u64>) {
    let declaration =
        Declaration { collection: "things".into(), history, history_age_ms, ..Declaration::default() };
    database.declare("shop", &declaration).await.unwrap();
}

async fn earlier(database: &Database, collection: &str, id: &str) -> Vec<Earlier> {
    let query = Query::History { collection: collection.into(), id: id.into(), before: None, limit: 100 };
    database.query("shop", &query).await.unwrap().earlier
}

async fn numbers(database: &Database, collection: &str, id: &str) -> Vec<Value> {
    earlier(database, collection, id)
        .await
        .into_iter()
        .map(|earlier| earlier.record.data["n"].clone())
        .collect()
}

fn with(n: u32) -> Value {
    json!({ "n": n })
}

async fn a_record_moves_and_stays_what_it_is(database: &Database) {
    let data = json!({"n": 1e16, "s": "x\u{0}y", "o": {"ä": [null]}});
    let made = write(database, put("a", data.clone(), Precondition::None)).await;
    let moved = write(database, away("a")).await;
    assert_eq!((&moved.collection[..], &moved.id[..], moved.data.clone()), ("attic", "a", object(data)));
    assert_eq!(moved.created_at, made.created_at);
    assert!(moved.version > made.version && moved.updated_at >= made.updated_at);
    assert_eq!((get(database, "a").await, in_attic(database, "a").await), (None, Some(moved.clone())));
    let again = write(database, back("a")).await;
    assert_eq!((&again.data, again.created_at), (&made.data, made.created_at));
    assert_eq!((get(database, "a").await, in_attic(database, "a").await), (Some(again), None));
    let changes = database.changes(Some("shop"), 0, 100, Duration::ZERO).await.unwrap();
    let told: Vec<_> = changes.iter().map(|change| (&change.collection[..], change.kind)).collect();
    let expected = [
        ("things", ChangeKind::Create),
        ("things", ChangeKind::Delete),
        ("attic", ChangeKind::Create),
        ("attic", ChangeKind::Delete),
        ("things", ChangeKind::Create),
    ];
    assert_eq!(told, expected);
    // In place of one that is there; and in one transaction with what else happens to it.
    write(database, away("a")).await;
    let operations =
        vec![put("a", with(2), Precondition::Absent), patch("a", with(3), Precondition::None), away("a")];
    let outcomes = transact(database, operations).await.unwrap().outcomes;
    assert!(matches!(&outcomes[2], Outcome::Written { created: false, .. }), "{outcomes:?}");
    assert_eq!(in_attic(database, "a").await.unwrap().data, object(with(3)));
    let there_and_back = vec![back("a"), away("a"), back("a"), delete("a", Precondition::None)];
    transact(database, there_and_back).await.unwrap();
    assert_eq!((get(database, "a").await, in_attic(database, "a").await), (None, None));
}

async fn a_move_that_cannot_be_leaves_both_places_as_they_are(database: &Database) {
    let column = Column { field: Field::new("n").unwrap(), kind: Kind::Number, descending: false };
    let index = Index { columns: vec![column], unique: true };
    let declaration =
        Declaration { collection: "things".into(), indexes: vec![index], ..Declaration::default() };
    database.declare("shop", &declaration).await.unwrap();
    let version = write(database, put("a", with(1), Precondition::None)).await.version;
    let refused = |operation, current| Err(Error::PreconditionFailed { operation, current });
    let stale = move_to("a", "things", "attic", Precondition::Version(version + 1), Precondition::None);
    assert_eq!(transact(database, vec![stale]).await, refused(0, Some(version)));
    let present = move_to("a", "things", "attic", Precondition::None, Precondition::Present);
    assert_eq!(transact(database, vec![present]).await, refused(0, None));
    let missing = transact(database, vec![away("b")]).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
    let same = move_to("a", "things", "things", Precondition::None, Precondition::None);
    assert!(matches!(transact(database, vec![same]).await, Err(Error::Invalid { .. })));

    let gone = write(database, away("a")).await.version;
    let other = write(database, put("b", with(1), Precondition::None)).await.version;
    let both = vec![put("c", with(3), Precondition::None), back("a")];
    let fields = vec!["n".to_owned()];
    assert_eq!(transact(database, both).await, Err(Error::NotUnique { operation: 1, fields }));
    let taken = write(database, put("a", with(2), Precondition::None)).await.version;
    assert_eq!(transact(database, vec![back("a")]).await, refused(0, Some(taken)));
    assert_eq!(in_attic(database, "a").await.unwrap().version, gone);
    assert_eq!((get(database, "b").await.unwrap().version, get(database, "c").await), (other, None));
}

async fn every_write_keeps_the_version_before_it_up_to_so_many(database: &Database) {
    let before = write(database, put("a", with(0), Precondition::None)).await;
    declare(database, 3, None).await;
    assert_eq!(earlier(database, "things", "a").await, []);
    let after = write(database, put("a", with(1), Precondition::None)).await;
    let kept = earlier(database, "things", "a").await;
    assert_eq!(kept, [Earlier { record: before, until: after.updated_at }]);
    // Twice and more in one transaction, among others.
    let operations = vec![
        patch("a", with(2), Precondition::None),
        put("b", with(1), Precondition::None),
        put("a", json!({"n": 3, "s": "x\u{0}y", "f": 1e16}), Precondition::None),
        put("b", with(2), Precondition::None),
        put("a", with(4), Precondition::None),
    ];
    transact(database, operations).await.unwrap();
    assert_eq!(numbers(database, "things", "a").await, [3, 2, 1]);
    assert_eq!(numbers(database, "things", "b").await, [1]);
    let odd = &earlier(database, "things", "a").await[0].record.data;
    assert_eq!(*odd, object(json!({"n": 3, "s": "x\u{0}y", "f": 1e16})));
    // Many at once, as many callers.
    let writes = (10..40).map(|n| transact(database, vec![put("a", with(n), Precondition::None)]));
    for written in futures_util::future::join_all(writes).await {
        written.unwrap();
    }
    let (kept, now) = (earlier(database, "things", "a").await, get(database, "a").await.unwrap());
    let versions: Vec<u64> = kept.iter().map(|earlier| earlier.record.version).collect();
    assert_eq!(versions, [now.version - 1, now.version - 2, now.version - 3]);
    declare(database, 1, None).await;
    write(database, put("a", with(50), Precondition::None)).await;
    assert_eq!(earlier(database, "things", "a").await.len(), 1);
    declare(database, 0, None).await;
    write(database, put("a", with(51), Precondition::None)).await;
    assert_eq!(earlier(database, "things", "a").await.len(), 1, "nothing more is kept");
}

async fn what_was_refused_left_no_version(database: &Database) {
    declare(database, 9, None).await;
    write(database, put("a", with(0), Precondition::None)).await;
    let refused = vec![put("a", with(1), Precondition::None), put("a", with(2), Precondition::Absent)];
    let others = (0..4).map(|n| transact(database, vec![put(&format!("b{n}"), with(n), Precondition::None)]));
    let (refused, others) = tokio::join!(transact(database, refused), futures_util::future::join_all(others));
    assert!(refused.is_err() && others.iter().all(Result::is_ok));
    assert_eq!(numbers(database, "things", "a").await, [Value::Null; 0]);
    let removed = vec![delete("a", Precondition::None), put("a", with(2), Precondition::Present)];
    write(database, put("a", with(1), Precondition::None)).await;
    transact(database, removed).await.unwrap_err();
    assert_eq!(numbers(database, "things", "a").await, [0], "nor took one away");
}

async fn earlier_versions_go_where_their_record_goes(database: &Database) {
    declare(database, 9, None).await;
    write(database, put("a", with(0), Precondition::None)).await;
    write(database, put("a", with(1), Precondition::None)).await;
    write(database, away("a")).await;
    assert_eq!(numbers(database, "things", "a").await, [Value::Null; 0]);
    assert_eq!(numbers(database, "attic", "a").await, [1, 0]);
    // Another of the name begins anew, and replaces what lies there.
    write(database, put("a", with(5), Precondition::Absent)).await;
    write(database, put("a", with(6), Precondition::None)).await;
    write(database, away("a")).await;
    assert_eq!(numbers(database, "attic", "a").await, [6, 5]);
    let all_at_once = vec![
        back("a"),
        put("a", with(7), Precondition::None),
        away("a"),
        back("a"),
        put("a", with(8), Precondition::None),
    ];
    transact(database, all_at_once).await.unwrap();
    assert_eq!(numbers(database, "things", "a").await, [7, 7, 6, 6, 5]);
    transact(database, vec![delete("a", Precondition::None)]).await.unwrap();
    write(database, put("a", with(9), Precondition::Absent)).await;
    assert_eq!(numbers(database, "things", "a").await, [Value::Null; 0], "a deletion leaves none");
}

async fn versions_whose_time_is_over_are_not_told_and_go(database: &Database) {
    declare(database, 100, Some(3_600_000)).await;
    write(database, put("a", with(0), Precondition::None)).await;
    for n in 1..=5 {
        write(database, put("a", with(n), Precondition::None)).await;
    }
    let trim = async || {
        let outcomes = transact(database, vec![Operation::Trim { collection: "things".into() }]).await;
        assert_eq!(outcomes.unwrap().outcomes, [Outcome::Trimmed]);
    };
    trim().await;
    assert_eq!(earlier(database, "things", "a").await.len(), 5);
    declare(database, 100, Some(1)).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(earlier(database, "things", "a").await, []);
    declare(database, 100, None).await;
    assert_eq!(earlier(database, "things", "a").await.len(), 5, "they are there all the same");
    declare(database, 100, Some(1)).await;
    trim().await;
    declare(database, 100, None).await;
    assert_eq!(earlier(database, "things", "a").await, []);
}

async fn earlier_versions_follow_each_other_page_by_page(database: &Database) {
    declare(database, 100, None).await;
    for n in 0..=7 {
        write(database, put("a", with(n), Precondition::None)).await;
    }
    let (mut walked, mut before) = (Vec::new(), None);
    loop {
        let query = Query::History { collection: "things".into(), id: "a".into(), before, limit: 3 };
        let page = database.query("shop", &query).await.unwrap();
        walked.extend(page.earlier.iter().map(|earlier| earlier.record.data["n"].clone()));
        before = page.earlier.last().map(|last| last.record.version);
        if !page.has_earlier {
            break;
        }
    }
    assert_eq!(walked, [6, 5, 4, 3, 2, 1, 0]);
    // Large ones end a page early.
    for n in 0..=10 {
        write(database, put("large", json!({"n": n, "t": "x".repeat(1_000_000)}), Precondition::None)).await;
    }
    let query = Query::History { collection: "things".into(), id: "large".into(), before: None, limit: 100 };
    let page = database.query("shop", &query).await.unwrap();
    assert!(page.has_earlier && (1..10).contains(&page.earlier.len()), "{}", page.earlier.len());
}

fn rewrite(collection: &str, id: &str, version: u64, data: Value) -> Operation {
    Operation::Rewrite { collection: collection.into(), id: id.into(), version, data: object(data) }
}

async fn a_version_is_written_anew_and_stays_what_it_is(database: &Database) {
    declare(database, 5, None).await;
    let first = write(database, put("a", with(1), Precondition::None)).await;
    let second = write(database, put("a", with(2), Precondition::None)).await;
    write(database, away("a")).await;
    let third = write(database, back("a")).await;
    let before = database.changes(Some("shop"), 0, 100, Duration::ZERO).await.unwrap();
    let odd = json!({"n": 1e16, "s": "x\u{0}y", "z": -0.0});
    let operations = vec![
        rewrite("things", "a", first.version, odd.clone()),
        rewrite("things", "a", third.version, odd.clone()),
        rewrite("things", "a", second.version, with(22)),
    ];
    assert_eq!(transact(database, operations).await.unwrap().outcomes, vec![Outcome::Rewritten; 3]);
    let there = get(database, "a").await.unwrap();
    assert_eq!(
        there,
        Record { data: object(odd.clone()), ..third.clone() },
        "neither version nor time moved"
    );
    let told = earlier(database, "things", "a").await;
    let told: Vec<_> =
        told.iter().map(|earlier| (earlier.record.version, earlier.record.data.clone())).collect();
    assert_eq!(told.last(), Some(&(first.version, object(odd))));
    assert!(told.contains(&(second.version, object(with(22)))));
    assert_eq!(database.changes(Some("shop"), 0, 100, Duration::ZERO).await.unwrap(), before);
    // What a write then keeps, and a patch then changes, is what was written anew; in one batch, too.
    let operations = vec![
        rewrite("things", "a", third.version, json!({"n": 3, "m": 3})),
        patch("a", with(4), Precondition::Version(third.version)),
    ];
    transact(database, operations).await.unwrap();
    assert_eq!(get(database, "a").await.unwrap().data, object(json!({"n": 4, "m": 3})));
    assert_eq!(earlier(database, "things", "a").await[0].record.data, object(json!({"n": 3, "m": 3})));
}

async fn a_version_that_is_not_there_is_not_written(database: &Database) {
    declare(database, 5, None).await;
    let first = write(database, put("a", with(1), Precondition::None)).await;
    let others =
        [("things", "b", first.version), ("attic", "a", first.version), ("things", "a", first.version + 1)];
    for (collection, id, version) in others {
        let done = transact(database, vec![rewrite(collection, id, version, with(9))]).await;
        assert_eq!(done.unwrap().outcomes, [Outcome::Rewritten]);
    }
    // Nor where another operation of its transaction is refused.
    let operations =
        vec![rewrite("things", "a", first.version, with(9)), put("a", with(2), Precondition::Absent)];
    let refused = transact(database, operations).await;
    assert!(matches!(refused, Err(Error::PreconditionFailed { .. })), "{refused:?}");
    assert_eq!(get(database, "a").await, Some(first));
    assert_eq!(numbers(database, "things", "a").await, Vec::<Value>::new());
}
