//! The store against a plain map, under a virtual clock; and what the bound of bytes and `SCAN` promise.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use proptest::prelude::*;

use super::entries::ENTRY_OVERHEAD;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Get(u8),
    Set { key: u8, value: u8, deadline: Deadline, condition: Condition },
    Add { key: u8, delta: i64 },
    Remove(u8),
    Expire { key: u8, in_ms: u64 },
    Clear,
    Sweep,
    Pass { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let deadline =
        prop_oneof![Just(Deadline::Never), Just(Deadline::Keep), (1u64..50).prop_map(Deadline::At)];
    let condition =
        prop_oneof![3 => Just(Condition::None), 1 => Just(Condition::Absent), 1 => Just(Condition::Present)];
    let key = 0u8..12;
    let step = prop_oneof![
        6 => key.clone().prop_map(Step::Get),
        6 => (key.clone(), any::<u8>(), deadline, condition).prop_map(|(key, value, deadline, condition)| {
            Step::Set { key, value, deadline, condition }
        }),
        2 => (key.clone(), -3i64..3).prop_map(|(key, delta)| Step::Add { key, delta }),
        2 => key.clone().prop_map(Step::Remove),
        2 => (key, 0u64..30).prop_map(|(key, in_ms)| Step::Expire { key, in_ms }),
        1 => Just(Step::Clear),
        2 => Just(Step::Sweep),
        3 => (1u64..20).prop_map(|ms| Step::Pass { ms }),
    ];
    prop::collection::vec(step, 1..200)
}

/// The model: a map of key to value and deadline, swept before every look.
#[derive(Default)]
struct Model(HashMap<Vec<u8>, (Vec<u8>, u64)>);

impl Model {
    fn at(&mut self, now_ms: u64) -> &mut HashMap<Vec<u8>, (Vec<u8>, u64)> {
        self.0.retain(|_, (_, expires_ms)| *expires_ms > now_ms);
        &mut self.0
    }
}

fn name(key: u8) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

proptest! {
    #[test]
    fn with_room_enough_the_store_is_a_map_with_deadlines(steps in steps()) {
        let store = Store::new(1 << 20, 1 << 10);
        let mut model = Model::default();
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Get(key) => {
                    let expected = model.at(now_ms).get(&name(key)).map(|(value, _)| Bytes::from(value.clone()));
                    prop_assert_eq!(store.get(&name(key), now_ms), expected);
                }
                Step::Set { key, value, deadline, condition } => {
                    let deadline = match deadline {
                        Deadline::At(in_ms) => Deadline::At(now_ms + in_ms),
                        other => other,
                    };
                    let write = Write::new(value.to_string().into()).deadline(deadline).condition(condition);
                    let written = store.set(&name(key), write, now_ms);
                    let map = model.at(now_ms);
                    let former = map.get(&name(key)).cloned();
                    let stored = match condition {
                        Condition::None => true,
                        Condition::Absent => former.is_none(),
                        Condition::Present => former.is_some(),
                    };
                    if stored {
                        let expires_ms = match (deadline, &former) {
                            (Deadline::At(moment), _) => moment,
                            (Deadline::Keep, Some((_, kept))) => *kept,
                            _ => u64::MAX,
                        };
                        map.insert(name(key), (value.to_string().into_bytes(), expires_ms));
                    }
                    let former = former.map(|(value, _)| Bytes::from(value));
                    prop_assert_eq!(written, Written { stored, former });
                }
                Step::Add { key, delta } => {
                    let entry = model.at(now_ms).entry(name(key)).or_insert((b"0".to_vec(), u64::MAX));
                    let sum = parse_integer(&entry.0).unwrap() + delta;
                    entry.0 = sum.to_string().into_bytes();
                    prop_assert_eq!(store.add(&name(key), delta, now_ms), Ok(sum));
                }
                Step::Remove(key) => {
                    let there = model.at(now_ms).remove(&name(key)).is_some();
                    prop_assert_eq!(store.remove(&name(key), now_ms), there);
                }
                Step::Expire { key, in_ms } => {
                    let entry = model.at(now_ms).get_mut(&name(key));
                    let there = entry.is_some();
                    if let Some(entry) = entry {
                        entry.1 = now_ms + in_ms;
                    }
                    prop_assert_eq!(store.expire(&name(key), now_ms + in_ms, now_ms), there);
                }
                Step::Clear => {
                    model.0.clear();
                    store.clear();
                }
                Step::Sweep => store.sweep(now_ms),
                Step::Pass { ms } => now_ms += ms,
            }
            let mut scanned = Vec::new();
            let mut cursor = 0;
            loop {
                cursor = store.scan(cursor, 3, now_ms, |key| scanned.push(key.to_vec()));
                if cursor == 0 { break }
            }
            scanned.sort();
            let mut expected: Vec<_> = model.at(now_ms).keys().cloned().collect();
            expected.sort();
            prop_assert_eq!(scanned, expected);
            let counted: u64 = store.shards.iter().map(|shard| lock(shard).counted_bytes()).sum();
            prop_assert_eq!(store.statistics().bytes, counted);
        }
    }

    #[test]
    fn the_bound_of_bytes_holds_and_a_value_just_written_can_be_read(
        writes in prop::collection::vec((0u16..600, 0usize..900), 1..800),
    ) {
        let store = Store::new(64 << 10, 1 << 10);
        for (now_ms, (key, length)) in writes.into_iter().enumerate() {
            let now_ms = now_ms as u64;
            let key = key.to_string().into_bytes();
            store.set(&key, Write::new(vec![b'x'; length].into()), now_ms);
            let statistics = store.statistics();
            prop_assert!(statistics.bytes <= 64 << 10, "{statistics:?}");
            prop_assert_eq!(store.get(&key, now_ms).map(|value| value.len()), Some(length));
        }
    }
}

