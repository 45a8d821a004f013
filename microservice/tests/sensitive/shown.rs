//! Who is shown a sensitive field, and who learns nothing of it.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{Engine, House};
use crate::staff::{PEOPLE, SECRET, add, house, rotate, send, stored, tells_nothing};

pub(crate) async fn a_sensitive_field_is_sealed_where_it_lies_and_shown_to_whom_asks_and_may(engine: Engine) {
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
    for parameter in ["limit=1", "cursor=x"] {
        let refused = house.send("staff", Method::GET, &format!("{PEOPLE}?{parameter}"), &export, "").await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (400, "malformed-request"));
    }
    // Gateways are told which they are, so that they do not repeat them either.
    let published = house.get("staff", "/.well-known/sixfold/schemas").await.json();
    let sensitive = published["collections"][PEOPLE]["sensitive"].as_array().unwrap();
    assert!(sensitive.contains(&json!("pin")), "{published}");
    house.stop().await;
}

pub(crate) async fn who_does_not_see_a_field_neither_loses_nor_learns_it(engine: Engine) {
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

pub(crate) async fn nothing_can_ask_about_a_sensitive_field(engine: Engine) {
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

pub(crate) async fn a_follower_is_shown_its_own_and_no_other(engine: Engine) {
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

pub(crate) async fn a_request_under_a_key_is_known_again_and_its_body_cannot_be_tried_out(engine: Engine) {
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
