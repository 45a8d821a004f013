//! Records: what is written is read, preconditions guard, and a transaction happens whole or not at all.

use database::{Database, Error, Operation, Outcome, Precondition, Query, Transaction};
use serde_json::json;

use crate::harness::{delete, enqueue, get, object, of_queue, patch, put, require, transact, write};

crate::on_every_handle! {
    a_record_is_read_as_it_was_written
    a_precondition_that_does_not_hold_tells_the_present_version
    a_move_is_refused_for_its_source_before_its_target
    a_transaction_happens_whole_or_not_at_all
    what_is_required_of_a_record_holds_or_nothing_happens
    a_patch_merges_and_needs_a_record
    a_version_is_never_used_again
    pages_follow_each_other_in_the_order_of_names
    a_page_of_large_records_ends_early
    records_are_read_by_their_names_together
    namespaces_do_not_see_each_other
    what_is_not_valid_is_refused_with_a_reason
}

async fn a_record_is_read_as_it_was_written(database: &Database) {
    let data = json!({"name": "Löffel 🥄", "price": 12.75, "tags": ["a", null, {"b": -1}], "big": u64::MAX, "f": 3.4857727150822864e242});
    let written = write(database, put("spoon", data.clone(), Precondition::None)).await;
    assert_eq!(written.data, object(data));
    assert_eq!(get(database, "spoon").await, Some(written.clone()));
    let again = write(database, put("spoon", json!({}), Precondition::Version(written.version))).await;
    assert!(again.version > written.version && again.updated_at >= written.updated_at);
    assert_eq!(again.created_at, written.created_at);
    assert_eq!(get(database, "fork").await, None);
}

async fn a_precondition_that_does_not_hold_tells_the_present_version(database: &Database) {
    let version = write(database, put("a", json!({}), Precondition::Absent)).await.version;
    let refused = |operation, current| Err(Error::PreconditionFailed { operation, current });
    let tries = [
        (put("a", json!({}), Precondition::Absent), Some(version)),
        (put("a", json!({}), Precondition::Version(version + 1)), Some(version)),
        (put("b", json!({}), Precondition::Present), None),
        (patch("b", json!({}), Precondition::Version(1)), None),
        (delete("b", Precondition::Present), None),
        (delete("a", Precondition::Version(version + 1)), Some(version)),
    ];
    for (operation, current) in tries {
        assert_eq!(transact(database, vec![operation]).await, refused(0, current));
    }
    let both = vec![put("c", json!({}), Precondition::None), put("a", json!({}), Precondition::Absent)];
    assert_eq!(transact(database, both).await, refused(1, Some(version)));
    let missing = transact(database, vec![delete("b", Precondition::None)]).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
}

async fn a_move_is_refused_for_its_source_before_its_target(database: &Database) {
    let relocate = |id: &str, precondition, target| {
        let (collection, to) = ("things".into(), "attic".into());
        vec![Operation::Move { collection, id: id.into(), to, precondition, target }]
    };
    let version = write(database, put("a", json!({}), Precondition::None)).await.version;
    let absent = transact(database, relocate("b", Precondition::None, Precondition::Present)).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");
    let both = relocate("a", Precondition::Version(version + 1), Precondition::Present);
    let refused = |current| Err(Error::PreconditionFailed { operation: 0, current });
    assert_eq!(transact(database, both).await, refused(Some(version)));
    let target = relocate("a", Precondition::Present, Precondition::Present);
    assert_eq!(transact(database, target).await, refused(None));
}

async fn a_transaction_happens_whole_or_not_at_all(database: &Database) {
    let operations = vec![
        put("a", json!({"n": 1}), Precondition::None),
        enqueue("mail"),
        put("a", json!({"n": 2}), Precondition::Absent),
    ];
    transact(database, operations).await.unwrap_err();
    assert_eq!(get(database, "a").await, None);
    assert_eq!(database.jobs(&of_queue("mail")).await.unwrap().jobs, []);
    assert_eq!(database.changes(None, 0, 10, std::time::Duration::ZERO).await.unwrap(), []);

    let operations = vec![
        put("a", json!({"n": 1}), Precondition::None),
        patch("a", json!({"m": 2}), Precondition::Present),
        enqueue("mail"),
    ];
    let committed = transact(database, operations).await.unwrap();
    let record = get(database, "a").await.unwrap();
    assert_eq!(record.data, object(json!({"n": 1, "m": 2})), "later operations see earlier ones");
    assert_eq!(committed.sequence, record.version);
    let Outcome::Enqueued { job } = &committed.outcomes[2] else { panic!("{committed:?}") };
    assert_eq!(database.job(&job.id).await.unwrap().namespace, "shop");
}

async fn what_is_required_of_a_record_holds_or_nothing_happens(database: &Database) {
    let version = write(database, put("a", json!({"n": 1}), Precondition::None)).await.version;
    let with = async |required: Vec<Operation>| {
        let written = put("b", json!({}), Precondition::None);
        transact(database, required.into_iter().chain([written]).collect()).await
    };
    for (precondition, current) in
        [(Precondition::Absent, Some(version)), (Precondition::Version(0), Some(version))]
    {
        let refused = with(vec![enqueue("mail"), require("a", precondition)]).await.unwrap_err();
        assert_eq!(refused, Error::PreconditionFailed { operation: 1, current });
    }
    let refused = with(vec![require("x", Precondition::Present)]).await.unwrap_err();
    assert_eq!(refused, Error::PreconditionFailed { operation: 0, current: None });
    assert_eq!(get(database, "b").await, None);
    assert_eq!(database.jobs(&of_queue("mail")).await.unwrap().jobs, []);

    let held =
        [("a", Precondition::Version(version)), ("a", Precondition::Present), ("x", Precondition::Absent)];
    let done = with(held.map(|(id, precondition)| require(id, precondition)).to_vec()).await.unwrap();
    assert_eq!(done.outcomes[..3], [Outcome::Held, Outcome::Held, Outcome::Held]);
    assert_eq!(done.sequence, version + 1, "what is required is no change");
    assert_eq!(get(database, "a").await.unwrap().version, version);
    let gone = vec![delete("a", Precondition::None), require("a", Precondition::Absent)];
    let alone = vec![require("a", Precondition::Absent)];
    for operations in [gone, alone] {
        transact(database, operations).await.unwrap();
    }
}

