//! Soft deletions: out of sight of everybody, back on request, gone after a time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::collections::BTreeMap;
use std::time::Duration;

use database::job::JobFilter;
use database::{Database, Query};
use house::{Answer, Engine, House};
use http::Method;
use microservice::Config;
use serde_json::{Value, json};

on_both_engines! {
    a_deleted_record_is_out_of_sight_and_comes_back
    a_name_and_a_unique_value_are_free_again
    deleted_records_are_listed_for_whom_may_see_them
    an_owner_has_its_own_deleted_records
    what_was_deleted_can_be_purged_at_once_or_is_after_its_time
    a_batch_deletes_softly_and_a_repeated_deletion_is_answered_as_before
    a_purge_needs_the_rule_for_deletions_too
    a_purge_under_the_key_of_the_deletion_is_another_request
    what_was_deleted_is_destroyed_by_nobody_who_may_not_purge_it
    a_name_is_free_at_no_moment_of_its_record_s_deletion
}

const BOOKS: &str = "/library/books";

fn library(config: &mut Config, more: &Value) {
    let mut books = json!({
        "owner": "by", "indexes": ["title:text", "year:number", "by:text"], "unique": ["isbn:text"],
        "soft_delete": true,
        "on_delete": [{ "queue": "q", "kind": "deleted" }],
        "rules": { "deleted": ["librarian", "owner"] },
    });
    let (Value::Object(own), Value::Object(more)) = (&mut books, more) else { panic!("objects") };
    own.extend(more.clone());
    let service = json!({ "listen": "127.0.0.1:0", "collections": { "books": books } });
    config.services = BTreeMap::from([("library".to_owned(), serde_json::from_value(service).unwrap())]);
}

async fn house(engine: Engine, more: Value) -> House {
    let mut house = House::start(engine, |config| library(config, &more)).await;
    house.start_service("library").await;
    house
}

async fn send(house: &House, who: &str, method: Method, path: &str, body: &str) -> Answer {
    let roles = if who == "eve" { "librarian" } else { "user" };
    let media_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let fields = [("content-type", media_type), ("sixfold-subject", who), ("sixfold-roles", roles)];
    house.send("library", method, path, &fields, body).await
}

async fn add(house: &House, who: &str, title: &str, year: u32) -> String {
    let body = json!({"title": title, "year": year, "isbn": title}).to_string();
    let made = send(house, who, Method::POST, BOOKS, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.field("location").to_owned()
}

async fn delete(house: &House, path: &str) {
    assert_eq!(send(house, "ada", Method::DELETE, path, "").await.status, 204);
}

async fn titles(house: &House, who: &str, query: &str) -> Vec<Value> {
    let page = send(house, who, Method::GET, &format!("{BOOKS}?{query}"), "").await.json();
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
    items.iter().map(|item| item["title"].clone()).collect()
}

async fn lies_in(database: &Database, collection: &str) -> usize {
    let query = Query::List { collection: collection.to_owned(), after: None, limit: 100 };
    database.query("library", &query).await.unwrap().records.len()
}

async fn a_deleted_record_is_out_of_sight_and_comes_back(engine: Engine) {
    let house = house(engine, json!({})).await;
    let path = add(&house, "ada", "Emma", 1815).await;
    let before = send(&house, "ada", Method::GET, &path, "").await;
    // From the cache, too.
    house.get_until("library", &path, |answer| answer.field("cache-status") == "sixfold; hit").await;
    delete(&house, &path).await;
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(send(&house, "eve", method.clone(), &path, "{}").await.status, 404, "{method}");
    }
    assert_eq!(titles(&house, "eve", "").await, [""; 0]);
    assert_eq!(lies_in(&house.database(), "books").await, 0, "also to whoever reads the database");

    let ask =
        async |who: &str, query: &str| send(&house, who, Method::GET, &format!("{path}?{query}"), "").await;
    let found = ask("eve", "deleted=only").await;
    assert_eq!((found.status.as_u16(), &found.json()["title"]), (200, &json!("Emma")));
    let (record, tag) = (found.json(), found.field("etag").to_owned());
    assert_eq!(record["created_at"], before.json()["created_at"]);
    assert!(record["deleted_at"].is_string());
    assert_eq!(ask("eve", "deleted=include").await.json(), record);
    assert_eq!(ask("zed", "deleted=only").await.status, 404, "it is not zed's");
    assert_eq!(ask("eve", "deleted=maybe").await.status, 400);

    let restore = format!("{path}/restore");
    let fields = [("sixfold-subject", "eve"), ("sixfold-roles", "librarian"), ("if-match", "\"1\"")];
    assert_eq!(house.send("library", Method::POST, &restore, &fields, "").await.status, 412);
    let fields = [fields[0], fields[1], ("if-match", tag.as_str())];
    let restored = house.send("library", Method::POST, &restore, &fields, "").await;
    assert_eq!(restored.status, 201, "{restored:?}");
    let back = send(&house, "ada", Method::GET, &path, "").await;
    assert_eq!((back.field("etag"), &back.text), (restored.field("etag"), &restored.text));
    let mut expected = before.json();
    expected["updated_at"] = back.json()["updated_at"].clone();
    assert_eq!(back.json(), expected);
    assert_eq!(titles(&house, "eve", "title=eq.Emma").await, ["Emma"]);
    assert_eq!(send(&house, "eve", Method::POST, &restore, "").await.problem(), "already-exists", "once");
    assert_eq!(house.database().jobs(&JobFilter::default()).await.unwrap().jobs.len(), 1);
    let refused = send(&house, "ada", Method::PATCH, &path, r#"{"deleted_at": "x"}"#).await;
    assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec!["/deleted_at".to_owned()]));
    house.stop().await;
}

