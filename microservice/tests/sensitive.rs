//! Sensitive fields: sealed wherever they lie, shown to whom may see them, told to nobody else in any way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use database::find::Find;
use database::{Operation, Precondition, Query, Record, Transaction};
use house::{Answer, Engine, House};
use http::Method;
use microservice::Config;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

on_both_engines! {
    a_sensitive_field_is_sealed_where_it_lies_and_shown_to_whom_asks_and_may
    who_does_not_see_a_field_neither_loses_nor_learns_it
    nothing_can_ask_about_a_sensitive_field
    a_follower_is_shown_its_own_and_no_other
    a_sealed_value_opens_only_in_its_own_record
    after_a_rotation_every_record_is_sealed_with_the_new_key
    what_is_deleted_and_what_was_before_is_sealed_anew_too
    a_field_whose_key_is_gone_is_in_nobodys_way
    a_request_under_a_key_is_known_again_and_its_body_cannot_be_tried_out
}

const PEOPLE: &str = "/staff/people";
const SECRET: &str = "hunter2-4711";

/// A key file of a test.
fn key(folder: &TempDir, name: &str, base64: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, base64).unwrap();
    file
}

const OLD: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const NEW: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";

/// A service of people whose pin an auditor, and they themselves, may read.
fn staff(config: &mut Config, folder: &Path) {
    let schema = folder.join("people.json");
    let document = json!({ "type": "object", "required": ["name", "pin"], "maxProperties": 5, "properties": {
        "name": { "type": "string" },
        "pin": { "type": "string", "maxLength": 20 },
        "card": { "type": "object", "additionalProperties": { "type": "integer" } },
    } });
    std::fs::write(&schema, document.to_string()).unwrap();
    let service = json!({ "listen": "127.0.0.1:0", "collections": { "people": {
        "schema": schema, "owner": "by", "indexes": ["name", "by:text"], "scan": true,
        "sensitive": ["pin", "card"],
        "rules": { "sensitive": ["auditor", "owner"] },
    } } });
    config.services = BTreeMap::from([("staff".to_owned(), serde_json::from_value(service).unwrap())]);
}

async fn house(engine: Engine, folder: &TempDir) -> House {
    let file = key(folder, "old.key", OLD);
    let mut house = House::start(engine, |config| {
        staff(config, folder.path());
        config.sensitive.key_file = Some(file);
    })
    .await;
    house.start_service("staff").await;
    house
}

