//! Following a collection's changes as server-sent events.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use database::{Operation, Precondition, Transaction};
use house::{Engine, House};
use http::Method;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

on_both_engines! {
    every_change_is_told_with_the_record_and_can_be_gone_on_from
    one_of_ten_followers_stalls_and_resumes_without_gap_or_repeat
    a_filter_tells_only_what_it_names_and_a_stop_ends_the_stream
    a_stream_ends_with_the_token_it_was_asked_for_with
    who_comes_from_before_what_is_kept_is_told_to_list_again
    who_comes_from_a_change_that_never_was_is_told_to_list_again
    a_soft_deletion_is_told_to_whom_the_record_was_shown
}

const PRODUCTS: &str = "/catalog/products";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// One event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: u64,
    kind: String,
    data: Value,
}

/// A client that reads what it asks for and nothing more, so that it can stall.
struct Follower {
    lines: BufReader<TcpStream>,
}

impl Follower {
    /// Follows from after an event on.
    async fn start(address: &str, query: &str, last: Option<u64>) -> Self {
        let last = last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
        Self::open(address, &format!("{PRODUCTS}/changes{query}"), &last).await
    }

    /// Follows with further fields in the head.
    async fn open(address: &str, path: &str, fields: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut follower = Self { lines: BufReader::new(stream) };
        let status = follower.line().await.unwrap();
        assert!(status.contains(" 200 "), "{status}");
        while !follower.line().await.unwrap().starts_with("retry:") {}
        follower
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await.unwrap();
        (read.unwrap_or(0) > 0).then(|| line.trim_end().to_owned())
    }

    /// Reads the next event; `None` when the service ends the stream.
    async fn next(&mut self) -> Option<Event> {
        let (mut id, mut kind) = (0, String::new());
        loop {
            let line = self.line().await?;
            if let Some(sent) = line.strip_prefix("id: ") {
                id = sent.parse().unwrap();
            } else if let Some(sent) = line.strip_prefix("event: ") {
                kind = sent.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some(Event { id, kind, data: serde_json::from_str(data).unwrap() });
            }
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.next().await.expect("the stream goes on"));
        }
        events
    }
}

async fn catalog(engine: Engine) -> House {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("catalog").await;
    house
}

/// Writes many records at once, as a busy house would.
async fn write(house: &House, prefix: &str, count: usize) {
    let note = "x".repeat(4000);
    let put = |number: usize| Operation::Put {
        collection: "products".into(),
        id: format!("{prefix}{number}"),
        data: Map::from_iter([("price".to_owned(), json!(number)), ("note".to_owned(), json!(note))]),
        precondition: Precondition::None,
    };
    for from in (0..count).step_by(100) {
        let operations = (from..count.min(from + 100)).map(put).collect();
        let transaction = Transaction { namespace: "catalog".into(), operations };
        house.database().transact(transaction).await.unwrap();
    }
}

async fn every_change_is_told_with_the_record_and_can_be_gone_on_from(engine: Engine) {
    let house = catalog(engine).await;
    let mut follower = Follower::start(house.address("catalog"), "", None).await;
    let made = house.post("catalog", PRODUCTS, &json!({"name": "Lamp", "price": 1})).await;
    let path = made.field("location").to_owned();
    let created = follower.next().await.unwrap();
    assert_eq!((created.kind.as_str(), &created.data["record"]), ("create", &made.json()));
    assert_eq!(made.field("etag"), format!("\"{}\"", created.id));
    let merge = [("content-type", "application/merge-patch+json")];
    house.send("catalog", Method::PATCH, &path, &merge, r#"{"price": 2}"#).await;
    house.send("catalog", Method::DELETE, &path, &[], "").await;
    let rest = follower.take(2).await;
    let kinds: Vec<_> = rest.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["update", "delete"]);
    assert_eq!(rest[1].data["record"], Value::Null);
    let mut again = Follower::start(house.address("catalog"), "", Some(created.id)).await;
    let ids: Vec<u64> = again.take(2).await.iter().map(|event| event.id).collect();
    assert_eq!(ids, [rest[0].id, rest[1].id]);
    house.stop().await;
}

