//! Clients that mean harm: each loses its connection or its stream, and others are served.

use std::time::Duration;

use proxy::Target;
use proxy::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw_http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
};
use crate::support::{Echo, Lane, Running, get, soon, start};

/// Reads what comes until the connection is closed.
async fn rest(stream: &mut tokio::net::TcpStream) -> String {
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.expect("closed and not reset");
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_end_is_answered_with_408_and_an_idle_connection_with_nothing() {
    for lane in Lane::BOTH {
        dawdle_in_a_head(lane).await;
    }
}

async fn dawdle_in_a_head(lane: Lane) {
    let backend = Echo::start().await;
    let limits = Limits { idle_timeout: Duration::from_secs(1), ..quick() };
    let running = lane.start(limits, Target::plain(backend.address));
    // A fresh connection; one that had an answer before; one that has sent what may yet begin HTTP/2; and two that
    // have sent nothing of a request.
    let mut clients = Vec::new();
    for begun in ["GET / HTTP/1.1\r\nHo", "P", "\r\n", ""] {
        let mut fresh = running.connect().await;
        fresh.write_all(begun.as_bytes()).await.unwrap();
        let mut used = running.connect().await;
        assert!(get(&mut used, "/").await.starts_with("HTTP/1.1 200"));
        used.write_all(begun.as_bytes()).await.unwrap();
        clients.push((begun, fresh));
        clients.push((begun, used));
    }
    for (begun, client) in &mut clients {
        let answer = rest(client).await;
        if begun.trim().is_empty() {
            assert_eq!(answer, "", "{lane:?} {begun:?}");
            continue;
        }
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{lane:?} {begun:?}: {answer}");
        assert!(answer.contains("Connection: close\r\n"), "{lane:?} {begun:?}: {answer}");
        assert!(answer.contains("urn:sixfold:problem:request-timeout"), "{lane:?} {begun:?}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_on_dawdling_after_408_is_closed() {
    for lane in Lane::BOTH {
        let backend = Echo::start().await;
        let running = lane.start(quick(), Target::plain(backend.address));
        let mut stream = running.connect().await;
        let dawdling = async {
            loop {
                if stream.write_all(b"x").await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon(dawdling).await;
        is_serving(&running).await;
    }
}

/// More of anything than is granted; fewer than an attack has.
const MANY: usize = 20_000;

/// Limits whose times a test can wait for.
fn quick() -> Limits {
    Limits {
        header_timeout: Duration::from_secs(1),
        body_idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    }
}

/// Sends frames without end; tells that the connection was ended before all could be sent or answered.
async fn flood(running: &Running, mut next: impl FnMut(usize) -> Vec<u8>) -> Option<u32> {
    let mut stream = raw_http2::connect(running.address).await;
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for number in 0..MANY {
            if writer.write_all(&next(number)).await.is_err() {
                return;
            }
        }
        // All was taken: then the other end must close by what it has read.
        std::future::pending().await
    };
    let read = raw_http2::read_to_end(&mut reader);
    tokio::select! {
        () = send => None,
        code = read => code,
    }
}

async fn is_serving(running: &Running) {
    assert!(get(&mut running.connect().await, "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    for lane in Lane::BOTH {
        reset_rapidly(lane).await;
    }
}

async fn reset_rapidly(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(Limits::default(), Target::plain(backend.address));
    let block = raw_http2::get_fields();
    soon(flood(&running, |number| {
        let stream = u32::try_from(2 * number + 1).unwrap();
        let mut both = raw_http2::frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        both.extend(raw_http2::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        both
    }))
    .await;
    is_serving(&running).await;
    let requests: usize = backend.text().iter().map(|text| text.matches("GET / ").count()).sum();
    assert!(requests < 1000, "{requests} of {MANY} requests reached the backend");
}

#[tokio::test]
async fn resets_of_streams_that_were_accepted_end_the_connection_too() {
    for lane in Lane::BOTH {
        reset_accepted_streams(lane).await;
    }
}

async fn reset_accepted_streams(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(Limits::default(), Target::plain(backend.address));
    let mut stream = raw_http2::connect(running.address).await;
    let post = raw_http2::fields(&[
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ]);
    for round in 0..50 {
        let streams = (0..20).map(|number| 2 * (20 * round + number) + 1);
        let mut begin: Vec<u8> = streams
            .clone()
            .flat_map(|number| raw_http2::frame(HEADERS, END_HEADERS, number, &post))
            .collect();
        begin.extend(raw_http2::frame(PING, 0, 0, &[1; 8]));
        // When the ping comes back, what came before it has been accepted.
        if stream.write_all(&begin).await.is_err()
            || raw_http2::read_until(&mut stream, PING, 0).await.is_none()
        {
            assert!(round > 5, "some resets are nobody's fault");
            return is_serving(&running).await;
        }
        let end: Vec<u8> = streams
            .flat_map(|number| raw_http2::frame(RST_STREAM, 0, number, &8_u32.to_be_bytes()))
            .collect();
        let _ = stream.write_all(&end).await;
    }
    panic!("a thousand streams were begun and reset");
}

#[tokio::test]
async fn floods_of_pings_settings_and_empty_data_end_the_connection() {
    for lane in Lane::BOTH {
        flood_with_what_is_answered_at_once(lane).await;
    }
}

async fn flood_with_what_is_answered_at_once(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(Limits::default(), Target::plain(backend.address));
    soon(flood(&running, |_| raw_http2::frame(PING, 0, 0, &[0; 8]))).await;
    soon(flood(&running, |_| raw_http2::frame(SETTINGS, 0, 0, &[]))).await;
    let block = raw_http2::fields(&[
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ]);
    soon(flood(&running, |number| match number {
        0 => raw_http2::frame(HEADERS, END_HEADERS, 1, &block),
        _ => raw_http2::frame(DATA, 0, 1, &[]),
    }))
    .await;
    is_serving(&running).await;
}

#[tokio::test]
async fn a_header_block_without_end_ends_the_connection() {
    for lane in Lane::BOTH {
        send_an_endless_block(lane).await;
    }
}

async fn send_an_endless_block(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(Limits::default(), Target::plain(backend.address));
    let more = raw_http2::fields(&[(b"x-more", &[b'a'; 120])]);
    soon(flood(&running, |number| match number {
        0 => raw_http2::frame(HEADERS, END_STREAM, 1, &raw_http2::get_fields()),
        _ => raw_http2::frame(CONTINUATION, 0, 1, &more),
    }))
    .await;
    soon(flood(&running, |number| match number {
        0 => raw_http2::frame(HEADERS, END_STREAM, 1, &raw_http2::get_fields()),
        _ => raw_http2::frame(CONTINUATION, 0, 1, &[]),
    }))
    .await;
    is_serving(&running).await;
    let seen: String = backend.text().concat();
    assert!(!seen.contains("x-more"), "nothing of it reached the backend");
}

#[tokio::test]
async fn a_header_block_that_dawdles_ends_the_connection_beside_a_stream_that_moves() {
    for lane in Lane::BOTH {
        dawdle_in_a_block(lane).await;
    }
}

async fn dawdle_in_a_block(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(quick(), Target::plain(backend.address));
    let mut stream = raw_http2::connect(running.address).await;
    let post = raw_http2::fields(&[
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ]);
    stream.write_all(&raw_http2::frame(HEADERS, END_HEADERS, 1, &post)).await.unwrap();
    let block = raw_http2::get_fields();
    stream.write_all(&raw_http2::frame(HEADERS, END_STREAM, 3, &block)).await.unwrap();
    raw_http2::read_to_end(&mut stream).await;
}

#[tokio::test]
async fn a_preface_that_dawdles_ends_the_connection() {
    for lane in Lane::BOTH {
        dawdle_in_the_preface(lane).await;
    }
}

async fn dawdle_in_the_preface(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(quick(), Target::plain(backend.address));
    for begun in [&b"PRI"[..], b"PRI * HTTP/2.0\r\n"] {
        let mut stream = running.connect().await;
        stream.write_all(begun).await.unwrap();
        raw_http2::read_to_end(&mut stream).await;
    }
}

#[tokio::test]
async fn more_fields_than_anybody_needs_are_refused() {
    for lane in Lane::BOTH {
        send_many_fields(lane).await;
    }
}

async fn send_many_fields(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(Limits::default(), Target::plain(backend.address));
    let mut stream = raw_http2::connect(running.address).await;
    let mut block = raw_http2::get_fields();
    for _ in 0..101 {
        block.extend(raw_http2::fields(&[(b"x", b"")]));
    }
    stream.write_all(&raw_http2::frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await.unwrap();
    let answer = raw_http2::read_until(&mut stream, HEADERS, 1).await.unwrap();
    let shown = String::from_utf8_lossy(&answer.payload).into_owned();
    assert_ne!(answer.payload[0], 0x88, "not 200: {shown:?}");
    assert!(backend.text().is_empty());
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed() {
    let backend = Echo::start().await;
    let running = start(quick(), Target::plain(backend.address));
    let mut stream = running.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // Reads only once the other end has given up: what the kernel holds, and then the end.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let mut received = 0;
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = soon(stream.read(&mut buffer)).await {
        received += count;
    }
    assert!(received < 64 << 20, "it got all of it");
}

#[tokio::test]
async fn a_stream_whose_client_grants_no_window_is_reset_and_the_connection_goes_on() {
    for lane in Lane::BOTH {
        grant_no_window(lane).await;
    }
}

async fn grant_no_window(lane: Lane) {
    let backend = Echo::start().await;
    let running = lane.start(quick(), Target::plain(backend.address));
    let mut stream = running.connect().await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 1.
    raw_http2::begin(&mut stream, &[0, 4, 0, 0, 0, 1]).await;
    let block = raw_http2::fields(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/large"),
    ]);
    stream.write_all(&raw_http2::frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await.unwrap();
    assert!(raw_http2::read_until(&mut stream, DATA, 1).await.is_some());
    assert!(raw_http2::read_until(&mut stream, RST_STREAM, 1).await.is_some());
    stream.write_all(&raw_http2::frame(PING, 0, 0, &[7; 8])).await.unwrap();
    assert_eq!(raw_http2::read_until(&mut stream, PING, 0).await.unwrap().payload, [7; 8]);
}

#[tokio::test]
async fn an_address_gets_as_many_connections_as_it_may_have() {
    let backend = Echo::start().await;
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let running = start(limits, Target::plain(backend.address));
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    get(&mut first, "/").await;
    get(&mut second, "/").await;
    let mut third = running.connect().await;
    assert_eq!(soon(third.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed without a word");
    drop(first);
    soon(async {
        loop {
            let mut again = running.connect().await;
            let _ = again.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if again.read(&mut [0; 1]).await.unwrap_or(0) == 1 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_more_streams_run_at_a_time_than_are_granted() {
    for lane in Lane::BOTH {
        open_many_streams(lane).await;
    }
}

async fn open_many_streams(lane: Lane) {
    let backend = Echo::start().await;
    let limits = Limits { max_streams: 2, ..Limits::default() };
    let running = lane.start(limits, Target::plain(backend.address));
    let mut stream = raw_http2::connect(running.address).await;
    let post = raw_http2::fields(&[
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ]);
    // Only an acknowledged limit binds (RFC 9113 §6.5.3).
    assert!(raw_http2::read_until(&mut stream, SETTINGS, 0).await.is_some());
    stream.write_all(&raw_http2::frame(SETTINGS, 1, 0, &[])).await.unwrap();
    for number in [1, 3, 5] {
        stream.write_all(&raw_http2::frame(HEADERS, END_HEADERS, number, &post)).await.unwrap();
    }
    let refused = raw_http2::read_until(&mut stream, RST_STREAM, 5).await.unwrap();
    assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM");
}
