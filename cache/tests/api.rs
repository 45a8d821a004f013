//! The server over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod running;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use process::client::Answer;
use process::{ClusterToken, HttpClient};
use running::{Running, config, start, token};

const DEADLINE: Duration = Duration::from_secs(10);

async fn call(
    server: &Running,
    token: &ClusterToken,
    method: &str,
    path: &str,
    body: &'static str,
) -> Answer {
    let url = format!("http://{}{path}", server.http);
    let method: Method = method.parse().unwrap();
    let request = Request::builder().method(method).uri(&url);
    HttpClient::new(token, DEADLINE).send(&url, request, Bytes::from(body), DEADLINE).await.unwrap()
}

#[tokio::test]
async fn a_value_put_over_http_is_read_over_http_and_resp() {
    let open = ClusterToken::default();
    let server = start(&config(), &open);
    assert_eq!(call(&server, &open, "PUT", "/cache/a%20b/c?ttl=60s", "value").await.status, 201);
    assert_eq!(call(&server, &open, "PUT", "/cache/a%20b/c?ttl=60s", "other").await.status, 204);
    let read = call(&server, &open, "GET", "/cache/a%20b/c", "").await;
    assert_eq!((read.status, &*read.body), (StatusCode::OK, b"other".as_slice()));
    let age = read.fields["cache-control"].to_str().unwrap();
    assert!(age == "max-age=60" || age == "max-age=59", "{age}");
    let client = redis::Client::open(format!("redis://{}", server.resp)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let value: String = redis::cmd("GET").arg("a b/c").query_async(&mut connection).await.unwrap();
    assert_eq!(value, "other");
    let statistics = call(&server, &open, "GET", "/statistics", "").await;
    let statistics: cache::Statistics = statistics.json("statistics").unwrap();
    assert_eq!((statistics.hits, statistics.misses, statistics.entries), (2, 0, 1));
    assert_eq!(call(&server, &open, "DELETE", "/cache/a%20b/c", "").await.status, 204);
    let gone = call(&server, &open, "GET", "/cache/a%20b/c", "").await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.fields["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_value_in_a_coding_is_refused_because_what_it_is_coded_in_would_be_forgotten() {
    let open = ClusterToken::default();
    let server = start(&config(), &open);
    let url = format!("http://{}/cache/k", server.http);
    let request = Request::builder().method(Method::PUT).uri(&url).header("content-encoding", "gzip");
    let answer =
        HttpClient::new(&open, DEADLINE).send(&url, request, Bytes::from("v"), DEADLINE).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.fields["accept-encoding"]),
        (415, &"identity".parse().unwrap())
    );
    assert_eq!(call(&server, &open, "GET", "/cache/k", "").await.status, 404);
}

#[tokio::test]
async fn what_is_wrong_is_a_problem() {
    let open = ClusterToken::default();
    let server = start(&cache::Config { max_value: 8, ..config() }, &open);
    for (method, path, body, status) in [
        ("PUT", "/cache/k", "123456789", 413),
        ("PUT", "/cache/k?ttl=soon", "v", 400),
        ("PUT", "/cache/k?ttl=0s", "v", 400),
        ("PUT", "/cache/k?tll=1s", "v", 400),
        ("POST", "/cache/k", "v", 405),
        ("GET", "/nothing", "", 404),
    ] {
        let answer = call(&server, &open, method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.fields["content-type"], "application/problem+json", "{method} {path}");
    }
}

#[tokio::test]
async fn only_health_is_open_where_a_token_is_set() {
    let (right, open) = (token("right"), ClusterToken::default());
    let server = start(&config(), &right);
    for path in ["/cache/k", "/statistics"] {
        assert_eq!(call(&server, &open, "GET", path, "").await.status, 401, "{path}");
    }
    assert_eq!(call(&server, &right, "GET", "/statistics", "").await.status, 200);
    for path in ["/health", "/readyz", "/livez"] {
        assert_eq!(call(&server, &open, "GET", path, "").await.status, 200, "{path}");
    }
}