async fn send(house: &House, who: &str, method: Method, path: &str, body: &str) -> Answer {
    let media_type = match method {
        Method::PATCH if body.starts_with('[') => "application/json-patch+json",
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let roles = if who == "eve" { "auditor" } else { "user" };
    let fields = [("content-type", media_type), ("sixfold-subject", who), ("sixfold-roles", roles)];
    house.send("staff", method, path, &fields, body).await
}

async fn add(house: &House, who: &str, name: &str) -> String {
    let body = json!({"name": name, "pin": SECRET, "card": {"number": 12_345_678}}).to_string();
    let made = send(house, who, Method::POST, PEOPLE, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    tells_nothing(&made);
    made.field("location").to_owned()
}

/// Checks that nothing sensitive stands in an answer.
fn tells_nothing(answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.text);
    for told in [SECRET, "12345678", "$sealed"] {
        assert!(!text.contains(told), "{text}");
    }
}

/// Gives what the database holds of the people.
async fn stored(house: &House) -> Vec<Record> {
    let query = Query::Find(Find::all("people", 100));
    house.database().query("staff", &query).await.unwrap().records
}

/// Starts the service again with another key, and the one it had as a previous one.
async fn rotate(house: &mut House, folder: &TempDir) {
    let sensitive = &mut house.config.sensitive;
    let new = key(folder, "new.key", NEW);
    sensitive.previous_key_files = sensitive.key_file.replace(new).into_iter().collect();
    house.start_service("staff").await;
}

/// Writes a record past the service.
async fn put(house: &House, id: &str, data: Value) {
    let Value::Object(data) = data else { panic!("an object") };
    let (collection, id) = ("people".to_owned(), id.to_owned());
    let operations = vec![Operation::Put { collection, id, data, precondition: Precondition::None }];
    let transaction = Transaction { namespace: "staff".to_owned(), operations };
    house.database().transact(&transaction).await.unwrap();
}

async fn a_sensitive_field_is_sealed_where_it_lies_and_shown_to_whom_asks_and_may(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let house = house(engine, &folder).await;
    let path = add(&house, "ada", "Ada").await;
    add(&house, "bob", "Bob").await;
    let at_rest = serde_json::to_string(&stored(&house).await).unwrap();
    assert!(at_rest.contains("$sealed") && !at_rest.contains(SECRET) && !at_rest.contains("12345678"));
    let get = async |who: &str, path: &str| send(&house, who, Method::GET, path, "").await;
    let ask = async |who: &str, query: &str| get(who, &format!("{path}{query}")).await;
    // Twice: the second read is the cache's.
    for _ in 0..2 {
        let plain = ask("eve", "").await;
        assert_eq!(plain.json()["name"], "Ada");
        tells_nothing(&plain);
    }
    let shown = ask("eve", "?fields=name,pin").await;
    assert_eq!(shown.json(), json!({"id": shown.json()["id"], "name": "Ada", "pin": SECRET}));
    tells_nothing(&ask("eve", "?fields=name").await);
    assert_eq!(ask("ada", "?fields=card.number,pin").await.json()["card"], json!({"number": 12_345_678}));
    let refused = ask("bob", "?fields=name,pin").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (403, "forbidden"));
    tells_nothing(&refused);

    // In listings an owner sees its own, and a role all.
    let pins = async |who: &str, query: &str| {
        let page = get(who, &format!("{PEOPLE}?order=name&fields={query}")).await.json();
        page["items"].as_array().unwrap().iter().map(|item| item["pin"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(pins("eve", "pin").await, [SECRET, SECRET]);
    assert_eq!(pins("bob", "name,pin").await, [Value::Null, json!(SECRET)]);
    tells_nothing(&get("eve", PEOPLE).await);
    let export =
        [("accept", "application/x-ndjson"), ("sixfold-subject", "eve"), ("sixfold-roles", "auditor")];
    tells_nothing(&house.send("staff", Method::GET, PEOPLE, &export, "").await);
    let named = house.send("staff", Method::GET, &format!("{PEOPLE}?fields=pin"), &export, "").await;
    assert_eq!(String::from_utf8_lossy(&named.text).matches(SECRET).count(), 2);
    house.stop().await;
}

async fn who_does_not_see_a_field_neither_loses_nor_learns_it(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let house = house(engine, &folder).await;
    let path = add(&house, "ada", "Ada").await;
    let change = async |method: Method, body: Value| {
        let answer = send(&house, "bob", method, &path, &body.to_string()).await;
        tells_nothing(&answer);
        answer
    };
    let pin = async || send(&house, "eve", Method::GET, &format!("{path}?fields=pin,card"), "").await.json();
    assert_eq!(change(Method::PUT, json!({"name": "Countess"})).await.status, 200);
    assert_eq!(change(Method::PATCH, json!({"name": "Lady"})).await.status, 200);
    let both = pin().await;
    assert_eq!((&both["pin"], &both["card"]), (&json!(SECRET), &json!({"number": 12_345_678})));

    // A JSON patch sees none, so it can neither try out nor copy one.
    for operation in [
        json!({"op": "test", "path": "/pin", "value": SECRET}),
        json!({"op": "copy", "from": "/pin", "path": "/name"}),
        json!({"op": "move", "from": "/card", "path": "/name"}),
    ] {
        let tried = send(&house, "bob", Method::PATCH, &path, &json!([operation]).to_string()).await;
        assert_eq!(tried.status, 409, "{tried:?}");
    }
    assert_eq!(change(Method::PATCH, json!([{"op": "add", "path": "/pin", "value": "1"}])).await.status, 200);
    assert_eq!(pin().await["pin"], "1");
    assert_eq!(change(Method::PATCH, json!({"card": null})).await.status, 200);
    assert_eq!(pin().await["card"], Value::Null);

    // What is wrong is said without what was sent.
    let long = format!("{SECRET}{SECRET}");
    for (body, pointers) in [
        (json!({"name": "x", "pin": long}), vec!["/pin"]),
        (json!({"name": "x", "card": {SECRET: SECRET}}), vec!["/card"]),
        (json!({"name": "x", "pin": SECRET, "a": 1, "b": 2, "c": 3, "d": 4}), vec![""]),
    ] {
        let refused = change(Method::PUT, body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.pointers()),
            (422, pointers.iter().map(|p| (*p).to_owned()).collect())
        );
    }
    let operations = json!({"operations": [
        {"op": "replace", "collection": "people", "id": path.rsplit('/').next(), "data": {"name": "Ada"}},
        {"op": "create", "collection": "people", "data": {"name": "Carl", "pin": SECRET}},
    ]});
    let batch = send(&house, "bob", Method::POST, "/staff/_batch", &operations.to_string()).await;
    assert_eq!(batch.status, 200, "{batch:?}");
    tells_nothing(&batch);
    assert_eq!(pin().await["pin"], "1");
    house.stop().await;
}

async fn nothing_can_ask_about_a_sensitive_field(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let house = house(engine, &folder).await;
    add(&house, "ada", "Ada").await;
    for query in
        ["pin=eq.x", "or=(name.eq.a,card.number.gt.1)", "order=pin", "name=eq.Ada&card.number=is.null"]
    {
        for path in [format!("{PEOPLE}?{query}"), format!("{PEOPLE}/changes?{query}")] {
            // The stream has no order, whatever the field.
            if path.contains("changes?order") {
                continue;
            }
            let refused = send(&house, "eve", Method::GET, &path, "").await;
            assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "not-indexed"), "{path}");
        }
    }
    house.stop().await;
}

