//! Who may do what: rules, owners, rows, and what the server computes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use database::job::JobFilter;
use database::{Operation, Precondition, Transaction};
use house::{Answer, Engine, House};
use http::Method;
use microservice::Config;
use serde_json::{Map, Value, json};

on_both_engines! {
    a_record_belongs_to_who_made_it_and_others_see_what_they_may
    a_batch_is_held_to_the_same_rules
    a_record_that_is_sent_back_stays_its_owner_s
    a_record_that_its_caller_does_not_read_is_not_there_for_any_request
    records_belong_to_a_tenant_and_without_the_claim_there_are_none
    a_record_that_is_seen_for_its_age_can_be_changed
    what_is_computed_fills_what_was_left_out_and_what_is_set_once_stays
    a_cursor_shows_nothing_of_records_that_its_reader_does_not_see
    a_count_tells_nothing_of_how_many_records_its_reader_does_not_see
}

const NOTES: &str = "/notes/notes";

/// A service of notes that belong to who writes them; some are public.
fn notes(config: &mut Config) {
    let service = json!({ "listen": "127.0.0.1:0", "collections": { "notes": {
        "owner": "by",
        "indexes": ["by:text", "public:boolean"],
        "defaults": { "code": "uuid", "at": "now", "author": "caller", "of": "owner" },
        "readonly": ["code"],
        "on_update": [{ "queue": "q", "kind": "updated" }],
        "on_delete": [{ "queue": "q", "kind": "deleted" }],
        "rules": {
            "create": ["user"], "update": ["owner", "editor"], "delete": ["owner"],
            "rows": "or=(public.is.true,by.eq.$subject)", "all_rows": ["editor"],
        },
    } } });
    config.services = BTreeMap::from([("notes".to_owned(), serde_json::from_value(service).unwrap())]);
}

async fn house(engine: Engine) -> House {
    let mut house = House::start(engine, notes).await;
    house.start_service("notes").await;
    house
}

async fn send(house: &House, who: &str, method: Method, path: &str, body: &str) -> Answer {
    let roles = if who == "eve" { "editor" } else { "user" };
    let media_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut fields = vec![("content-type", media_type)];
    if !who.is_empty() {
        fields.extend([("sixfold-subject", who), ("sixfold-roles", roles)]);
    }
    house.send("notes", method, path, &fields, body).await
}

async fn texts(house: &House, who: &str) -> Vec<Value> {
    let page = send(house, who, Method::GET, NOTES, "").await.json();
    page["items"]
        .as_array()
        .unwrap_or_else(|| panic!("{page}"))
        .iter()
        .map(|item| item["text"].clone())
        .collect()
}

