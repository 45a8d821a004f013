//! What a request costs in allocations on its way from bytes to bytes: none, once the balancer has warmed up.
//!
//! A binary of its own, because the allocator counts for the whole process. What counts is the data plane's thread:
//! client and backends are threads whose buffers lie on the stack, and probes come once an hour. Hedges, which
//! allocate, are put off; that a request might be hedged is watched all the same, as by default.
//!
//! The rest of the process is not silent: upkeep looks at the cluster every 50 ms, and figures are published once a
//! second. What that comes to is counted first, without requests, and twice as much is allowed, and besides a fiftieth
//! of an allocation a request.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use load_balancer::Config;
use process::{Reload, Shutdown};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests until every list and buffer has the size it keeps.
const WARM_UP: usize = 4_000;

/// Requests that are counted.
const REQUESTS: usize = 20_000;

/// Allocations that are allowed besides what the process makes without requests.
const ALLOWED: usize = REQUESTS / 50;

/// How long it is watched without requests.
const IDLE: Duration = Duration::from_millis(500);

const GET: &str = "GET /products/42?view=full HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1.0\r\n\
    Accept: text/html,application/json;q=0.9\r\nAccept-Encoding: gzip, br\r\nCookie: session=0123456789abcdef\r\n\
    Connection: keep-alive\r\n\r\n";

const POST: &str = "POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n\
    Content-Length: 33\r\n\r\n{\"product\":\"0123456789\",\"n\":1234}";

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n01234567890123456789";

/// A connection whose bytes are kept on the stack.
struct Peer {
    stream: TcpStream,
    bytes: [u8; 4096],
    filled: usize,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, bytes: [0; 4096], filled: 0 }
    }

    /// Reads a head and so many bytes after it; false at the end.
    fn read(&mut self, after: impl Fn(&[u8]) -> usize) -> bool {
        loop {
            let filled = &self.bytes[..self.filled];
            if let Some(head) = filled.windows(4).position(|four| four == b"\r\n\r\n") {
                let end = head + 4 + after(&filled[..head]);
                if self.filled >= end {
                    self.bytes.copy_within(end..self.filled, 0);
                    self.filled -= end;
                    return true;
                }
            }
            match self.stream.read(&mut self.bytes[self.filled..]) {
                Ok(0) | Err(_) => return false,
                Ok(count) => self.filled += count,
            }
        }
    }

    fn exchange(&mut self, request: &str) {
        self.stream.write_all(request.as_bytes()).unwrap();
        assert!(self.read(|_| ANSWER.len() - ANSWER.find("\r\n\r\n").unwrap() - 4), "an answer comes");
    }
}

fn start_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Detached: they end with the process, which this test is alone in.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut peer = Peer::new(stream.unwrap());
            std::thread::spawn(move || {
                while peer.read(|head| if head.starts_with(b"POST") { 33 } else { 0 }) {
                    peer.stream.write_all(ANSWER.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

fn count(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.allocations + change.reallocations
}

#[test]
fn a_request_in_steady_state_allocates_nothing() {
    let backends = [start_backend(), start_backend()];
    let mut config = Config {
        listen: "127.0.0.1:0".to_owned(),
        threads: 1,
        backends: backends.map(|address| address.to_string().into()).to_vec(),
        ..Config::default()
    };
    config.health.interval = Duration::from_secs(3600);
    config.hedge.min_delay = Duration::from_secs(60);
    let bound = load_balancer::bind(Reload::fixed(config)).unwrap();
    let address = bound.address().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let shutdown = Shutdown::new(Duration::from_secs(1));
    let running = runtime.spawn(bound.run(shutdown.clone()));

    let mut client = Peer::new(TcpStream::connect(address).unwrap());
    for (name, request) in [("GET", GET), ("POST", POST)] {
        for _ in 0..WARM_UP {
            client.exchange(request);
        }
        let region = Region::new(ALLOCATOR);
        std::thread::sleep(IDLE);
        let idle = count(&region);
        let (region, began) = (Region::new(ALLOCATOR), Instant::now());
        for _ in 0..REQUESTS {
            client.exchange(request);
        }
        let (counted, intervals) = (count(&region), began.elapsed().as_secs_f64() / IDLE.as_secs_f64());
        let allowed = ALLOWED + (2.0 * intervals * idle as f64) as usize;
        assert!(counted <= allowed, "{counted} for {REQUESTS} times {name}, {allowed} are allowed");
    }

    shutdown.request();
    drop(client);
    runtime.block_on(running).unwrap().unwrap();
}
