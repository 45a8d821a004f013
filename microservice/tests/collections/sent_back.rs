//! What was read is sent back: the fields of the server in it are no obstacle, and nobody changes one by them.

use http::Method;
use serde_json::{Value, json};

use crate::house::{Answer, Engine, House};
use crate::{JSON, MERGE, catalog, create_lamp};

/// The media type of a JSON patch.
const PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

/// A record with one field changed.
fn with(record: &Value, name: &str, value: Value) -> Value {
    let mut record = record.clone();
    record[name] = value;
    record
}

async fn order(engine: Engine) -> (House, Answer) {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("orders").await;
    let made = house.post("orders", "/orders/orders", &json!({"product_id": "p1", "quantity": 2})).await;
    assert_eq!(made.status, 201, "{made:?}");
    (house, made)
}

pub(super) async fn what_was_read_is_put_back_with_one_field_changed(engine: Engine) {
    let (house, made) = order(engine).await;
    let path = made.field("location").to_owned();
    let read = house.get("orders", &path).await;
    let fields = [JSON, ("if-match", read.field("etag"))];
    let body = with(&read.json(), "quantity", json!(3)).to_string();
    let put = house.send("orders", Method::PUT, &path, &fields, &body).await;
    assert_eq!(put.status, 200, "{put:?}");
    let (before, after) = (read.json(), put.json());
    assert_eq!((&after["quantity"], &after["status"]), (&json!(3), &json!("pending")));
    for own in ["id", "created_at"] {
        assert_eq!(after[own], before[own], "{own}");
    }
    assert_ne!(after["updated_at"], before["updated_at"], "what the client read is not when it was changed");
    assert_eq!(after.as_object().unwrap().len(), before.as_object().unwrap().len());
    let stale = house.send("orders", Method::PUT, &path, &fields, &body).await;
    assert_eq!(stale.status, 412, "{stale:?}");
    house.stop().await;
}

pub(super) async fn nothing_sent_sets_when_a_record_was_made_or_changed(engine: Engine) {
    let house = catalog(engine).await;
    let made = create_lamp(&house).await;
    let (path, record) = (made.field("location").to_owned(), made.json());
    let old = "2001-01-01T00:00:00Z";
    let sent = with(&with(&record, "created_at", json!(old)), "updated_at", json!(old));
    let whole = json!([{"op": "replace", "path": "", "value": sent}]).to_string();
    let id = record["id"].as_str().unwrap();
    let replace = json!({"op": "replace", "collection": "products", "id": id, "data": sent});
    let batch = json!({ "operations": [replace] }).to_string();
    let (copy, second) = (with(&sent, "id", json!("copy")), with(&sent, "id", json!("copy-2")));
    let create = json!({"op": "create", "collection": "products", "id": "copy-2", "data": second});
    let creation = json!({ "operations": [create] }).to_string();
    let absent = [JSON, ("if-none-match", "*")];
    for (method, path, fields, body) in [
        (Method::PUT, path.as_str(), &[JSON][..], sent.to_string()),
        (Method::PATCH, path.as_str(), &[MERGE][..], sent.to_string()),
        (Method::PATCH, path.as_str(), &[PATCH][..], whole),
        (Method::POST, "/catalog/_batch", &[JSON][..], batch),
        (Method::PUT, "/catalog/products/copy", &absent[..], copy.to_string()),
        (Method::POST, "/catalog/_batch", &[JSON][..], creation),
    ] {
        let done = house.send("catalog", method.clone(), path, fields, &body).await;
        assert!(done.status.is_success(), "{method} {path} {body}: {done:?}");
        assert!(!String::from_utf8_lossy(&done.text).contains(old), "{method} {path}: {done:?}");
    }
    assert_eq!(house.get("catalog", &path).await.json()["created_at"], record["created_at"]);
    house.stop().await;
}

pub(super) async fn another_name_or_another_value_of_the_server_s_is_refused(engine: Engine) {
    let (house, made) = order(engine).await;
    let (path, record) = (made.field("location").to_owned(), made.json());
    for (name, value) in [("id", json!("other")), ("id", json!(null)), ("status", json!("confirmed"))] {
        let data = with(&record, name, value);
        let sent = data.to_string();
        let put = house.send("orders", Method::PUT, &path, &[JSON], &sent).await;
        assert_eq!((put.status.as_u16(), put.pointers()), (422, vec![format!("/{name}")]), "{sent}");
        let merge = house.send("orders", Method::PATCH, &path, &[MERGE], &sent).await;
        assert_eq!((merge.status.as_u16(), merge.pointers()), (422, vec![format!("/{name}")]), "{sent}");
        let whole = json!([{"op": "replace", "path": "", "value": data}]).to_string();
        let patch = house.send("orders", Method::PATCH, &path, &[PATCH], &whole).await;
        assert_eq!((patch.status.as_u16(), patch.pointers()), (422, vec![format!("/{name}")]), "{sent}");
        let replace = json!({"op": "replace", "collection": "orders", "id": record["id"], "data": data});
        let batch = house.post("orders", "/orders/_batch", &json!({"operations": [replace]})).await;
        let pointer = format!("/operations/0/data/{name}");
        assert_eq!((batch.status.as_u16(), batch.pointers()), (422, vec![pointer]), "{sent}");
    }
    // Its name is the server's to give.
    let post = house.post("orders", "/orders/orders", &record).await;
    assert_eq!((post.status.as_u16(), post.pointers()), (422, vec!["/id".to_owned()]));
    assert_eq!(house.get("orders", &path).await.json(), record);
    house.stop().await;
}