async fn a_patch_merges_and_needs_a_record(database: &Database) {
    write(database, put("a", json!({"x": {"y": 1, "z": 2}, "n": 1}), Precondition::None)).await;
    let record = write(database, patch("a", json!({"x": {"y": null, "w": 3}}), Precondition::None)).await;
    assert_eq!(record.data, object(json!({"x": {"z": 2, "w": 3}, "n": 1})));
    let missing = transact(database, vec![patch("b", json!({}), Precondition::None)]).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
}

async fn a_version_is_never_used_again(database: &Database) {
    let first = write(database, put("a", json!({}), Precondition::None)).await.version;
    let deleted = transact(database, vec![delete("a", Precondition::Version(first))]).await.unwrap();
    assert_eq!(deleted.outcomes, [Outcome::Deleted { version: deleted.sequence }]);
    let second = write(database, put("a", json!({}), Precondition::Absent)).await.version;
    assert!(first < deleted.sequence && deleted.sequence < second);
    let stale = put("a", json!({}), Precondition::Version(first));
    transact(database, vec![stale]).await.unwrap_err();
}

async fn pages_follow_each_other_in_the_order_of_names(database: &Database) {
    let ids = ["b", "a", "ab", "ä", "B", "a b/c?d=e&f", "10", "9"];
    transact(database, ids.map(|id| put(id, json!({}), Precondition::None)).to_vec()).await.unwrap();
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let query = Query::List { collection: "things".into(), after, limit: 3 };
        let page = database.query("shop", &query).await.unwrap();
        found.extend(page.records.into_iter().map(|record| record.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut sorted = ids.map(ToOwned::to_owned);
    sorted.sort();
    assert_eq!(found, sorted);
}

async fn a_page_of_large_records_ends_early(database: &Database) {
    let large = "x".repeat(1_000_000);
    for number in 0..10 {
        write(database, put(&format!("{number}"), json!({"large": large}), Precondition::None)).await;
    }
    let list = |after| Query::List { collection: "things".into(), after, limit: 1000 };
    let page = database.query("shop", &list(None)).await.unwrap();
    assert_eq!((page.records.len(), page.next.as_deref()), (8, Some("7")));
    let rest = database.query("shop", &list(page.next)).await.unwrap();
    assert_eq!((rest.records.len(), rest.next), (2, None));
}

async fn records_are_read_by_their_names_together(database: &Database) {
    let some = |ids: &[&str]| Query::Some {
        collection: "things".into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    };
    for id in ["a", "b", "c"] {
        write(database, put(id, json!({}), Precondition::None)).await;
    }
    let page = database.query("shop", &some(&["c", "x", "a"])).await.unwrap();
    let names: Vec<_> = page.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!((names, page.next), (vec!["c", "a"], None));
    assert!(matches!(database.query("shop", &some(&[])).await, Err(Error::Invalid { .. })));
    let large = json!({"large": "x".repeat(1_000_000)});
    let ids: Vec<String> = (0..10).map(|number| format!("large{number}")).collect();
    for id in &ids {
        write(database, put(id, large.clone(), Precondition::None)).await;
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let page = database.query("shop", &some(&ids)).await.unwrap();
    assert_eq!((page.records.len(), page.next.as_deref()), (9, Some("large9")));
    let latest = database.query("shop", &Query::Latest).await.unwrap().sequence;
    assert_eq!(latest, Some(page.records[8].version + 1));
    assert_eq!(database.query("nothing", &Query::Latest).await.unwrap().sequence, None);
}

async fn namespaces_do_not_see_each_other(database: &Database) {
    write(database, put("a", json!({"n": 1}), Precondition::None)).await;
    let other = |operations| Transaction { namespace: "other".into(), operations };
    database.transact(other(vec![delete("a", Precondition::None)])).await.unwrap_err();
    database.transact(other(vec![put("a", json!({"n": 2}), Precondition::Absent)])).await.unwrap();
    assert_eq!(get(database, "a").await.unwrap().data["n"], 1);
}

async fn what_is_not_valid_is_refused_with_a_reason(database: &Database) {
    let large = json!({"large": "x".repeat(2 << 20)});
    let cases = [
        (vec![], "1 to 1001 operations"),
        (vec![put("", json!({}), Precondition::None)], "a record's name"),
        (vec![put("a\nb", json!({}), Precondition::None)], "a record's name"),
        (vec![require("", Precondition::None)], "a record's name"),
        (vec![put(&"x".repeat(256), json!({}), Precondition::None)], "a record's name"),
        (vec![put("a", large, Precondition::None)], "more than 1048576 bytes"),
        (vec![enqueue("a queue")], "a queue has"),
    ];
    for (operations, expected) in cases {
        let error = transact(database, operations).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { reason } if reason.contains(expected)), "{error:?}");
    }
    let query = Query::List { collection: "things".into(), after: None, limit: 0 };
    assert!(matches!(database.query("shop", &query).await, Err(Error::Invalid { .. })));
    assert!(matches!(database.query("a b", &query).await, Err(Error::Invalid { .. })));
}
