//! What is nested too deep: refused on every way in, and where it lies from before, in nobody's way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use database::limits::NESTING_LIMIT;
use house::{Answer, Engine, House};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

on_both_engines! {
    what_is_nested_too_deep_is_refused_where_it_is
    a_record_that_cannot_be_read_keeps_nobody_from_the_others
}

const NOTES: &str = "/library/notes";

async fn library(engine: Engine) -> House {
    let service = json!({ "listen": "127.0.0.1:0", "collections": {
        "notes": { "scan": true, "history": 3, "soft_delete": true, "rules": { "deleted": ["public"] } },
    } });
    let mut house = House::start(engine, |config| {
        config.services.insert("library".to_owned(), serde_json::from_value(service).unwrap());
    })
    .await;
    house.start_service("library").await;
    house
}

async fn send(house: &House, method: Method, path: &str, media_type: &str, body: &str) -> Answer {
    house.send("library", method, path, &[("content-type", media_type)], body).await
}

/// Makes a record under a name.
async fn make(house: &House, id: &str, body: &str) -> Answer {
    let fields = [("content-type", "application/json"), ("if-none-match", "*")];
    house.send("library", Method::PUT, &format!("{NOTES}/{id}"), &fields, body).await
}

/// Writes lists within each other.
fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Follows the changes from the first to one of a record.
async fn follow_until(house: &House, id: &str) -> Vec<Value> {
    let mut stream = TcpStream::connect(house.address("library")).await.unwrap();
    let head = format!("GET {NOTES}/changes?after=0 HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "it goes on");
        let text = String::from_utf8_lossy(&received);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let data = whole.lines().filter_map(|line| line.strip_prefix("data: "));
        let told: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
        if told.iter().any(|event| event["id"] == id) {
            return told;
        }
    }
}

async fn what_is_nested_too_deep_is_refused_where_it_is(engine: Engine) {
    let house = library(engine).await;
    let most = format!("{{\"a\": {}}}", nested(NESTING_LIMIT - 1));
    let (deep, too_deep) = (nested(NESTING_LIMIT), nested(200));
    assert_eq!(make(&house, "a", &most).await.status, 201);
    // In whatever it is wrapped, it comes back.
    for path in ["", "?id=eq.a", "/a", "/a/history"] {
        let answer = house.get("library", &format!("{NOTES}{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let merge = "application/merge-patch+json";
    let (json, ndjson) = ("application/json", "application/x-ndjson");
    let one = format!("{NOTES}/a");
    for (method, path, media_type, body, pointer) in [
        (Method::POST, NOTES, json, format!("{{\"a~/b\": {deep}}}"), "/a~0~1b"),
        (Method::PUT, &one, json, format!("{{\"b\": {deep}}}"), "/b"),
        (Method::PATCH, &one, merge, format!("{{\"b\": {deep}}}"), "/b"),
        (
            Method::POST,
            "/library/_batch",
            json,
            format!(
                "{{\"operations\": [{{\"op\": \"create\", \"collection\": \"notes\", \"data\": {{\"b\": {deep}}}}}]}}"
            ),
            "/operations/0/data/b",
        ),
    ] {
        let refused = send(&house, method.clone(), path, media_type, &body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.pointers()),
            (422, vec![pointer.to_owned()]),
            "{method} {path}"
        );
        assert!(refused.json()["errors"][0]["detail"].as_str().unwrap().contains("deeper than 100 levels"));
        let refused = send(&house, method.clone(), path, media_type, &body.replace(&deep, &too_deep)).await;
        assert_eq!(refused.status, 400, "{method} {path}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("nested deeper than 100 levels"));
        let refused = send(&house, method.clone(), path, media_type, &body.replace(&deep, "1e400")).await;
        assert!(
            refused.json()["detail"].as_str().unwrap().contains("a number is out of range"),
            "{refused:?}"
        );
    }
    let lines = format!("{{\"b\": {deep}}}\n{{\"b\": {too_deep}}}\n{{\"b\": 1}}\n");
    let told = send(&house, Method::POST, NOTES, ndjson, &lines).await;
    let told = String::from_utf8_lossy(&told.text).into_owned();
    assert!(told.contains("\"refused\":2") && told.contains("\"imported\":1"), "{told}");
    let copies = Value::from(vec![json!({"op": "copy", "from": "/a", "path": "/a/0"}); 140]).to_string();
    let patch = "application/json-patch+json";
    let refused = send(&house, Method::PATCH, &one, patch, &copies).await;
    assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec!["/0".to_owned()]));
    house.stop().await;
}

async fn a_record_that_cannot_be_read_keeps_nobody_from_the_others(engine: Engine) {
    let house = library(engine).await;
    for id in ["a", "b", "c"] {
        assert_eq!(make(&house, id, "{\"n\": 1}").await.status, 201);
    }
    let merge = "application/merge-patch+json";
    let answer = send(&house, Method::PATCH, &format!("{NOTES}/b"), merge, "{\"n\": 2}").await;
    assert_eq!(answer.status, 200);
    // As it could be written before nesting was bounded: deeper than any JSON is read.
    let deep = format!("{{\"n\": 2, \"a\": {}}}", nested(200));
    house.run_sql(&format!("UPDATE records SET data = '{deep}' WHERE id = 'b'")).await;
    let page = house.get("library", &format!("{NOTES}?order=id&count=exact")).await;
    assert_eq!(page.status, 200, "{page:?}");
    let page = page.json();
    let ids: Vec<&str> =
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "c"]);
    let export = house.send("library", Method::GET, NOTES, &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(String::from_utf8_lossy(&export.text).lines().count(), 2);
    for query in ["n=eq.1", "n=gt.0", "id=gt.a"] {
        assert_eq!(house.get("library", &format!("{NOTES}?{query}")).await.status, 200, "{query}");
    }
    let told = follow_until(&house, "c").await;
    assert!(told.iter().any(|event| event["id"] == "b" && event.get("record").is_none()), "{told:?}");
    assert!(told.iter().all(|event| event["record"]["id"] != "b"), "{told:?}");
    let one = format!("{NOTES}/b");
    for (method, media_type, body) in [
        (Method::GET, "", ""),
        (Method::PUT, "application/json", "{\"n\": 3}"),
        (Method::PATCH, merge, "{\"n\": 3}"),
    ] {
        let refused = send(&house, method.clone(), &one, media_type, body).await;
        assert_eq!(refused.status, 409, "{method}: {refused:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("it can be deleted"), "{method}");
    }
    assert_eq!(house.get("library", &format!("{one}/history")).await.status, 200);
    // Out of sight, and gone for good.
    assert_eq!(send(&house, Method::DELETE, &one, "", "").await.status, 204);
    assert_eq!(send(&house, Method::POST, &format!("{one}/restore"), "", "").await.status, 409);
    assert_eq!(house.get("library", &format!("{NOTES}?deleted=only")).await.status, 200);
    assert_eq!(send(&house, Method::DELETE, &format!("{one}?deleted=only"), "", "").await.status, 204);
    assert_eq!(make(&house, "b", "{\"n\": 4}").await.status, 201, "the name is free");
    house.stop().await;
}
