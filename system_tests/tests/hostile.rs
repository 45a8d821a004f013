//! Clients that mean no good, and others who are served meanwhile.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use system_tests::Alone;
use system_tests::raw::{Next, Raw};
use system_tests::recorder::Recorder;

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