async fn a_name_and_a_unique_value_are_free_again(engine: Engine) {
    let house = house(engine, json!({})).await;
    let path = add(&house, "ada", "Emma", 1815).await;
    delete(&house, &path).await;
    let second = add(&house, "ada", "Emma", 1816).await;
    let restore = format!("{path}/restore");
    let refused = send(&house, "eve", Method::POST, &restore, "").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "not-unique"));
    delete(&house, &second).await;
    assert_eq!(send(&house, "eve", Method::POST, &restore, "").await.status, 201);
    // Another under the same name: whoever is there stays, and the later deletion replaces the earlier.
    delete(&house, &path).await;
    let fields = [("content-type", "application/json"), ("sixfold-subject", "ada"), ("if-none-match", "*")];
    let again = house.send("library", Method::PUT, &path, &fields, r#"{"title": "Other", "year": 1}"#).await;
    assert_eq!(again.status, 201, "{again:?}");
    let refused = send(&house, "eve", Method::POST, &restore, "").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "already-exists"));
    delete(&house, &path).await;
    assert_eq!(titles(&house, "eve", "deleted=only&order=title").await, ["Emma", "Other"]);
    house.stop().await;
}

async fn deleted_records_are_listed_for_whom_may_see_them(engine: Engine) {
    let house = house(engine, json!({})).await;
    for (title, year) in [("a", 5), ("b", 4), ("c", 3), ("d", 2), ("e", 1)] {
        let path = add(&house, "ada", title, year).await;
        if ["b", "d", "e"].contains(&title) {
            delete(&house, &path).await;
        }
    }
    assert_eq!(titles(&house, "eve", "order=year").await, ["c", "a"]);
    assert_eq!(titles(&house, "eve", "order=year&deleted=only").await, ["e", "d", "b"]);
    assert_eq!(titles(&house, "eve", "year=gte.2&order=-year&deleted=only").await, ["b", "d"]);
    assert_eq!(titles(&house, "eve", "order=year&deleted=include").await, ["c", "a"], "and then the others");
    let mut walked = Vec::new();
    let mut query = "order=year&deleted=include&limit=1&count=exact".to_owned();
    loop {
        let page = send(&house, "eve", Method::GET, &format!("{BOOKS}?{query}"), "").await.json();
        assert_eq!(page["count"], json!({"value": 5, "exact": true}));
        walked.extend(page["items"].as_array().unwrap().iter().map(|item| item["title"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        // A cursor is good for its own question only.
        let other = format!("{BOOKS}?order=year&limit=1&cursor={next}");
        assert_eq!(send(&house, "eve", Method::GET, &other, "").await.status, 409);
        query = format!("order=year&deleted=include&limit=1&count=exact&cursor={next}");
    }
    assert_eq!(walked, ["c", "a", "e", "d", "b"]);
    let export =
        [("accept", "application/x-ndjson"), ("sixfold-subject", "eve"), ("sixfold-roles", "librarian")];
    let all = house.send("library", Method::GET, &format!("{BOOKS}?deleted=include"), &export, "").await;
    assert_eq!(String::from_utf8_lossy(&all.text).lines().count(), 5);
    house.stop().await;
}

async fn an_owner_has_its_own_deleted_records(engine: Engine) {
    let house = house(engine, json!({})).await;
    let path = add(&house, "ada", "hers", 1).await;
    delete(&house, &path).await;
    let other = add(&house, "bob", "his", 2).await;
    delete(&house, &other).await;
    assert_eq!(titles(&house, "ada", "deleted=only").await, ["hers"]);
    assert_eq!(send(&house, "ada", Method::POST, &format!("{other}/restore"), "").await.status, 404);
    assert_eq!(send(&house, "ada", Method::POST, &format!("{path}/restore"), "").await.status, 201);
    let nobody = house.get("library", &format!("{BOOKS}?deleted=only")).await;
    assert_eq!(nobody.status, 401);
    house.stop().await;

    let house = self::house(engine, json!({"rules": {}})).await;
    let path = add(&house, "ada", "x", 1).await;
    delete(&house, &path).await;
    for path in [format!("{BOOKS}?deleted=only"), format!("{path}?deleted=include")] {
        assert_eq!(send(&house, "eve", Method::GET, &path, "").await.status, 403, "without a rule nobody");
    }
    house.stop().await;
}

async fn what_was_deleted_can_be_purged_at_once_or_is_after_its_time(engine: Engine) {
    let house = house(engine, json!({})).await;
    let path = add(&house, "ada", "x", 1).await;
    delete(&house, &path).await;
    let purge = async || send(&house, "eve", Method::DELETE, &format!("{path}?deleted=only"), "").await;
    assert_eq!(purge().await.status, 204);
    assert_eq!(purge().await.status, 404);
    assert_eq!(lies_in(&house.database(), "books.deleted").await, 0);
    house.stop().await;

    let mut house = House::start(engine, |config| library(config, &json!({}))).await;
    house.start_service("library").await;
    for year in 0..205 {
        delete(&house, &add(&house, "ada", &year.to_string(), year).await).await;
    }
    let kept = add(&house, "ada", "kept", 1).await;
    assert_eq!(lies_in(&house.database(), "books.deleted").await, 100, "a page of them");
    let books = house.config.services.get_mut("library").unwrap().collections.get_mut("books").unwrap();
    books.keep_deleted = Duration::from_millis(1);
    house.start_service("library").await;
    let purged = async {
        while lies_in(&house.database(), "books.deleted").await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), purged).await.unwrap();
    assert_eq!(send(&house, "ada", Method::GET, &kept, "").await.status, 200);
    house.stop().await;
}

async fn a_batch_deletes_softly_and_a_repeated_deletion_is_answered_as_before(engine: Engine) {
    let house = house(engine, json!({})).await;
    let (one, two) = (add(&house, "ada", "one", 1).await, add(&house, "ada", "two", 2).await);
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let body = json!({"operations": [{"op": "delete", "collection": "books", "id": id(&one)}]});
    let done = send(&house, "ada", Method::POST, "/library/_batch", &body.to_string()).await;
    assert_eq!((done.status.as_u16(), done.json()), (200, json!({"results": [{"status": 204}]})));
    let fields = [("sixfold-subject", "ada"), ("idempotency-key", "k")];
    for _ in 0..2 {
        assert_eq!(house.send("library", Method::DELETE, &two, &fields, "").await.status, 204);
    }
    assert_eq!(titles(&house, "eve", "deleted=only&order=year").await, ["one", "two"]);
    house.stop().await;
}

async fn a_purge_needs_the_rule_for_deletions_too(engine: Engine) {
    let rules = json!({"rules": {"delete": ["owner"], "deleted": ["librarian", "owner"]}});
    let house = house(engine, rules).await;
    let path = add(&house, "ada", "Emma", 1815).await;
    delete(&house, &path).await;
    let purge =
        async |who: &str| send(&house, who, Method::DELETE, &format!("{path}?deleted=only"), "").await;
    assert_eq!(purge("eve").await.status, 403, "she may see it, and not delete it");
    assert_eq!(purge("bob").await.status, 404, "he does not see it");
    assert_eq!(lies_in(&house.database(), "books.deleted").await, 1);
    assert_eq!(purge("ada").await.status, 204);
    house.stop().await;
}

async fn a_purge_under_the_key_of_the_deletion_is_another_request(engine: Engine) {
    let house = house(engine, json!({})).await;
    let path = add(&house, "ada", "Emma", 1815).await;
    let fields = [("sixfold-subject", "ada"), ("idempotency-key", "k")];
    let delete = async |path: &str| house.send("library", Method::DELETE, path, &fields, "").await;
    assert_eq!(delete(&path).await.status, 204);
    let refused = delete(&format!("{path}?deleted=only")).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "key-reused"));
    assert_eq!(lies_in(&house.database(), "books.deleted").await, 1);
    house.stop().await;
}

