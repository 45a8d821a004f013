//! Queries, headers, paths and methods.

use http::Method;
use serde_json::{Value, json};

use crate::house::Engine;
use crate::wire::{send, send_bytes};
use crate::{JSON, LOAN, LOANS, end, library, nested};

pub(crate) async fn a_question_that_makes_no_sense_is_refused(engine: Engine) {
    let house = library(engine).await;
    let groups = format!("or=({}", nested(12, "and(", "due.eq.1", ")"));
    let deep = format!("{groups})");
    let many = format!("due=in.({})", vec!["1"; 70].join(","));
    let long = format!("title=eq.{}", "x".repeat(1100));
    // What a rule adds is too much: it is the question that is refused.
    let almost_deep = format!("or=({})", nested(7, "and(", "due.eq.1", ")"));
    let almost_many = format!("or=({})", vec!["due.eq.1"; 63].join(","));
    let conditions = vec!["due=eq.1"; 60].join("&");
    let fields = format!("fields={}", vec!["a"; 70].join(","));
    let queries = [
        "due=%ff",
        "due=%",
        "due=%zz",
        "%ff=eq.1",
        "title=eq.%ED%A0%80",
        "title=eq.%C0%80",
        "due=eq.1e999",
        "due=eq.-1e999",
        "due=eq.NaN",
        "due=eq.Infinity",
        "due=eq.0x10",
        "due=eq.",
        "due=eq",
        "due=",
        "due",
        "=eq.1",
        "due=not.not.eq.1",
        "due=like.1*",
        "public=eq.1",
        "public=is.maybe",
        "due=in.1",
        "due=in.(1",
        "due=in.(1,x)",
        "title=eq.%22a%22b",
        "title=eq.%22a",
        "updated_at=eq.yesterday",
        "updated_at=eq.99999-01-01T00:00:00Z",
        "updated_at=eq.1",
        "or=()",
        "or=(due.eq.1",
        "or=due.eq.1",
        "or=(due.eq.1))",
        "or=(due)",
        "or=(.eq.1)",
        "or=(due.eq.1,,due.eq.2)",
        "and=(not.due.eq.1)",
        "order=",
        "order=,",
        "order=-",
        "order=--due",
        "order=due,nothing",
        "order=card",
        "order=a'b",
        "order=due%00",
        "limit=0",
        "limit=-1",
        "limit=1.5",
        "limit=99999999999999999999",
        "limit=x",
        "limit=",
        "limit=1&limit=2",
        "fields=",
        "fields=,",
        "fields=a..b",
        "fields=%00",
        "count=",
        "count=maybe",
        "deleted=maybe",
        "cursor=",
        "cursor=%00",
        "cursor=a%20b",
        "cursor=x",
        "cursor=AgAAAAAAAAAAAAAAAAAAAAAAW10",
        "card=eq.x",
        "card.x=eq.1",
        "or=(card.eq.x)",
        "nothing=eq.1",
        "a'%20OR%201=eq.1",
        "due;DROP%20TABLE=eq.1",
        "$where=eq.1",
        "due[$gt]=1",
        &deep,
        &many,
        &long,
        &conditions,
        &almost_deep,
        &almost_many,
        &fields,
    ];
    for query in queries {
        for path in [LOANS.to_owned(), format!("{LOANS}/changes")] {
            // Of changes no index is needed.
            if !["nothing=eq.1", "and=(not.due.eq.1)"].contains(&query) || path == LOANS {
                let answer = send(&house, "GET", &format!("{path}?{query}"), "", b"").await;
                answer.is_refusal(&format!("{path}?{query}"));
            }
        }
    }
    for query in ["limit=0", "limit=x", "cursor=", "cursor=x", "fields=a..b", "deleted=maybe", "fields=%ff"] {
        let answer = send(&house, "GET", &format!("{LOANS}/a/history?{query}"), "", b"").await;
        answer.is_refusal(&format!("history?{query}"));
    }
    // A cursor of another question, and one of which a byte was changed.
    for number in 0..3 {
        let loan = json!({"title": format!("t{number}"), "due": number}).to_string();
        assert_eq!(send(&house, "POST", LOANS, JSON, loan.as_bytes()).await.status, 201);
    }
    let page = send(&house, "GET", &format!("{LOANS}?limit=1&order=due"), "", b"").await;
    let page: Value = serde_json::from_slice(&page.body).unwrap();
    let cursor = page["next"].as_str().unwrap();
    let mut changed = cursor.to_owned().into_bytes();
    for place in 0..changed.len() {
        let kept = changed[place];
        changed[place] = if kept == b'A' { b'B' } else { b'A' };
        let query = format!("{LOANS}?limit=1&order=due&cursor={}", String::from_utf8_lossy(&changed));
        send(&house, "GET", &query, "", b"").await.is_refusal(&query);
        changed[place] = kept;
    }
    for query in ["order=-due", "order=due&due=gt.0", "order=due&deleted=include"] {
        let query = format!("{LOANS}?{query}&cursor={cursor}");
        send(&house, "GET", &query, "", b"").await.is_refusal(&query);
    }
    end(house).await;
}

