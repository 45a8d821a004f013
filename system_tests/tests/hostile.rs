//! Clients that mean no good, and others who are served meanwhile.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use system_tests::raw::{Next, Raw};
use system_tests::recorder::{Recorder, answer};
use system_tests::{Alone, wait_until};

/// How long those who mean no good may stay.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks as an honest client does.
fn is_served(to: SocketAddr) -> bool {
    let mut client = Raw::connect(to);
    client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    matches!(client.next("GET"), Next::Answer(answer) if answer.status == 200 && answer.text() == "/x")
}

/// Tells whether a client was sent away: refused, or just closed.
fn is_sent_away(client: &mut Raw) -> bool {
    match client.next("POST") {
        Next::Answer(answer) => (400..500).contains(&answer.status),
        Next::Closed | Next::BrokenOff(_) => true,
        Next::Silence => false,
    }
}

#[test]
fn heads_that_never_end_are_given_up_and_others_are_served_meanwhile() {
    let backend = Recorder::start();
    let balancer = Alone::balancer(&[backend.address()], "header_timeout = \"1s\"\n");
    let mut slow: Vec<Raw> = (0..300).map(|_| Raw::connect(balancer.address)).collect();
    let began = Instant::now();
    // A byte at a time keeps a connection busy, and must not keep it open.
    for byte in b"GET /x HTTP/1.1\r\nX: " {
        slow.iter_mut().for_each(|client| client.send(&[*byte]));
        assert!(is_served(balancer.address));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(slow.iter_mut().all(is_sent_away), "a connection is still open after {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(backend.take().iter().all(|seen| matches!(seen, system_tests::recorder::Seen::Request(_))));
}

#[tokio::test]
async fn who_takes_all_descriptors_makes_no_backend_look_dead() {
    let backends = [Recorder::start(), Recorder::start()];
    let addresses = backends.each_ref().map(Recorder::address);
    let keys = "threads = 1\n[load_balancer.health]\ninterval = \"100ms\"\n";
    let balancer = Alone::balancer(&addresses, keys);
    wait_until("the backends are up", || async { balancer.states().await == ["up", "up"] }).await;
    balancer.limit_files(10);
    let mut greedy: Vec<Raw> = (0..40).map(|_| Raw::connect(balancer.address)).collect();
    let probes = || balancer.log().matches("no means for another connection").count();
    wait_until("no probe can be made", || async { probes() >= 10 }).await;
    let began = Instant::now();
    greedy[0].send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = greedy[0].answer("GET");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")), "{}", answer.text());
    assert!(began.elapsed() < Duration::from_secs(2), "it is no outage: {:?}", began.elapsed());
    drop(greedy);
    assert!(is_served(balancer.address));
    let told = balancer.admin().get("/v1/backends").await.json();
    for backend in told["backends"].as_array().expect("a list") {
        let said = (&backend["state"], &backend["ejections"], &backend["errors"]);
        assert_eq!(said, (&"up".into(), &serde_json::json!({}), &0.into()), "{backend}");
    }
}

#[test]
fn bodies_that_never_come_are_given_up_and_others_are_served_meanwhile() {
    let backend = Recorder::start();
    let balancer = Alone::balancer(&[backend.address()], "body_idle_timeout = \"1s\"\n");
    let mut slow: Vec<Raw> = (0..100).map(|_| Raw::connect(balancer.address)).collect();
    for client in &mut slow {
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello");
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert!(is_served(balancer.address));
    }
    assert!(slow.iter_mut().all(is_sent_away), "a connection is still open after {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn a_flood_of_connections_from_one_address_leaves_room_for_another() {
    let backend = Recorder::start();
    let keys = "max_connections = 200\nmax_connections_per_address = 50\n";
    let balancer = Alone::balancer(&[backend.address()], keys);
    let mut flood: Vec<Raw> = (0..400).map(|_| Raw::connect(balancer.address)).collect();
    let served = flood
        .iter_mut()
        .filter_map(|client| {
            client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
            matches!(client.next("GET"), Next::Answer(answer) if answer.status == 200).then_some(())
        })
        .count();
    assert!((1..=50).contains(&served), "{served} connections of one address were served");
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "10", "--interface", "127.0.0.2"])
        .arg(format!("http://{}/x", balancer.address))
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/x", "{output:?}\n{}", balancer.log());
    drop(flood);
    let began = Instant::now();
    while !is_served(balancer.address) {
        assert!(began.elapsed() < PATIENCE, "the address is still shut out");
    }
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The process's resident memory in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn who_grants_all_room_over_http_2_and_reads_nothing_takes_little_memory() {
    const CONNECTIONS: u64 = 3;
    const STREAMS: u32 = 100;
    let backend = Recorder::answering(|_| (answer(&"x".repeat(1 << 20)), false));
    let balancer =
        Alone::balancer(&[backend.address()], "threads = 1\n[load_balancer.limit]\ninitial = 1000\n");
    assert!(!is_served(balancer.address), "warm, though the answer is another one");
    let before = resident(balancer.pid());
    // A window of 2³¹-1 for each stream and nearly as much for the connection; then GETs of `/` at `a`, by indices of
    // HPACK's table where it has them.
    let begin = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
        frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes()),
    ];
    let gets = (0..STREAMS).map(|number| frame(1, 5, 2 * number + 1, b"\x82\x86\x84\x01\x01a"));
    let all: Vec<u8> = begin.into_iter().chain(gets).flatten().collect();
    let mut greedy: Vec<Raw> = (0..CONNECTIONS).map(|_| Raw::connect(balancer.address)).collect();
    greedy.iter_mut().for_each(|client| client.send(&all));
    let began = Instant::now();
    let (mut most, mut grew) = (before, Instant::now());
    while grew.elapsed() < Duration::from_secs(1) {
        assert!(began.elapsed() < PATIENCE, "it grows and grows");
        std::thread::sleep(Duration::from_millis(20));
        let now = resident(balancer.pid());
        if now > most {
            (most, grew) = (now, Instant::now());
        }
    }
    let each = (most - before) / (CONNECTIONS * u64::from(STREAMS));
    assert!(backend.take().len() > 100, "the requests reached the backend");
    // What h2 keeps, and two pieces of the body on their way; it was half a MiB before that was bounded.
    assert!(each < 256 << 10, "{each} bytes a stream");
}