async fn a_follower_is_shown_its_own_and_no_other(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let house = house(engine, &folder).await;
    add(&house, "ada", "Ada").await;
    add(&house, "bob", "Bob").await;
    for (query, shown) in [("fields=name,pin&", 1), ("", 0)] {
        let mut stream = TcpStream::connect(house.address("staff")).await.unwrap();
        let head = format!(
            "GET {PEOPLE}/changes?{query}after=0 HTTP/1.1\r\nhost: a\r\nsixfold-subject: bob\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut told = Vec::new();
        while String::from_utf8_lossy(&told).matches("event: create").count() < 2
            || !told.ends_with(b"\n\n\r\n")
        {
            assert!(stream.read_buf(&mut told).await.unwrap() > 0, "{}", String::from_utf8_lossy(&told));
        }
        let told = String::from_utf8_lossy(&told).into_owned();
        assert_eq!(told.matches(SECRET).count(), shown, "{told}");
        assert!(told.contains("Ada") && !told.contains("$sealed") && !told.contains("12345678"), "{told}");
    }
    house.stop().await;
}

async fn a_sealed_value_opens_only_in_its_own_record(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let house = house(engine, &folder).await;
    let path = add(&house, "ada", "Ada").await;
    let record = stored(&house).await.remove(0);
    put(&house, "copy", Value::Object(record.data.clone())).await;
    let mut swapped = record.data;
    let card = swapped["card"].clone();
    swapped.insert("pin".to_owned(), card);
    let ask =
        async |id: &str| send(&house, "eve", Method::GET, &format!("{PEOPLE}/{id}?fields=pin"), "").await;
    assert_eq!(ask("copy").await.status, 409);
    tells_nothing(&ask("copy").await);
    put(&house, path.rsplit('/').next().unwrap(), Value::Object(swapped)).await;
    assert_eq!(send(&house, "eve", Method::GET, &format!("{path}?fields=pin"), "").await.status, 409);
    assert_eq!(send(&house, "eve", Method::GET, &format!("{PEOPLE}/copy"), "").await.status, 200);
    house.stop().await;
}

async fn after_a_rotation_every_record_is_sealed_with_the_new_key(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let mut house = house(engine, &folder).await;
    let path = add(&house, "ada", "Ada").await;
    let database = house.database();
    let note = async || {
        let query = Query::Get { collection: "_sealed".to_owned(), id: "people".to_owned() };
        let found = database.query("staff", &query).await.unwrap().records;
        found.first().map(|note| note.data["state"].to_string())
    };
    let noted_after = async |before: Option<String>| {
        let noted = async {
            loop {
                match note().await {
                    Some(state) if Some(&state) != before.as_ref() => return state,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), noted).await.unwrap()
    };
    let old_state = noted_after(None).await;
    // As it lay before the field was declared sensitive.
    put(&house, "before", json!({"name": "Before", "pin": SECRET, "by": "ada"})).await;
    rotate(&mut house, &folder).await;
    noted_after(Some(old_state)).await;
    house.config.sensitive.previous_key_files.clear();
    house.start_service("staff").await;
    for path in [path.as_str(), "/staff/people/before"] {
        let shown = send(&house, "eve", Method::GET, &format!("{path}?fields=pin"), "").await;
        assert_eq!(shown.json()["pin"], SECRET, "{shown:?}");
    }
    house.stop().await;
}

/// Waits until everything of the people was sealed with the present key, and that was noted.
async fn until_sealed(house: &House, before: &Value) -> Value {
    let noted = async {
        loop {
            let query = Query::Get { collection: "_sealed".to_owned(), id: "people".to_owned() };
            let found = house.database().query("staff", &query).await.unwrap().records;
            match found.first().map(|note| note.data["state"].clone()) {
                Some(state) if state != *before => return state,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted).await.unwrap()
}

/// Gives all that lies of the people, be it deleted or from before.
async fn at_rest(house: &House) -> String {
    let database = house.database();
    let mut all = String::new();
    for place in ["people", "people.deleted"] {
        let list = Query::List { collection: place.to_owned(), after: None, limit: 100 };
        for record in database.query("staff", &list).await.unwrap().records {
            let (collection, id) = (place.to_owned(), record.id.clone());
            let history = Query::History { collection, id, before: None, limit: 100 };
            let page = database.query("staff", &history).await.unwrap();
            all.push_str(&serde_json::to_string(&(record, page.earlier)).unwrap());
        }
    }
    all
}

/// A service like the others that keeps what was, with people that changed and one that was deleted.
async fn staff_with_a_past(engine: Engine, folder: &TempDir, is_declared: bool) -> House {
    let file = key(folder, "old.key", OLD);
    let mut house = House::start(engine, |config| {
        staff(config, folder.path());
        with_a_past(config, is_declared);
        config.sensitive.key_file = Some(file);
    })
    .await;
    house.start_service("staff").await;
    for (id, pin) in [("a", "first-4711"), ("b", "gone-4711")] {
        let fields =
            [("content-type", "application/json"), ("if-none-match", "*"), ("sixfold-subject", "ada")];
        let body = json!({"name": id, "pin": pin}).to_string();
        let made = house.send("staff", Method::PUT, &format!("{PEOPLE}/{id}"), &fields, &body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    for pin in ["second-4711", "third-4711"] {
        let body = json!({ "pin": pin }).to_string();
        let changed = send(&house, "ada", Method::PATCH, &format!("{PEOPLE}/a"), &body).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    assert_eq!(send(&house, "ada", Method::DELETE, &format!("{PEOPLE}/b"), "").await.status, 204);
    house
}

/// Has the people keep what was; with or without their pins being sensitive.
fn with_a_past(config: &mut Config, is_declared: bool) {
    let mut service = serde_json::to_value(&config.services["staff"]).unwrap();
    let people = &mut service["collections"]["people"];
    people["history"] = json!(5);
    people["soft_delete"] = json!(true);
    people["rules"]["deleted"] = json!(["auditor", "user"]);
    if !is_declared {
        people["sensitive"] = json!(["card"]);
    }
    config.services.insert("staff".to_owned(), serde_json::from_value(service).unwrap());
}

async fn what_is_deleted_and_what_was_before_is_sealed_anew_too(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    // Declared sensitive only once there is a past.
    let mut house = staff_with_a_past(engine, &folder, false).await;
    let state = until_sealed(&house, &Value::Null).await;
    assert_eq!(at_rest(&house).await.matches("-4711").count(), 5, "as it was sent");
    // In the cache, too, once the changes are so long ago that it takes a copy again.
    let is_cached = async |house: &House| {
        let found = house.cache().read(&cache::record_key("staff", "people", "a")).await;
        matches!(found, cache::Found::Hit(copy) if copy.windows(10).any(|text| text == b"third-4711"))
    };
    let caching = async {
        while !is_cached(&house).await {
            let read = send(&house, "ada", Method::GET, &format!("{PEOPLE}/a"), "").await;
            assert_eq!(read.json()["pin"], "third-4711");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), caching).await.unwrap();
    let database = house.database();
    let latest = async || {
        let changes = database.changes(Some("staff"), 0, 100, Duration::ZERO).await.unwrap();
        changes.into_iter().filter(|change| change.collection.starts_with("people")).count()
    };
    let before = latest().await;
    with_a_past_of_all(&mut house.config, &folder);
    house.start_service("staff").await;
    let state = until_sealed(&house, &state).await;
    assert!(!is_cached(&house).await, "the copy went with the sealing, not with its time");
    let lies = at_rest(&house).await;
    assert!(!lies.contains("-4711"), "{lies}");
    assert_eq!(lies.matches("$sealed").count(), 5, "no version more than there were: {lies}");
    let plain = send(&house, "ada", Method::GET, &format!("{PEOPLE}/a"), "").await.json();
    assert!(plain.get("pin").is_none(), "{plain}");
    rotate(&mut house, &folder).await;
    until_sealed(&house, &state).await;
    // The old key can go, as the log says then.
    house.config.sensitive.previous_key_files.clear();
    house.start_service("staff").await;
    assert_eq!(latest().await, before, "nobody who follows has to know");
    let get = async |path: &str| send(&house, "eve", Method::GET, &format!("{PEOPLE}/{path}"), "").await;
    let history = get("a/history?fields=pin").await.json();
    let pins: Vec<&Value> =
        history["items"].as_array().unwrap().iter().map(|item| &item["record"]["pin"]).collect();
    assert_eq!(pins, ["second-4711", "first-4711"]);
    assert_eq!(get("a?fields=pin").await.json()["pin"], "third-4711");
    assert_eq!(get("b?deleted=only&fields=pin").await.json()["pin"], "gone-4711");
    house.stop().await;
}

/// Has the pins of people with a past be sensitive.
fn with_a_past_of_all(config: &mut Config, folder: &TempDir) {
    staff(config, folder.path());
    with_a_past(config, true);
}

async fn a_field_whose_key_is_gone_is_in_nobodys_way(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let mut house = staff_with_a_past(engine, &folder, true).await;
    let state = until_sealed(&house, &Value::Null).await;
    assert_eq!(at_rest(&house).await.matches("$sealed").count(), 5);
    // Another key, and the one that all is sealed with is nowhere.
    house.config.sensitive.key_file = Some(key(&folder, "new.key", NEW));
    house.start_service("staff").await;
    let get = async |path: &str| send(&house, "eve", Method::GET, &format!("{PEOPLE}{path}"), "").await;
    let refused = get("/a?fields=pin").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("`pin` is sealed with a key"));
    for path in ["?fields=name,pin", "?deleted=only&fields=name,pin", "/a/history?fields=name,pin"] {
        let page = get(path).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        let items = page.json()["items"].as_array().unwrap().clone();
        assert!(!items.is_empty(), "{path}");
        for item in items {
            let record = item.get("record").unwrap_or(&item);
            assert!(record["name"].is_string() && record.get("pin").is_none(), "{path}: {record}");
        }
    }
    // Other fields are changed, and what cannot be opened stays what it is, although the schema asks for a text there.
    let restored = send(&house, "eve", Method::POST, &format!("{PEOPLE}/b/restore"), "").await;
    assert_eq!(restored.status, 201, "{restored:?}");
    for (method, id, body) in [
        (Method::PATCH, "a", r#"{"name": "Ann"}"#),
        (Method::PATCH, "b", r#"[{"op": "replace", "path": "/name", "value": "Bea"}]"#),
        (Method::PUT, "b", r#"{"name": "Bee"}"#),
    ] {
        let changed = send(&house, "ada", method.clone(), &format!("{PEOPLE}/{id}"), body).await;
        assert_eq!(changed.status, 200, "{method}: {changed:?}");
        tells_nothing(&changed);
    }
    assert_eq!(
        send(&house, "ada", Method::PATCH, &format!("{PEOPLE}/b"), r#"{"pin": "new"}"#).await.status,
        200
    );
    assert_eq!(get("/b?fields=pin").await.json()["pin"], "new");
    // With the key the rest is there again.
    house.config.sensitive.previous_key_files = vec![folder.path().join("old.key")];
    house.start_service("staff").await;
    until_sealed(&house, &state).await;
    let shown = send(&house, "eve", Method::GET, &format!("{PEOPLE}/a?fields=name,pin"), "").await.json();
    assert_eq!((&shown["name"], &shown["pin"]), (&json!("Ann"), &json!("third-4711")));
    house.stop().await;
}

async fn a_request_under_a_key_is_known_again_and_its_body_cannot_be_tried_out(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let mut house = house(engine, &folder).await;
    let add = async |house: &House, name: &str| {
        let body = json!({"name": name, "pin": SECRET}).to_string();
        let fields =
            [("content-type", "application/json"), ("sixfold-subject", "ada"), ("idempotency-key", "k")];
        house.send("staff", Method::POST, PEOPLE, &fields, &body).await
    };
    let first = add(&house, "Ada").await;
    assert_eq!(add(&house, "Ada").await.text, first.text);
    rotate(&mut house, &folder).await;
    let again = add(&house, "Ada").await;
    assert_eq!((again.status.as_u16(), &again.text), (201, &first.text), "also after a rotation");
    assert_eq!(add(&house, "Bob").await.status, 422);
    house.stop().await;
}

#[test]
fn what_cannot_be_sensitive_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |change: &dyn Fn(&mut Value)| {
        let mut config = Config::default();
        staff(&mut config, folder.path());
        config.sensitive.key_file = Some("a.key".into());
        let mut document = serde_json::to_value(&config).unwrap();
        change(&mut document["services"]["staff"]["collections"]["people"]);
        let config: Config = serde_json::from_value(document).unwrap();
        config.validate(&process::Services::default()).unwrap_err().to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>); 6] = [
        ("people.indexes: `card.number` is sensitive", &|people| {
            people["indexes"] = json!(["card.number:number"])
        }),
        ("people.unique: `pin` is sensitive", &|people| people["unique"] = json!(["pin"])),
        ("people.rules.rows: `pin` is sensitive", &|people| people["rules"]["rows"] = json!("pin=eq.x")),
        ("people.sensitive: `by` is a field that the server sets", &|people| {
            people["sensitive"] = json!(["by"])
        }),
        ("people.sensitive: `pin` is read-only", &|people| people["readonly"] = json!(["pin"])),
        ("people.sensitive: `card.number` is no field", &|people| {
            people["sensitive"] = json!(["card.number"])
        }),
    ];
    for (expected, change) in cases {
        let text = refuse(change);
        assert!(text.contains(expected), "{text}");
    }
    let mut config = Config::default();
    staff(&mut config, folder.path());
    let text = config.validate(&process::Services::default()).unwrap_err().to_string();
    assert!(text.starts_with("microservice.sensitive.key_file: "), "{text}");
}

#[tokio::test]
async fn a_key_file_that_is_not_there_is_the_reason_of_a_service_that_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::without_database(Engine::Sqlite, |config| {
        staff(config, folder.path());
        config.sensitive.key_file = Some(folder.path().join("none.key"));
    });
    let text = house.why_not("staff");
    assert!(text.contains("service staff") && text.contains("microservice.sensitive.key_file"), "{text}");
    assert!(text.contains("none.key: No such file"), "{text}");
}