pub(crate) async fn a_header_that_makes_no_sense_is_refused(engine: Engine) {
    let house = library(engine).await;
    let long = format!("idempotency-key: {}\r\n", "k".repeat(300));
    let refused: [(&str, &str, &[u8]); 18] = [
        ("GET", "/a", b"if-match: 7\r\n"),
        ("GET", "/a", b"if-match: \"7\r\n"),
        ("GET", "/a", b"if-match: *, \"7\"\r\n"),
        ("GET", "/a", b"if-none-match: \xff\xfe\r\n"),
        ("GET", "/a", b"if-match: \"99999999999999999999999\"\r\n"),
        ("DELETE", "/a", b"if-match: W/\"1\"\r\n"),
        ("DELETE", "/a", b"if-match:\r\n"),
        ("DELETE", "/a", b"idempotency-key:\r\n"),
        ("DELETE", "/a", b"idempotency-key: \"\"\r\n"),
        ("DELETE", "/a", b"idempotency-key: a\r\nidempotency-key: b\r\n"),
        ("DELETE", "/a", b"idempotency-key: \xc3\xa4\r\n"),
        ("DELETE", "/a", long.as_bytes()),
        ("GET", "/changes", b"last-event-id: -1\r\n"),
        ("GET", "/changes", b"last-event-id: 1.5\r\n"),
        ("GET", "/changes", b"last-event-id: x\r\n"),
        ("GET", "/changes", b"last-event-id: \xff\r\n"),
        ("GET", "/changes", b"last-event-id: 18446744073709551616\r\n"),
        ("GET", "/changes", b"last-event-id:\r\n"),
    ];
    for (method, path, fields) in refused {
        let answer = send_bytes(&house, method, format!("{LOANS}{path}").as_bytes(), fields, b"").await;
        answer.is_refusal(&format!("{method} {path} {}", String::from_utf8_lossy(fields)));
    }
    for after in
        ["-1", "+1", "x", "", "1e3", "18446744073709551616", "9223372036854775808", "1&after=2", "%31"]
    {
        let target = format!("{LOANS}/changes?after={after}");
        send(&house, "GET", &target, "", b"").await.is_refusal(&target);
    }
    for media_type in [
        &b"text/plain"[..],
        b"application/xml",
        b"application/jsonx",
        b"",
        b"\xff",
        b"application/json-patch+json",
    ] {
        let fields = [b"content-type: ", media_type, b"\r\n"].concat();
        let answer = send_bytes(&house, "POST", LOANS.as_bytes(), &fields, LOAN).await;
        assert_eq!(answer.status, 415, "{answer:?}");
        answer.is_refusal("a media type");
    }
    // What a gateway would never send: nobody is made of it.
    for fields in [
        &b"sixfold-subject: \xff\r\n"[..],
        b"sixfold-subject: a\r\nsixfold-claims: !!\r\n",
        b"sixfold-roles: ,,\r\n",
    ] {
        let answer = send_bytes(&house, "GET", format!("{LOANS}/a").as_bytes(), fields, b"").await;
        answer.is_well_said(&String::from_utf8_lossy(fields));
    }
    end(house).await;
}