async fn one_of_ten_followers_stalls_and_resumes_without_gap_or_repeat(engine: Engine) {
    const COUNT: usize = 3000;
    let house = catalog(engine).await;
    let address = house.address("catalog").to_owned();
    let mut stalled = Follower::start(&address, "", None).await;
    let mut others = JoinSet::new();
    for _ in 0..9 {
        let mut follower = Follower::start(&address, "?fields=price", None).await;
        others.spawn(async move { follower.take(COUNT).await });
    }
    // Twelve megabytes, which no socket buffers: the one that does not read is held up in earnest.
    write(&house, "a", COUNT).await;
    let all = others.join_all().await;
    let ids: Vec<u64> = all[0].iter().map(|event| event.id).collect();
    assert!(ids.is_sorted_by(|one, next| one < next));
    assert!(all.iter().all(|events| events.iter().map(|event| event.id).eq(ids.iter().copied())));
    let mut seen: Vec<u64> = stalled.take(10).await.iter().map(|event| event.id).collect();
    drop(stalled);
    let mut resumed = Follower::start(&address, "", seen.last().copied()).await;
    seen.extend(resumed.take(COUNT - 10).await.iter().map(|event| event.id));
    assert_eq!(seen, ids);
    house.stop().await;
}

async fn a_filter_tells_only_what_it_names_and_a_stop_ends_the_stream(engine: Engine) {
    let house = catalog(engine).await;
    write(&house, "early", 3).await;
    let mut follower =
        Follower::start(house.address("catalog"), "?price=gte.40&after=0&fields=price", None).await;
    write(&house, "a", 50).await;
    let names: Vec<Value> =
        follower.take(10).await.iter().map(|event| event.data["record"]["price"].clone()).collect();
    assert_eq!(names, (40..50).map(Value::from).collect::<Vec<_>>());
    for query in ["?order=name", "?cursor=x", "?limit=1", "?after=x", "?price=gte.x"] {
        let refused = house.get("catalog", &format!("{PRODUCTS}/changes{query}")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (400, "malformed-request"),
            "{query}"
        );
    }
    let refused = house.get("catalog", &format!("{PRODUCTS}/changes?nope=eq.1")).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "not-indexed"));
    let end = tokio::join!(house.stop(), follower.next()).1;
    assert_eq!(end, None);
}

async fn a_stream_ends_with_the_token_it_was_asked_for_with(engine: Engine) {
    let house = catalog(engine).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let follow = async |until: u64, query: &str| {
        let fields = format!("sixfold-subject: ada\r\nsixfold-valid-until: {until}\r\n");
        Follower::open(house.address("catalog"), &format!("{PRODUCTS}/changes{query}"), &fields).await
    };
    // With a token that lasts one goes on, be it for longer than any clock.
    let mut lasting = follow(u64::MAX, "").await;
    let mut brief = follow(now + 2, "").await;
    write(&house, "a", 1).await;
    let seen = brief.next().await.unwrap();
    assert_eq!(brief.next().await, None, "nothing more comes, though the service goes on");
    write(&house, "b", 1).await;
    let mut again = follow(now + 3600, &format!("?after={}", seen.id)).await;
    assert_eq!(again.next().await.unwrap().data["id"], "b0", "with another token nothing was missed");
    assert_eq!(lasting.take(2).await.len(), 2);
    house.stop().await;
}

