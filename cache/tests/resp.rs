//! The RESP server as its clients see it: bytes on a socket, and the `redis` crate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod running;

use std::net::SocketAddr;
use std::time::Duration;

use process::ClusterToken;
use redis::AsyncCommands;
use running::{config, start, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Inline commands on one connection, and the line each is answered with.
const TRANSCRIPT: &[(&str, &str)] = &[
    ("ping", "+PONG"),
    ("set k v", "+OK"),
    ("set k w nx", "$-1"),
    ("set other w xx", "$-1"),
    ("ttl k", ":-1"),
    ("ttl missing", ":-2"),
    ("expire k 100", ":1"),
    ("ttl k", ":100"),
    ("set k x keepttl", "+OK"),
    ("ttl k", ":100"),
    ("set k y", "+OK"),
    ("pttl k", ":-1"),
    ("set k v ex 10", "+OK"),
    ("ttl k", ":10"),
    ("expire k 0", ":1"),
    ("exists k", ":0"),
    ("expire k 10", ":0"),
    ("incr n", ":1"),
    ("incrby n 41", ":42"),
    ("decr n", ":41"),
    ("decrby n 1", ":40"),
    ("set s text", "+OK"),
    ("incr s", "-ERR value is not an integer or out of range"),
    ("incrby n 9223372036854775807", "-ERR increment or decrement would overflow"),
    ("decrby n -9223372036854775808", "-ERR decrement would overflow"),
    ("mset a 1 b 2", "+OK"),
    ("exists a b a missing", ":3"),
    ("dbsize", ":4"),
    ("del a missing", ":1"),
    ("unlink b", ":1"),
    ("select 0", "+OK"),
    ("select 1", "-ERR DB index is out of range"),
    ("client setname me", "+OK"),
    ("client setinfo lib-name x", "+OK"),
    ("client nothing", "-ERR unknown subcommand 'nothing'. Try CLIENT HELP."),
    ("command count", ":27"),
    ("command docs", "*0"),
    ("get", "-ERR wrong number of arguments for 'get' command"),
    ("mset a", "-ERR wrong number of arguments for 'mset' command"),
    ("mset a 1 b", "-ERR wrong number of arguments for 'mset' command"),
    ("set k v ex 0", "-ERR invalid expire time in 'set' command"),
    ("set k v px 9223372036854775807", "-ERR invalid expire time in 'set' command"),
    ("set k v ex x", "-ERR value is not an integer or out of range"),
    ("set k v nx xx", "-ERR syntax error"),
    ("set k v ex", "-ERR syntax error"),
    ("set k v ex 1 keepttl", "-ERR syntax error"),
    ("expire k 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
    ("scan x", "-ERR invalid cursor"),
    ("scan 0 count 0", "-ERR syntax error"),
    ("lpush l 1", "-ERR unknown command 'lpush', with args beginning with: 'l' '1' "),
    (
        "auth x",
        "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
    ),
    ("hello 4", "-NOPROTO unsupported protocol version"),
    ("flushdb", "+OK"),
    ("dbsize", ":0"),
];

/// What a Redis of version 7.0 answers otherwise: commands outside the subset, or newer ones.
const DIFFERENT_IN_REDIS: &[&str] =
    &["client setinfo lib-name x", "client nothing", "command count", "command docs", "lpush l 1"];

/// Sends bytes, closes the sending half and gives everything that comes back.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Runs inline commands one by one on one connection, and gives each reply as a line.
async fn replies(address: SocketAddr, commands: &[&str]) -> Vec<String> {
    let answer = exchange(address, format!("{}\r\n", commands.join("\r\n")).as_bytes()).await;
    answer.split_terminator("\r\n").map(str::to_owned).collect()
}

#[tokio::test]
async fn commands_answer_as_redis_answers() {
    let server = start(&config(), &ClusterToken::default());
    let commands: Vec<&str> = TRANSCRIPT.iter().map(|(command, _)| *command).collect();
    let answered = replies(server.resp, &commands).await;
    for ((command, expected), answer) in TRANSCRIPT.iter().zip(&answered) {
        assert_eq!(answer, expected, "{command}");
    }
    assert_eq!(answered.len(), TRANSCRIPT.len());
}

#[tokio::test]
async fn the_transcript_is_what_a_real_redis_answers() {
    let (_redis, address) = running::redis().await;
    let same = || TRANSCRIPT.iter().filter(|(command, _)| !DIFFERENT_IN_REDIS.contains(command));
    let commands: Vec<&str> = same().map(|(command, _)| *command).collect();
    let answered = replies(address, &commands).await;
    for ((command, expected), answer) in same().zip(&answered) {
        assert_eq!(answer, expected, "{command}");
    }
}

#[tokio::test]
async fn bulk_replies_have_their_length_and_set_get_gives_the_former_value() {
    let server = start(&config(), &ClusterToken::default());
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nset k v get\r\nset k w nx get\r\nget k\r\nmget k missing\r\necho hi\r\nclient getname\r\nquit\r\nget k\r\n";
    let expected = "+OK\r\n$4\r\na\r\nb\r\n$4\r\na\r\nb\r\n$1\r\nv\r\n$1\r\nv\r\n*2\r\n$1\r\nv\r\n$-1\r\n$2\r\nhi\r\n$-1\r\n+OK\r\n";
    assert_eq!(exchange(server.resp, request).await, expected);
}

#[tokio::test]
async fn resp3_has_maps_and_nulls_of_its_own() {
    let server = start(&config(), &ClusterToken::default());
    let answer = exchange(server.resp, b"hello 3 setname me\r\nget missing\r\nclient getname\r\n").await;
    assert!(answer.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "{answer}");
    assert!(
        answer.contains("$5\r\nproto\r\n:3\r\n") && answer.ends_with("*0\r\n_\r\n$2\r\nme\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_malformed_request_is_answered_and_ends_the_connection() {
    let server = start(&config(), &ClusterToken::default());
    for (request, expected) in [
        ("ping\r\n*1\r\n+x\r\nping\r\n", "+PONG\r\n-ERR Protocol error: expected '$', got '+'\r\n"),
        ("*2\r\n$3\r\nGET\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*-2x\r\nping\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    ] {
        assert_eq!(exchange(server.resp, request.as_bytes()).await, expected);
    }
    let http = exchange(server.resp, b"POST / HTTP/1.1\r\nset k v\r\n").await;
    assert!(http.starts_with("-ERR unknown command 'POST'") && !http.contains("+OK"), "{http}");
}

#[tokio::test]
async fn where_a_token_is_set_nothing_works_without_it() {
    let server = start(&config(), &token("right"));
    let answered = replies(
        server.resp,
        &["get k", "ping", "auth wrong", "auth other right", "hello 3 auth default wrong", "get k"],
    )
    .await;
    let refused = "-WRONGPASS invalid username-password pair or user is disabled.";
    let noauth = "-NOAUTH Authentication required.";
    assert_eq!(answered, [noauth, noauth, refused, refused, refused, noauth]);
    assert!(exchange(server.resp, b"hello\r\n").await.starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(replies(server.resp, &["auth right", "set k v", "ping"]).await, ["+OK", "+OK", "+PONG"]);
    assert_eq!(replies(server.resp, &["auth default right", "ping"]).await, ["+OK", "+PONG"]);
    let answer = exchange(server.resp, b"hello 2 auth default right\r\nget k\r\n").await;
    assert!(answer.starts_with("*14\r\n") && answer.ends_with("$1\r\nv\r\n"), "{answer}");
    let large = exchange(server.resp, b"*2\r\n$4\r\nAUTH\r\n$20000\r\n").await;
    assert_eq!(large, "-ERR Protocol error: unauthenticated bulk length\r\n");
}

#[tokio::test]
async fn a_connection_past_the_limit_is_told_so() {
    let server = start(&cache::Config { max_connections: 1, ..config() }, &ClusterToken::default());
    let mut first = TcpStream::connect(server.resp).await.unwrap();
    first.write_all(b"ping\r\n").await.unwrap();
    let mut pong = [0; 7];
    first.read_exact(&mut pong).await.unwrap();
    let mut second = TcpStream::connect(server.resp).await.unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "-ERR max number of clients reached\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_and_a_stranger_sooner() {
    for (token, after) in
        [(ClusterToken::default(), config().idle_timeout), (token("right"), Duration::from_secs(10))]
    {
        let server = start(&config(), &token);
        let mut stream = TcpStream::connect(server.resp).await.unwrap();
        let connected = tokio::time::Instant::now();
        // A whole request and the beginning of another.
        stream.write_all(b"ping\r\n*2\r\n$3\r\nGE").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let waited = connected.elapsed();
        assert!(
            waited + Duration::from_secs(1) > after && waited < after + Duration::from_secs(1),
            "{waited:?}"
        );
    }
}

#[tokio::test]
async fn a_stopping_server_closes_its_connections_and_ends() {
    let mut server = start(&config(), &ClusterToken::default());
    let mut idle = TcpStream::connect(server.resp).await.unwrap();
    idle.write_all(b"ping\r\n").await.unwrap();
    let mut pong = [0; 7];
    idle.read_exact(&mut pong).await.unwrap();
    server.shutdown.request();
    assert_eq!(idle.read(&mut pong).await.unwrap(), 0);
    server.tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_pipeline_of_large_values_comes_back_whole() {
    let server = start(&config(), &ClusterToken::default());
    let client = redis::Client::open(format!("redis://{}", server.resp)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let large = vec![7u8; 3 << 20];
    let (mut write, mut read) = (redis::pipe(), redis::pipe());
    for key in 0..4 {
        write.set(key, &large).ignore();
        write.set(format!("small:{key}"), key).ignore();
    }
    write.exec_async(&mut connection).await.unwrap();
    for key in 0..4 {
        read.get(key).get(format!("small:{key}"));
    }
    let values: Vec<Vec<u8>> = read.query_async(&mut connection).await.unwrap();
    for (key, pair) in values.chunks(2).enumerate() {
        assert!(pair[0] == large && pair[1] == key.to_string().as_bytes(), "{key}");
    }
}

#[tokio::test]
async fn the_redis_crate_works_over_both_protocols() {
    let server = start(&config(), &token("right"));
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://:right@{}/0?protocol={protocol}", server.resp);
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let options = redis::SetOptions::default().with_expiration(redis::SetExpiry::EX(60));
        let _: () = connection.set_options("greeting", "hello", options).await.unwrap();
        let read: (Option<String>, Option<String>) = connection.mget(&["greeting", "missing"]).await.unwrap();
        assert_eq!(read, (Some("hello".into()), None));
        let left: i64 = connection.ttl("greeting").await.unwrap();
        assert_eq!(left, 60);
        for key in 0..100 {
            let _: () = connection.set(format!("{protocol}:{key}"), key).await.unwrap();
        }
        let pattern = format!("{protocol}:*");
        let mut keys = connection.scan_match::<_, String>(pattern).await.unwrap();
        let mut met = std::collections::BTreeSet::new();
        while let Some(key) = keys.next_item().await {
            met.insert(key.unwrap());
        }
        drop(keys);
        assert_eq!(met.len(), 100);
        let info: redis::InfoDict = redis::cmd("INFO").query_async(&mut connection).await.unwrap();
        assert_eq!(info.get::<String>("redis_version").unwrap(), "7.2.4");
        let error = connection.lpush::<_, _, ()>("list", 1).await.unwrap_err().to_string();
        assert!(error.contains("unknown command"), "{error}");
    }
    let refused = redis::Client::open(format!("redis://:wrong@{}", server.resp)).unwrap();
    assert!(refused.get_multiplexed_async_connection().await.is_err());
}