async fn a_record_belongs_to_who_made_it_and_others_see_what_they_may(engine: Engine) {
    let house = house(engine).await;
    assert_eq!(send(&house, "", Method::POST, NOTES, "{}").await.status, 401);
    assert_eq!(send(&house, "eve", Method::POST, NOTES, "{}").await.status, 403);
    let made = send(&house, "ada", Method::POST, NOTES, r#"{"text": "mine"}"#).await;
    assert_eq!((made.status.as_u16(), &made.json()["by"]), (201, &json!("ada")), "{made:?}");
    let mine = made.field("location").to_owned();
    let shown = send(&house, "ada", Method::POST, NOTES, r#"{"text": "shown", "public": true}"#).await;
    let shown = shown.field("location").to_owned();
    assert_eq!(texts(&house, "ada").await, ["mine", "shown"]);
    assert_eq!(texts(&house, "bob").await, ["shown"]);
    assert_eq!(texts(&house, "").await, ["shown"]);
    assert_eq!(texts(&house, "eve").await, ["mine", "shown"]);
    // From the cache as from the database: the second read is a hit.
    for _ in 0..2 {
        assert_eq!(send(&house, "ada", Method::GET, &mine, "").await.status, 200);
        assert_eq!(send(&house, "bob", Method::GET, &mine, "").await.status, 404);
        assert_eq!(send(&house, "", Method::GET, &shown, "").await.status, 200);
    }
    for (who, path, status) in
        [("bob", &mine, 404), ("bob", &shown, 403), ("", &shown, 401), ("eve", &mine, 200)]
    {
        let patched = send(&house, who, Method::PATCH, path, "{}").await;
        assert_eq!(patched.status, status, "{who} {path}");
    }
    assert_eq!(send(&house, "eve", Method::DELETE, &mine, "").await.status, 403);
    let stolen = send(&house, "ada", Method::PATCH, &mine, r#"{"by": "bob"}"#).await;
    assert_eq!((stolen.status.as_u16(), stolen.pointers()), (422, vec!["/by".to_owned()]));
    assert_eq!(send(&house, "ada", Method::DELETE, &mine, "").await.status, 204);
    house.stop().await;
}

async fn a_batch_is_held_to_the_same_rules(engine: Engine) {
    let house = house(engine).await;
    let mine = send(&house, "ada", Method::POST, NOTES, r#"{"public": true}"#).await;
    let id = mine.json()["id"].clone();
    let body = json!({"operations": [
        {"op": "create", "collection": "notes", "data": {"text": "b"}},
        {"op": "patch", "collection": "notes", "id": id, "data": {"text": "stolen"}},
    ]});
    let refused = send(&house, "bob", Method::POST, "/notes/_batch", &body.to_string()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.pointers()),
        (403, vec!["/operations/1".to_owned()]),
        "{refused:?}"
    );
    assert_eq!(send(&house, "ada", Method::POST, "/notes/_batch", &body.to_string()).await.status, 200);
    house.stop().await;
}

async fn a_record_that_is_sent_back_stays_its_owner_s(engine: Engine) {
    let house = house(engine).await;
    let made = send(&house, "ada", Method::POST, NOTES, r#"{"text": "t", "public": true}"#).await;
    let (path, record) = (made.field("location").to_owned(), made.json());
    for who in ["ada", "eve"] {
        let replaced = send(&house, who, Method::PUT, &path, &record.to_string()).await;
        assert_eq!((replaced.status.as_u16(), &replaced.json()["by"]), (200, &json!("ada")), "{replaced:?}");
    }
    for (name, value) in [("by", "eve"), ("code", "other")] {
        let mut other = record.clone();
        other[name] = json!(value);
        let refused = send(&house, "eve", Method::PUT, &path, &other.to_string()).await;
        assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec![format!("/{name}")]));
    }
    let described = house.get("notes", "/openapi.json").await.json();
    for form in ["notes.replacement", "notes.patch"] {
        let properties = &described["components"]["schemas"][form]["properties"];
        for name in ["id", "created_at", "updated_at", "by", "code"] {
            assert_eq!(properties[name]["readOnly"], true, "{form} {name}: {properties}");
            assert_eq!(properties[name].get("anyOf"), None, "null would remove nothing: {form} {name}");
        }
    }
    assert_eq!(
        described["components"]["schemas"]["notes.request"]["properties"].get("code"),
        None,
        "it is set then"
    );
    // A copy is its maker's, whoever made the first.
    let create = |data: &Value| json!({"operations": [{"op": "create", "collection": "notes", "id": "copy", "data": data}]});
    let mut copy = record.clone();
    copy["id"] = json!("copy");
    let body = create(&copy).to_string();
    let refused = send(&house, "bob", Method::POST, "/notes/_batch", &body).await;
    assert_eq!(
        (refused.status.as_u16(), refused.pointers()),
        (422, vec!["/operations/0/data/by".to_owned()])
    );
    assert_eq!(send(&house, "ada", Method::POST, "/notes/_batch", &body).await.status, 200);
    house.stop().await;
}

async fn a_record_that_its_caller_does_not_read_is_not_there_for_any_request(engine: Engine) {
    let mut house = House::start(engine, |config| {
        let service = json!({ "listen": "127.0.0.1:0", "collections": { "notes": {
            "owner": "by", "indexes": ["by:text"], "soft_delete": true, "history": 3,
            "rules": {
                "list": ["owner"], "read": ["owner"], "update": ["owner", "editor"], "delete": ["owner"],
                "deleted": ["owner"],
            },
        } } });
        config.services = BTreeMap::from([("notes".to_owned(), serde_json::from_value(service).unwrap())]);
    })
    .await;
    house.start_service("notes").await;
    let live = send(&house, "ada", Method::POST, NOTES, "{}").await.field("location").to_owned();
    let gone = send(&house, "ada", Method::POST, NOTES, "{}").await.field("location").to_owned();
    assert_eq!(send(&house, "ada", Method::DELETE, &gone, "").await.status, 204);
    let none = format!("{NOTES}/none");
    for who in ["bob", "eve"] {
        for path in [&live, &gone, &none] {
            for (method, more) in [
                (Method::GET, ""),
                (Method::PUT, ""),
                (Method::PATCH, ""),
                (Method::DELETE, ""),
                (Method::GET, "/history"),
                (Method::POST, "/restore"),
                (Method::GET, "?deleted=only"),
                (Method::DELETE, "?deleted=only"),
            ] {
                let body = if [Method::PUT, Method::PATCH].contains(&method) { "{}" } else { "" };
                let answer = send(&house, who, method.clone(), &format!("{path}{more}"), body).await;
                assert_eq!(answer.status, 404, "{who}: {method} {path}{more}");
            }
            let id = path.rsplit('/').next().unwrap();
            let operation = json!({"op": "patch", "collection": "notes", "id": id, "data": {}});
            let batch = json!({"operations": [operation]}).to_string();
            assert_eq!(send(&house, who, Method::POST, "/notes/_batch", &batch).await.status, 404, "{path}");
        }
    }
    assert_eq!(send(&house, "ada", Method::POST, &format!("{gone}/restore"), "").await.status, 201);
    assert_eq!(send(&house, "ada", Method::PATCH, &live, r#"{"text": "t"}"#).await.status, 200);
    house.stop().await;
}

async fn a_record_that_is_seen_for_its_age_can_be_changed(engine: Engine) {
    let mut house = house(engine).await;
    let made = send(&house, "ada", Method::POST, NOTES, r#"{"public": true}"#).await;
    let path = made.field("location").to_owned();
    let collection = house.config.services.get_mut("notes").unwrap().collections.get_mut("notes").unwrap();
    collection.rules.rows =
        Some(format!("created_at=lte.{}&public=is.true", made.json()["created_at"].as_str().unwrap()));
    house.start_service("notes").await;
    for (method, body) in [(Method::PATCH, r#"{"text": "a"}"#), (Method::PUT, r#"{"public": true}"#)] {
        let changed = send(&house, "ada", method, &path, body).await;
        assert_eq!(
            (changed.status.as_u16(), &changed.json()["created_at"]),
            (200, &made.json()["created_at"])
        );
    }
    // It is still held to what it becomes, and a new one to when it is made.
    assert_eq!(send(&house, "ada", Method::PATCH, &path, r#"{"public": false}"#).await.status, 403);
    assert_eq!(send(&house, "ada", Method::POST, NOTES, r#"{"public": true}"#).await.status, 403);
    house.stop().await;
}

async fn what_is_computed_fills_what_was_left_out_and_what_is_set_once_stays(engine: Engine) {
    let house = house(engine).await;
    let made = send(&house, "ada", Method::POST, NOTES, r#"{"author": "x"}"#).await;
    let (path, record) = (made.field("location").to_owned(), made.json());
    assert_eq!((&record["author"], &record["of"]), (&json!("x"), &json!("ada")));
    record["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let code = record["code"].as_str().unwrap();
    assert_eq!(code.len(), 36);
    let changed = send(&house, "ada", Method::PATCH, &path, r#"{"code": "other"}"#).await;
    assert_eq!((changed.status.as_u16(), changed.pointers()), (422, vec!["/code".to_owned()]));
    for (patch, pointer) in
        [(r#"{"code": null}"#, "/code"), (r#"{"by": null}"#, "/by"), (r#"{"id": null}"#, "/id")]
    {
        let refused = send(&house, "ada", Method::PATCH, &path, patch).await;
        assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec![pointer.to_owned()]), "{patch}");
    }
    let replaced = send(&house, "ada", Method::PUT, &path, r#"{"text": "t"}"#).await.json();
    assert_eq!(
        (&replaced["code"], &replaced["by"], &replaced["author"]),
        (&json!(code), &json!("ada"), &Value::Null)
    );
    // A number is the same however it is written, and stays as it was written first.
    let made = send(&house, "ada", Method::POST, NOTES, r#"{"code": [1.0]}"#).await;
    let number = made.field("location");
    let replaced = send(&house, "ada", Method::PUT, number, r#"{"code": [1]}"#).await;
    assert_eq!((replaced.status.as_u16(), &replaced.json()["code"]), (200, &json!([1.0])), "{replaced:?}");
    assert_eq!(send(&house, "ada", Method::PUT, number, r#"{"code": [1.5]}"#).await.status, 422);
    send(&house, "ada", Method::DELETE, &path, "").await;
    let jobs = house.database().jobs(&JobFilter::default()).await.unwrap().jobs;
    let mut kinds: Vec<_> = jobs.iter().map(|job| job.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["deleted", "updated", "updated"], "the changes that were refused caused none");
    house.stop().await;
}

async fn records_belong_to_a_tenant_and_without_the_claim_there_are_none(engine: Engine) {
    let mut house = House::start(engine, |config| {
        let service = json!({ "listen": "127.0.0.1:0", "collections": { "notes": {
            "owner": "tenant", "owner_claim": "tenant", "indexes": ["tenant:text"],
            "rules": { "rows": "tenant=eq.$claims.tenant" },
        } } });
        config.services = BTreeMap::from([("notes".to_owned(), serde_json::from_value(service).unwrap())]);
    })
    .await;
    house.start_service("notes").await;
    let send = async |tenant: &str, method: Method, path: &str| {
        let mut fields = vec![("content-type", "application/json"), ("sixfold-subject", "ada")];
        if !tenant.is_empty() {
            fields.push(("sixfold-claims", tenant));
        }
        let body = if method == Method::POST { r#"{"text": "t"}"# } else { "" };
        house.send("notes", method, path, &fields, body).await
    };
    // {"tenant":"acme"} and {"tenant":"other"}, as a gateway writes them.
    let (acme, other) = ("eyJ0ZW5hbnQiOiJhY21lIn0", "eyJ0ZW5hbnQiOiJvdGhlciJ9");
    let made = send(acme, Method::POST, NOTES).await;
    assert_eq!((made.status.as_u16(), &made.json()["tenant"]), (201, &json!("acme")), "{made:?}");
    let path = made.field("location").to_owned();
    for (tenant, status, count) in [(acme, 200, 1), (other, 404, 0), ("", 404, 0), ("nonsense", 404, 0)] {
        assert_eq!(send(tenant, Method::GET, &path).await.status, status, "{tenant}");
        let listed = send(tenant, Method::GET, NOTES).await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), count, "{tenant}");
    }
    assert_eq!(send("", Method::POST, NOTES).await.status, 403);
    house.stop().await;
}

async fn a_cursor_shows_nothing_of_records_that_its_reader_does_not_see(engine: Engine) {
    let house = house(engine).await;
    let put = |number: usize| Operation::Put {
        collection: "notes".into(),
        id: format!("hidden{number}"),
        data: Map::from_iter([("by".to_owned(), json!("ada")), ("public".to_owned(), json!(false))]),
        precondition: Precondition::None,
    };
    // One more than a page looks at.
    for from in (0..10_001).step_by(1000) {
        let operations = (from..10_001.min(from + 1000)).map(put).collect();
        let transaction = Transaction { namespace: "notes".into(), operations };
        house.database().transact(transaction).await.unwrap();
    }
    let page = send(&house, "bob", Method::GET, &format!("{NOTES}?order=by"), "").await.json();
    assert_eq!(page["items"], json!([]));
    let cursor = page["next"].as_str().expect("the page ended before the records did");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).unwrap();
    let shows = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(!shows(b"hidden") && !shows(b"ada") && !shows(b"by:"), "{}", String::from_utf8_lossy(&bytes));
    let rest = send(&house, "bob", Method::GET, &format!("{NOTES}?order=by&cursor={cursor}"), "").await;
    assert_eq!(rest.json(), json!({"items": [], "next": null}));
    let forged = format!("{}{}", &cursor[..cursor.len() - 4], "AAAA");
    let refused = send(&house, "bob", Method::GET, &format!("{NOTES}?order=by&cursor={forged}"), "").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "stale-cursor"));
    house.stop().await;
}

async fn a_count_tells_nothing_of_how_many_records_its_reader_does_not_see(engine: Engine) {
    let house = house(engine).await;
    let put = |number: usize| Operation::Put {
        collection: "notes".into(),
        id: format!("note{number:05}"),
        data: Map::from_iter([("by".to_owned(), json!(if number < 7 { "bob" } else { "ada" }))]),
        precondition: Precondition::None,
    };
    let fill = async |from: usize, to: usize| {
        for from in (from..to).step_by(1000) {
            let operations = (from..to.min(from + 1000)).map(put).collect();
            let transaction = Transaction { namespace: "notes".into(), operations };
            house.database().transact(transaction).await.unwrap();
        }
    };
    let count = async |who: &str, query: &str| {
        send(&house, who, Method::GET, &format!("{NOTES}?limit=1&{query}"), "").await.json()["count"].clone()
    };
    fill(0, 1_500).await;
    let of_editor = count("eve", "by=neq.bob&count=estimated").await;
    assert_eq!(of_editor["exact"], false, "who sees all may be told how many there are about: {of_editor}");
    assert!(of_editor["margin"].is_u64(), "{of_editor}");
    for kind in ["estimated", "exact"] {
        for query in ["order=by", "by=eq.bob"] {
            let counted = count("bob", &format!("{query}&count={kind}")).await;
            assert_eq!(counted, json!({"value": 7, "exact": true}), "{query} {kind}");
        }
    }
    // So many that they are not all looked at: the same, whether there are 11,000 hidden ones or 12,000.
    let mut told = Vec::new();
    for (from, to) in [(1_500, 11_000), (11_000, 12_000)] {
        fill(from, to).await;
        told.push(count("bob", "count=estimated").await);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!((&told[0]["exact"], told[0].get("margin")), (&json!(false), None), "{told:?}");
    assert!(told[0]["value"].as_u64().unwrap() <= 7, "at least so many: {told:?}");
    let fields = [("accept", "application/x-ndjson"), ("sixfold-subject", "bob"), ("sixfold-roles", "user")];
    let export = house.send("notes", Method::GET, &format!("{NOTES}?count=estimated"), &fields, "").await;
    assert!(export.field("sixfold-count").ends_with("; at-least"), "{:?}", export.fields);
    house.stop().await;
}

#[test]
fn rows_that_no_index_narrows_are_refused_at_the_start() {
    let mut config = Config::default();
    notes(&mut config);
    let collection = config.services.get_mut("notes").unwrap().collections.get_mut("notes").unwrap();
    collection.indexes.pop();
    let text = config.validate(&process::Services::default()).unwrap_err().to_string();
    assert!(text.contains("notes.rules") && text.contains("`public`"), "{text}");
}