async fn what_was_deleted_is_destroyed_by_nobody_who_may_not_purge_it(engine: Engine) {
    let house = house(engine, json!({"history": 5})).await;
    let path = format!("{BOOKS}/victim");
    let create = async |who: &str| {
        let roles = if who == "eve" { "librarian" } else { "user" };
        let fields = [
            ("content-type", "application/json"),
            ("if-none-match", "*"),
            ("sixfold-subject", who),
            ("sixfold-roles", roles),
        ];
        house.send("library", Method::PUT, &path, &fields, r#"{"title": "of"}"#).await
    };
    assert_eq!(create("ada").await.status, 201);
    assert_eq!(send(&house, "ada", Method::PATCH, &path, r#"{"title": "hers"}"#).await.status, 200);
    delete(&house, &path).await;
    let hers = async || {
        let found = send(&house, "ada", Method::GET, &format!("{path}?deleted=only"), "").await;
        let history = send(&house, "ada", Method::GET, &format!("{path}/history?deleted=only"), "").await;
        assert_eq!((found.json()["title"].clone(), found.status.as_u16()), (json!("hers"), 200), "{found:?}");
        assert_eq!(
            history.json()["items"].as_array().unwrap().len(),
            2,
            "as it was made, and before it went"
        );
    };
    hers().await;

    // Its name is taken, as if the record were there and hidden.
    assert_eq!(create("bob").await.status, 412);
    let operations = |op: &str| {
        let data = if op == "create" { json!({"title": "his"}) } else { Value::Null };
        let mut operation = json!({"op": op, "collection": "books", "id": "victim", "data": data});
        operation.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        json!({ "operations": [operation] }).to_string()
    };
    let batch =
        async |who: &str, op: &str| send(&house, who, Method::POST, "/library/_batch", &operations(op)).await;
    let refused = batch("bob", "create").await;
    assert_eq!((refused.status.as_u16(), refused.pointers()), (409, vec!["/operations/0".to_owned()]));
    let ndjson = [("content-type", "application/x-ndjson"), ("sixfold-subject", "bob")];
    let lines = "{\"id\": \"victim\", \"title\": \"his\"}\n{\"id\": \"other\", \"title\": \"his\"}\n";
    let told = house.send("library", Method::POST, BOOKS, &ndjson, lines).await;
    let told: Vec<Value> = std::str::from_utf8(&told.text)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((&told[0]["line"], &told[0]["problem"]["status"]), (&json!(1), &json!(409)), "{told:?}");
    assert_eq!((&told[1]["imported"], &told[1]["refused"]), (&json!(1), &json!(1)));
    hers().await;

    // Who may purge it may use the name; what others then delete does not take hers away.
    assert_eq!(create("eve").await.status, 201);
    let refused = send(&house, "bob", Method::DELETE, &path, "").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "conflict"), "{refused:?}");
    assert_eq!(batch("bob", "delete").await.status, 409);
    hers().await;
    assert_eq!(send(&house, "eve", Method::DELETE, &path, "").await.status, 204);
    assert_eq!(titles(&house, "eve", "deleted=only").await, ["of"]);
    house.stop().await;
}

async fn a_name_is_free_at_no_moment_of_its_record_s_deletion(engine: Engine) {
    let house = house(engine, json!({})).await;
    let create = async |who: &str, id: &str| {
        let fields = [("content-type", "application/json"), ("if-none-match", "*"), ("sixfold-subject", who)];
        house
            .send("library", Method::PUT, &format!("{BOOKS}/{id}"), &fields, r#"{"title": "of"}"#)
            .await
            .status
    };
    let batch = async |id: &str| {
        let create = json!({"op": "create", "collection": "books", "id": id, "data": {"title": "his"}});
        let body =
            json!({"operations": [{"op": "create", "collection": "books", "data": {}}, create]}).to_string();
        let told = send(&house, "bob", Method::POST, "/library/_batch", &body).await;
        assert_eq!(
            (told.status.as_u16(), told.pointers()),
            (409, vec!["/operations/1".to_owned()]),
            "{told:?}"
        );
    };
    let import = async |id: &str| {
        let fields = [("content-type", "application/x-ndjson"), ("sixfold-subject", "bob")];
        let told = house.send("library", Method::POST, BOOKS, &fields, &json!({"id": id}).to_string()).await;
        assert!(String::from_utf8_lossy(&told.text).contains("already-exists"), "{told:?}");
    };
    for number in 0..20 {
        let id = format!("hers{number}");
        let path = format!("{BOOKS}/{id}");
        assert_eq!(create("ada", &id).await, 201);
        let others = async {
            for _ in 0..3 {
                let (put, ..) = tokio::join!(create("bob", &id), batch(&id), import(&id));
                assert_eq!(put, 412);
            }
        };
        tokio::join!(delete(&house, &path), others);
        assert_eq!(send(&house, "bob", Method::GET, &path, "").await.status, 404);
    }
    assert_eq!(titles(&house, "eve", "").await, [""; 0], "of a batch nothing else either");
    house.stop().await;
}