#[test]
fn what_is_read_often_survives_a_pass_over_many_keys() {
    let store = Store::new(1 << 20, 1 << 10);
    // Four fifths of the memory: more than the protected segment, so that admission decides about the rest.
    let hot: Vec<Vec<u8>> = (0..3300).map(|key| format!("hot:{key}").into_bytes()).collect();
    for round in 0..20u64 {
        for key in &hot {
            if store.get(key, round).is_none() {
                store.set(key, Write::new(vec![0; 100].into()), round);
            }
        }
        for cold in 0..2000u64 {
            let key = format!("cold:{round}:{cold}").into_bytes();
            store.set(&key, Write::new(vec![0; 100].into()), round);
        }
    }
    let kept = hot.iter().filter(|key| store.get(key, 20).is_some()).count();
    assert!(kept > 3200, "{kept} of 3300 kept");
    assert!(store.statistics().evictions > 10_000);
}

#[test]
fn a_short_lived_entry_outlives_a_flood() {
    let store = Store::new(1 << 20, 1 << 10);
    let flood = |keys: std::ops::Range<u32>| {
        for key in keys {
            store.set(format!("flood:{key}").as_bytes(), Write::new(vec![0; 100].into()), 1000);
        }
    };
    flood(0..8000);
    let named = |kind: &str| (0..50).map(|key| format!("{kind}:{key}").into_bytes()).collect::<Vec<_>>();
    let (tombstones, ordinary) = (named("tombstone"), named("ordinary"));
    for (tombstone, ordinary) in tombstones.iter().zip(&ordinary) {
        store.set(tombstone, Write::new("t".into()).deadline(Deadline::At(3999)), 1000);
        store.set(ordinary, Write::new("o".into()).deadline(Deadline::At(60_000)), 1000);
    }
    flood(8000..16_000);
    assert!(tombstones.iter().all(|key| store.get(key, 3998).is_some()));
    assert!(tombstones.iter().all(|key| store.get(key, 3999).is_none()));
    // Hashes that collide in the sketch keep a few, in each run others.
    let kept = ordinary.iter().filter(|key| store.get(key, 1000).is_some()).count();
    assert!(kept < 40, "{kept} of 50 kept: the flood was too small to tell");
}

#[test]
fn what_has_expired_is_collected_without_being_asked_for() {
    let store = Store::new(64 << 20, 1 << 10);
    for key in 0..5000 {
        let write = Write::new("v".into()).deadline(Deadline::At(if key % 2 == 0 { 10 } else { 100 }));
        store.set(format!("{key}").as_bytes(), write, 0);
    }
    assert_eq!(store.len(), 5000);
    store.sweep(50);
    assert_eq!(store.len(), 2500);
    store.sweep(100);
    assert_eq!((store.len(), store.statistics().bytes, store.statistics().expirations), (0, 0, 5000));
}

#[test]
fn a_scan_meets_every_key_that_stays_once_while_others_come_and_go() {
    let store = Store::new(64 << 20, 1 << 10);
    let staying: BTreeSet<Vec<u8>> = (0..1000).map(|key| format!("stay:{key}").into_bytes()).collect();
    for key in &staying {
        store.set(key, Write::new("v".into()), 0);
        store.set(&[b"go:", key.as_slice()].concat(), Write::new("v".into()), 0);
    }
    let (mut met, mut cursor, mut round) = (Vec::new(), 0, 0);
    loop {
        cursor = store.scan(cursor, 10, 0, |key| met.push(key.to_vec()));
        for key in staying.iter().skip(round * 20).take(20) {
            store.remove(&[b"go:", key.as_slice()].concat(), 0);
            store.set(&[b"new:", key.as_slice()].concat(), Write::new("v".into()), 0);
            store.set(key, Write::new("changed".into()), 0);
        }
        round += 1;
        if cursor == 0 {
            break;
        }
        assert!(cursor < 1 << 53 && round < 10_000);
    }
    let mut stayed: Vec<_> = met.into_iter().filter(|key| key.starts_with(b"stay:")).collect();
    stayed.sort();
    assert_eq!(stayed, staying.into_iter().collect::<Vec<_>>());
}

#[test]
fn an_entry_larger_than_the_store_is_not_kept_and_an_empty_store_costs_nothing() {
    let store = Store::new(1 << 10, 1 << 20);
    store.set(b"key", Write::new(vec![0; 2 << 10].into()), 0);
    assert_eq!((store.len(), store.statistics().bytes), (0, 0));
    store.set(b"key", Write::new("value".into()), 0);
    assert_eq!(store.statistics().bytes, 8 + ENTRY_OVERHEAD);
}
