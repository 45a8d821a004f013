//! What is odd and valid: it is kept, read back and found as it is, by every engine alike.

use serde_json::{Value, json};

use crate::house::Engine;
use crate::wire::send;
use crate::{JSON, MERGE, NOTES, PATCH, end, library, nested};

pub(crate) async fn what_is_odd_and_valid_is_kept_as_it_is(engine: Engine) {
    let house = library(engine).await;
    let deep: Value = serde_json::from_str(&nested(99, "[", "1", "]")).unwrap();
    let records = [
        json!({"deep": deep}),
        json!({"": {"": ""}, "a.b": 1, "a/b~c": 2, "__proto__": 3, "$where": 4, "ä\u{10ffff}": 5}),
        json!({"nul": "a\u{0}b", "\u{0}": "\u{0}", "controls": "\u{1}\u{7f}\u{85}\u{2028}"}),
        json!({"large": 1e308, "small": 5e-324, "zero": -0.0, "fraction": 907.3038322028689, "most": u64::MAX, "least": i64::MIN, "e16": 1e16}),
        json!({"text": "x".repeat(200_000)}),
        json!({"long name ".repeat(1000): 1}),
        Value::Object((0..2000).map(|n| (format!("n{n}"), json!(n))).collect()),
    ];
    for record in &records {
        let made = send(&house, "POST", NOTES, JSON, record.to_string().as_bytes()).await;
        let sent = made.body.clone();
        let what: String = record.to_string().chars().take(100).collect();
        assert_eq!(made.status, 201, "{what}: {made:?}");
        let mut made: Value = serde_json::from_slice(&made.body).unwrap();
        let id = made["id"].as_str().unwrap().to_owned();
        let read = send(&house, "GET", &format!("{NOTES}/{id}"), "", b"").await;
        assert_eq!(
            String::from_utf8_lossy(&read.body),
            String::from_utf8_lossy(&sent),
            "{what}: one strong ETag"
        );
        let mut read: Value = serde_json::from_slice(&read.body).unwrap();
        assert_eq!(read, made, "{what}");
        for own in ["id", "created_at", "updated_at"] {
            read.as_object_mut().unwrap().remove(own);
            made.as_object_mut().unwrap().remove(own);
        }
        assert_eq!(&read, record, "{what}");
        let patch = format!("{NOTES}/{id}");
        assert_eq!(send(&house, "PATCH", &patch, MERGE, b"{\"more\": 1}").await.status, 200, "{what}");
        assert_eq!(
            send(&house, "PATCH", &patch, PATCH, b"[{\"op\": \"remove\", \"path\": \"/more\"}]").await.status,
            200,
            "{what}"
        );
        assert_eq!(send(&house, "GET", &format!("{patch}/history"), "", b"").await.status, 200, "{what}");
    }
    // Numbers by name that are written twice: the last counts. Numbers beyond what can be told apart are near.
    let made =
        send(&house, "POST", NOTES, JSON, br#"{"a": 1, "a": 2, "n": 123456789012345678901234567890}"#).await;
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!((&made["a"], made["n"].as_f64()), (&json!(2), Some(1.2345678901234568e29)));
    // Odd questions that have an answer, the same on every engine.
    for (query, expected) in [
        ("nul=eq.a%00b", 1),
        ("nul=like.*%00*", 1),
        ("nul=gt.%00", 1),
        ("large=gte.1e308", 1),
        ("small=gt.0", 1),
        ("zero=eq.0", 1),
        ("most=eq.18446744073709551615", 1),
        ("most=eq.18446744073709551616", 0),
        ("least=lte.-9223372036854775808", 1),
        ("n=gt.123456789012345678901234567889e-2", 1),
        ("text=like.****", 1),
        ("e16=in.(10000000000000000,%22x%22)", 1),
        ("id=gt.%F4%8F%BF%BF", 0),
        ("or=(nul.eq.%22a%00b%22,e16.eq.1e16)", 2),
    ] {
        let answer = send(&house, "GET", &format!("{NOTES}?{query}&count=exact"), "", b"").await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let found: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(found["items"].as_array().unwrap().len(), expected, "{query}");
        assert_eq!(found["count"]["value"], expected, "{query}");
    }
    end(house).await;
}
