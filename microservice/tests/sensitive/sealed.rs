//! How a sensitive field lies: bound to its record, and sealed anew when the key changes, in what was as in what is.

use std::time::Duration;

use database::Query;
use http::Method;
use microservice::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{Engine, House};
use crate::staff::{
    NEW, OLD, PEOPLE, SECRET, add, house, key, put, rotate, send, staff, stored, tells_nothing,
};

pub(crate) async fn a_sealed_value_opens_only_in_its_own_record(engine: Engine) {
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

pub(crate) async fn after_a_rotation_every_record_is_sealed_with_the_new_key(engine: Engine) {
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

/// Has the pins of people with a past be sensitive.
fn with_a_past_of_all(config: &mut Config, folder: &TempDir) {
    staff(config, folder.path());
    with_a_past(config, true);
}

pub(crate) async fn what_is_deleted_and_what_was_before_is_sealed_anew_too(engine: Engine) {
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

pub(crate) async fn a_field_whose_key_is_gone_is_in_nobodys_way(engine: Engine) {
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