pub(crate) async fn a_body_in_a_coding_is_refused(engine: Engine) {
    let house = library(engine).await;
    let lines = "{\"title\": \"b\", \"due\": 1}\n";
    for (method, path, media_type, body) in [
        (Method::POST, LOANS, "application/json", lines),
        (Method::POST, LOANS, "application/x-ndjson", lines),
        (Method::PUT, "/library/loans/b", "application/json", lines),
        (Method::PATCH, "/library/loans/a", "application/merge-patch+json", "{\"due\": 4}"),
        (Method::PATCH, "/library/loans/a", "application/json-patch+json", "[]"),
        (Method::POST, "/library/_batch", "application/json", "{\"operations\": []}"),
        (Method::POST, "/library:batch", "application/json", "{\"operations\": []}"),
    ] {
        for coding in ["gzip", "x-nothing", "identity, br"] {
            let fields = [("content-type", media_type), ("content-encoding", coding)];
            let answer = house.send("library", method.clone(), path, &fields, body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem()),
                (415, "unsupported-coding".to_owned()),
                "{path}"
            );
            assert_eq!(answer.field("accept-encoding"), "identity");
        }
    }
    let fields = [("content-type", "application/json"), ("content-encoding", "identity")];
    let none = house.send("library", Method::POST, LOANS, &fields, lines).await;
    assert_eq!(none.status, 201, "{none:?}");
    let unread =
        house.send("library", Method::GET, "/library/loans/a", &[("content-encoding", "gzip")], "").await;
    assert_eq!(unread.status, 200, "it has no body to be coded");
    let all = house.get("library", LOANS).await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "what was refused was not done: {all}");
    end(house).await;
}

pub(crate) async fn a_path_or_method_that_makes_no_sense_is_refused(engine: Engine) {
    let house = library(engine).await;
    let long = format!("{LOANS}/{}", "x".repeat(300));
    let paths = [
        "/",
        "/library",
        "/library/",
        "/library/loans/",
        "/library/nothing",
        "/library/loans/%00",
        "/library/loans/%ff",
        "/library/loans/a%2Fb",
        "/library/loans/%2E%2E%2Fa",
        "/library/loans/a b",
        "/library/loans/../loans",
        "/library/loans/a/b",
        "/library/loans/a/history/b",
        "/library/notes/a/restore",
        "/library/loans/nothing",
        "/library/loans/nothing/history",
        "/library/loans.deleted",
        "/library/loans.deleted/a",
        "/library/_keys",
        "/library/_keys/cursors",
        "/LIBRARY/loans",
        "//library/loans",
        "/library/loans/\u{e4}",
        &long,
    ];
    for path in paths {
        let answer = send(&house, "GET", path, "", b"").await;
        answer.is_refusal(path);
        assert!(!answer.body.is_empty(), "what is not HTTP is told so, too: {path}");
    }
    let too_long = format!("{LOANS}?title=eq.{}", "x".repeat(400_000));
    let answer = send(&house, "GET", &too_long, "", b"").await;
    assert_eq!((answer.status, answer.media_type.as_str()), (414, "application/problem+json"));
    let too_large = format!("a: {}\r\n", "x".repeat(400_000));
    let answer = send(&house, "GET", LOANS, &too_large, b"").await;
    assert_eq!((answer.status, answer.media_type.as_str()), (431, "application/problem+json"));
    for (method, path) in [
        ("POST", "/library/loans/nothing/restore"),
        ("POST", "/library/loans/a/restore"),
        ("DELETE", "/library/loans/nothing"),
        ("DELETE", "/library/loans/nothing?deleted=only"),
        ("PUT", "/library/loans/changes"),
        ("DELETE", "/library/loans"),
        ("PATCH", "/library/loans"),
        ("POST", "/library/loans/a"),
        ("PUT", "/library/_batch"),
        ("GET", "/library/_batch"),
        ("BREW", "/library/loans"),
        ("TRACE", "/library/loans/a"),
        ("POST", "/library/loans/a/history"),
    ] {
        send(&house, method, path, "", b"").await.is_refusal(&format!("{method} {path}"));
    }
    end(house).await;
}
