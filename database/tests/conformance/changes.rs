//! The change log: complete, in order, resumable, and it wakes who waits.

use std::time::Duration;

use database::change::ChangeKind;
use database::{Change, Database, Precondition, Transaction};
use serde_json::json;

use crate::harness::{delete, patch, put, transact, write};

crate::on_every_handle! {
    changes_are_listed_in_order_after_a_sequence
    a_namespace_s_changes_leave_out_the_others
    a_waiting_reader_is_woken_by_a_change
    a_wait_without_a_change_ends_empty
}

/// Longer than any test should take; a wait that ends by it has failed.
const LONG: Duration = Duration::from_secs(20);

async fn changes_after(database: &Database, after: u64, limit: u32) -> Vec<Change> {
    database.changes(Some("shop"), after, limit, Duration::ZERO).await.unwrap()
}

async fn changes_are_listed_in_order_after_a_sequence(database: &Database) {
    let operations = vec![
        put("a", json!({}), Precondition::None),
        put("b", json!({}), Precondition::None),
        patch("a", json!({"n": 1}), Precondition::None),
        delete("b", Precondition::None),
    ];
    let committed = transact(database, operations).await.unwrap();
    let all = changes_after(database, 0, 100).await;
    let seen: Vec<_> = all.iter().map(|change| (change.id.as_str(), change.kind)).collect();
    let expected = [
        ("a", ChangeKind::Create),
        ("b", ChangeKind::Create),
        ("a", ChangeKind::Update),
        ("b", ChangeKind::Delete),
    ];
    assert_eq!(seen, expected);
    assert!(all.is_sorted_by(|one, next| one.sequence < next.sequence));
    assert_eq!(all[3].sequence, committed.sequence);
    assert_eq!(changes_after(database, all[0].sequence, 2).await, all[1..3]);
    assert_eq!(changes_after(database, committed.sequence, 100).await, []);
}

async fn a_namespace_s_changes_leave_out_the_others(database: &Database) {
    write(database, put("a", json!({}), Precondition::None)).await;
    let operations = vec![put("b", json!({}), Precondition::None)];
    database.transact(Transaction { namespace: "other".into(), operations }).await.unwrap();
    let of_shop = changes_after(database, 0, 100).await;
    assert_eq!(of_shop.iter().map(|change| change.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(database.changes(None, 0, 100, Duration::ZERO).await.unwrap().len(), 2);
}

async fn a_waiting_reader_is_woken_by_a_change(database: &Database) {
    let started = std::time::Instant::now();
    let (found, written) = tokio::join!(
        database.changes(Some("shop"), 0, 100, LONG),
        write(database, put("a", json!({}), Precondition::None)),
    );
    assert_eq!(found.unwrap()[0].sequence, written.version);
    assert!(started.elapsed() < LONG, "the wait ended by itself");
}

async fn a_wait_without_a_change_ends_empty(database: &Database) {
    let found = database.changes(None, 0, 100, Duration::from_millis(20)).await.unwrap();
    assert_eq!(found, []);
}
