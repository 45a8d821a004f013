//! Bodies of records, of batches and of imports.

use serde_json::{Value, json};

use crate::house::Engine;
use crate::wire::send;
use crate::{JSON, LOANS, NDJSON, end, library, nested};

/// Bodies that are no JSON, and JSON that is no record.
pub(crate) fn bad_bodies() -> Vec<Vec<u8>> {
    let deep = nested(5_000, "[", "", "]");
    let deep_object = nested(5_000, "{\"a\":", "1", "}");
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "}",
        "nul",
        "null",
        "true",
        "1",
        "\"x\"",
        "[]",
        "[{}]",
        "{}",
        "{\"title\"}",
        "{'title': 1}",
        "{\"title\": \"a\", \"due\": 1,}",
        "{\"title\": \"a\", \"due\": 1e999}",
        "{\"title\": \"a\", \"due\": 01}",
        "{\"title\": \"a\", \"due\": NaN}",
        "{\"title\": \"a\", \"due\": 1} x",
        "{\"title\": \"\\ud800\", \"due\": 1}",
        "{\"title\": \"\\udc00\\ud800\", \"due\": 1}",
        "{\"title\": \"a\u{0}\", \"due\": 1}",
        "{\"title\": \"a\", \"due\": \"1\"}",
        "{\"title\": 1, \"due\": 1}",
        "{\"title\": \"a\", \"due\": 1, \"id\": \"x\"}",
        "{\"title\": \"a\", \"due\": 1, \"deleted_at\": 1}",
        "{\"title\": \"a\", \"due\": 1, \"a/b~c\": 1}",
        "{\"title\": \"a\", \"due\": 1, \"\\u0000\": 1}",
        "\u{feff}{\"title\": \"a\", \"due\": 1}",
        "{\"title\": \"a\", \"due\": 1, \"card\": 7}",
        &deep,
        &deep_object,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(b"{\"title\": \"\xff\xfe\", \"due\": 1}".to_vec());
    bodies.push(b"{\"title\": \"\xed\xa0\x80\", \"due\": 1}".to_vec());
    bodies.push("{\"title\": \"a\", \"due\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect());
    bodies.push(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    bodies.push(vec![0; 100]);
    bodies.push(format!("{{\"title\": \"{}\", \"due\": 1}}", "x".repeat(300_000)).into_bytes());
    bodies
}

pub(crate) async fn a_body_that_makes_no_sense_is_refused(engine: Engine) {
    let house = library(engine).await;
    for body in bad_bodies() {
        let what = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        for (method, path) in [("POST", LOANS.to_owned()), ("PUT", format!("{LOANS}/a"))] {
            let answer = send(&house, method, &path, JSON, &body).await;
            answer.is_refusal(&format!("{method} {what}"));
            assert!(!answer.text().contains("secret"), "{what}");
        }
    }
    // The times of the server are passed over, whatever they are.
    for time in ["created_at", "updated_at"] {
        let body = json!({"title": "a", "due": 1, "isbn": "1", time: 1}).to_string();
        let done = send(&house, "PUT", &format!("{LOANS}/a"), JSON, body.as_bytes()).await;
        let record: Value = serde_json::from_slice(&done.body).unwrap();
        assert_eq!((done.status, record[time].is_number()), (200, false), "{done:?}");
    }
    let faults = send(&house, "POST", LOANS, JSON, b"{\"title\": \"\", \"a/b~c\": 1}").await.text();
    for pointer in ["\"/title\"", "\"/due\"", "\"/a~1b~0c\""] {
        assert!(faults.contains(pointer), "{pointer}: {faults}");
    }
    let beyond = send(&house, "POST", LOANS, JSON, br#"{"title": "a", "due": 1e999}"#).await;
    assert_eq!(beyond.status, 400);
    assert!(beyond.text().contains("\"/due\"") && beyond.text().contains("out of range"), "{beyond:?}");
    let taken = send(&house, "POST", LOANS, JSON, br#"{"title": "b", "due": 1, "isbn": "1"}"#).await;
    assert_eq!(taken.status, 409);
    assert!(taken.text().contains("\"/isbn\""), "{taken:?}");
    end(house).await;
}

pub(crate) async fn a_batch_that_makes_no_sense_is_refused(engine: Engine) {
    let house = library(engine).await;
    let loan = json!({"title": "b", "due": 1});
    let create = |id: &str| json!({"op": "create", "collection": "loans", "id": id, "data": loan});
    let many: Vec<Value> = (0..101).map(|n| create(&format!("n{n}"))).collect();
    let with = |part: Value| {
        let mut operation = json!({"op": "replace", "collection": "loans", "id": "a", "data": loan});
        operation.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        json!([operation])
    };
    let operations = [
        json!(null),
        json!({}),
        json!(""),
        json!([]),
        json!([1]),
        json!([null]),
        json!([[]]),
        json!([{}]),
        json!([create("a")]),
        json!([create("b"), create("b")]),
        json!([create("changes")]),
        json!([create("a/b")]),
        json!([create("")]),
        json!([create(&"x".repeat(300))]),
        json!([create("\u{0}")]),
        with(json!({"op": 7})),
        with(json!({"op": "sing"})),
        with(json!({"collection": "loans.deleted"})),
        with(json!({"collection": "_keys"})),
        with(json!({"collection": 1})),
        with(json!({"data": []})),
        with(json!({"data": null})),
        with(json!({"data": {}})),
        with(json!({"id": null})),
        with(json!({"if_match": "7"})),
        with(json!({"if_match": null})),
        with(json!({"if_match": "\"0\""})),
        with(json!({"if_match": "\u{7f}\u{0}"})),
        with(json!({"extra": 1})),
        Value::from(many),
    ];
    for operations in operations {
        let body = json!({ "operations": operations }).to_string();
        let answer = send(&house, "POST", "/library/_batch", JSON, body.as_bytes()).await;
        answer.is_refusal(&body.chars().take(150).collect::<String>());
    }
    for body in bad_bodies() {
        send(&house, "POST", "/library/_batch", JSON, &body).await.is_refusal("a batch");
    }
    end(house).await;
}

pub(crate) async fn a_line_that_makes_no_sense_is_refused_and_the_others_are_not(engine: Engine) {
    let house = library(engine).await;
    let mut lines: Vec<Vec<u8>> = bad_bodies();
    // A line end within one makes two of it, an empty one is passed over; what is too long ends the import.
    lines.retain(|line| !line.contains(&b'\n') && !line.trim_ascii().is_empty() && line.len() < 250_000);
    // What only the server sets is passed over in lines, but for a name.
    lines.retain(|line| !String::from_utf8_lossy(line).contains("deleted_at"));
    lines.retain(|line| !String::from_utf8_lossy(line).contains("\"id\""));
    for id in ["1", "\"\"", "\"changes\"", "\"a/b\"", "\"a\"", "null", "\"\\u0000\""] {
        lines.push(format!("{{\"id\": {id}, \"title\": \"x\", \"due\": 1}}").into_bytes());
    }
    let bad = lines.len();
    for number in 0..5 {
        let good =
            format!("{{\"title\": \"good\", \"due\": {number}}}{}", if number == 2 { "\r" } else { "" });
        lines.insert(number * 5, good.into_bytes());
    }
    let answer = send(&house, "POST", LOANS, NDJSON, &lines.join(&b'\n')).await;
    assert_eq!((answer.status, answer.media_type.as_str()), (200, "application/x-ndjson"));
    let told: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in told.iter().filter(|line| line["problem"].is_object()) {
        let status = line["problem"]["status"].as_u64().unwrap();
        assert!((400..500).contains(&status), "{line}");
    }
    let last = told.last().unwrap();
    assert_eq!(
        (last["imported"].as_u64(), last["refused"].as_u64()),
        (Some(5), Some(bad as u64)),
        "{}",
        answer.text()
    );
    assert_eq!(last["done"], true);
    let long = send(&house, "POST", LOANS, NDJSON, &vec![b'x'; 600_000]).await.text();
    assert!(long.contains("\"status\":413"), "{long}");
    let missing =
        send(&house, "GET", &format!("{LOANS}?cursor=x"), "accept: application/x-ndjson\r\n", b"").await;
    missing.is_refusal("an export with a cursor");
    end(house).await;
}
