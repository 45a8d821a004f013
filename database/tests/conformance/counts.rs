//! How many records a collection has is kept with every commit, whichever way they come and go.

use database::find::Count;
use database::{Database, Error, Find, Operation, Outcome, Precondition, Query, Transaction};
use serde_json::json;

use crate::harness::{delete, patch, put, transact};

crate::on_every_handle! {
    a_count_follows_records_whichever_way_they_come_and_go
    counts_of_many_writers_add_up
}

/// Gives how many records a collection is said to have, and how many there are.
async fn counted(database: &Database, collection: &str) -> (u64, u64) {
    let asked = Find { count: Count::Exact, ..Find::all(collection, 1000) };
    let page = database.query("shop", &Query::Find(asked)).await.unwrap();
    let total = page.total.unwrap();
    assert!(total.is_exact && total.margin.is_none(), "{total:?}");
    (total.counted, page.records.len() as u64)
}

async fn a_count_follows_records_whichever_way_they_come_and_go(database: &Database) {
    let any = Precondition::None;
    let away = |id: &str| Operation::Move {
        collection: "things".into(),
        id: id.into(),
        to: "attic".into(),
        precondition: any,
        target: any,
    };
    let once = |key: &str| Operation::Once { key: key.into(), fingerprint: "f".into(), keep_ms: 60_000 };
    let n = |id: &str| put(id, json!({"n": 1}), any);
    assert_eq!(counted(database, "things").await, (0, 0));
    let steps: Vec<(Vec<Operation>, u64, u64)> = vec![
        (vec![n("a"), n("b"), n("c")], 3, 0),
        (vec![n("a"), patch("b", json!({"n": 2}), any)], 3, 0),
        (vec![delete("a", any), n("a"), delete("b", any)], 2, 0),
        (vec![away("a")], 1, 1),
        (vec![n("a"), away("a"), n("a")], 2, 1),
        (vec![n("x"), delete("x", any)], 2, 1),
        (vec![once("k"), n("d")], 3, 1),
        (vec![once("k"), n("d")], 3, 1),
    ];
    for (operations, things, attic) in steps {
        transact(database, operations.clone()).await.unwrap();
        let found = (counted(database, "things").await, counted(database, "attic").await);
        assert_eq!(found, ((things, things), (attic, attic)), "{operations:?}");
    }
    for refused in [
        vec![n("e"), put("f", json!({}), Precondition::Present)],
        vec![delete("c", any), delete("nothing", any)],
        vec![away("c"), away("c")],
    ] {
        transact(database, refused).await.unwrap_err();
        assert_eq!(counted(database, "things").await, (3, 3));
    }
    let elsewhere = Transaction { namespace: "other".into(), operations: vec![n("a")] };
    database.transact(elsewhere).await.unwrap();
    assert_eq!(counted(database, "things").await, (3, 3));
}

async fn counts_of_many_writers_add_up(database: &Database) {
    // Of each ten, one is refused and one removes what another made; they share commits.
    let write = async |number: usize| {
        let id = format!("r{number}");
        let mut operations = vec![put(&id, json!({}), Precondition::Absent)];
        match number % 10 {
            3 => operations.push(put("none", json!({}), Precondition::Present)),
            7 => operations.push(delete(&id, Precondition::None)),
            _ => {}
        }
        transact(database, operations).await
    };
    let results = futures_util::future::join_all((0..200).map(write)).await;
    let refused = results.iter().filter(|result| matches!(result, Err(Error::PreconditionFailed { .. })));
    assert_eq!(refused.count(), 20);
    let written = results.iter().flatten().filter(|committed| {
        committed.outcomes.len() == 1 && matches!(committed.outcomes[0], Outcome::Written { .. })
    });
    assert_eq!(written.count(), 160);
    assert_eq!(counted(database, "things").await, (160, 160));
}