async fn who_comes_from_before_what_is_kept_is_told_to_list_again(engine: Engine) {
    let mut house = House::without_database(engine, |_| {});
    house.keep_few_changes();
    house.start_database().await;
    house.start_service("catalog").await;
    write(&house, "a", 1).await;
    let seen = house.database().changes(Some("catalog"), 0, 1, PATIENCE).await.unwrap()[0].sequence;
    write(&house, "b", 1100).await;
    let from = loop {
        match house.database().changes(Some("catalog"), seen, 1, Duration::ZERO).await {
            Err(database::Error::ChangesGone { from }) => break from,
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    };
    for (query, last) in [("", Some(seen)), ("?after=0", None)] {
        let mut follower = Follower::start(house.address("catalog"), query, last).await;
        let told = follower.next().await.unwrap();
        assert_eq!((told.kind.as_str(), &told.data), ("reset", &json!({})));
        assert!(told.id >= from, "{} before {from}", told.id);
        let made = house.post("catalog", PRODUCTS, &json!({"name": "Lamp", "price": 1})).await;
        let next = follower.next().await.unwrap();
        assert_eq!((next.kind.as_str(), &next.data["record"]), ("create", &made.json()));
    }
    house.stop().await;
}

async fn who_comes_from_a_change_that_never_was_is_told_to_list_again(engine: Engine) {
    let house = catalog(engine).await;
    write(&house, "a", 3).await;
    let address = house.address("catalog").to_owned();
    for (query, last) in [("", Some(99_999_999_999_999)), ("?after=99999999999999", None)] {
        let mut follower = Follower::start(&address, query, last).await;
        let told = follower.next().await.unwrap();
        assert_eq!((told.kind.as_str(), &told.data), ("reset", &json!({})));
        let made = house.post("catalog", PRODUCTS, &json!({"name": "Lamp", "price": 1})).await;
        let next = follower.next().await.unwrap();
        assert_eq!((next.kind.as_str(), &next.data["record"]), ("create", &made.json()));
        assert!(next.id > told.id);
        // The latest there is was given out.
        let mut latest = Follower::start(&address, "", Some(next.id)).await;
        write(&house, "b", 1).await;
        assert_ne!(latest.next().await.unwrap().kind, "reset");
    }
    house.stop().await;
}

async fn a_soft_deletion_is_told_to_whom_the_record_was_shown(engine: Engine) {
    let mut house = House::start(engine, |config| {
        let service = json!({ "listen": "127.0.0.1:0", "collections": { "notes": {
            "owner": "by", "indexes": ["by:text", "public:boolean"], "soft_delete": true,
            "rules": { "rows": "or=(public.is.true,by.eq.$subject)", "all_rows": ["editor"] },
        } } });
        config.services = BTreeMap::from([("notes".to_owned(), serde_json::from_value(service).unwrap())]);
    })
    .await;
    house.start_service("notes").await;
    let send = async |method: Method, path: &str, body: &str| {
        let fields = [("content-type", "application/json"), ("sixfold-subject", "ada")];
        house.send("notes", method, path, &fields, body).await
    };
    let path = "/notes/notes/changes?after=0";
    let follow = async |who: &str| {
        let roles = if who == "eve" { "editor" } else { "user" };
        let fields = format!("sixfold-subject: {who}\r\nsixfold-roles: {roles}\r\n");
        Follower::open(house.address("notes"), path, &fields).await
    };
    let mut names = Vec::new();
    for body in [r#"{"text": "hidden"}"#, r#"{"public": true}"#] {
        let made = send(Method::POST, "/notes/notes", body).await;
        names.push(made.json()["id"].clone());
        assert_eq!(send(Method::DELETE, made.field("location"), "").await.status, 204);
    }
    let last = send(Method::POST, "/notes/notes", r#"{"public": true}"#).await.json();
    let both = [("delete".to_owned(), names[0].clone()), ("delete".to_owned(), names[1].clone())];
    for (who, expected) in [("ada", &both[..]), ("bob", &both[1..]), ("eve", &both[..])] {
        let mut follower = follow(who).await;
        let mut told = Vec::new();
        loop {
            let event = follower.next().await.unwrap();
            if event.data["id"] == last["id"] {
                break;
            }
            told.push((event.kind, event.data["id"].clone()));
        }
        // Who sees every record is told of what was made and is gone, too.
        told.retain(|(kind, _)| kind == "delete");
        assert_eq!(told, expected, "{who}");
    }
    house.stop().await;
}
