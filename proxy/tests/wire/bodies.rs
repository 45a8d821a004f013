//! Bodies in both directions.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proxy::wire::Ending;
use tokio::io::AsyncWriteExt;

use crate::backend;
use crate::front::{Setup, start};
#[cfg(target_os = "linux")]
use crate::sockets::is_kept_alive;

#[tokio::test]
async fn a_chunked_upload_arrives_as_it_was_sent() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.read_until(b"0\r\nT: 1\r\n\r\n").await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nU: 2\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    caller.say(b"0\r\nT: 1\r\nHost: evil\r\n\r\n").await;
    let answer = caller.until("0\r\nU: 2\r\n\r\n").await;
    assert!(answer.contains("\r\nTransfer-Encoding: chunked\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\n3\r\nabc\r\n"), "{answer}");
    let got = record.text();
    assert!(got.contains("\r\nTransfer-Encoding: chunked\r\n"), "{got}");
    assert!(got.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_keeps_the_client_s() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\nuntil ").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        peer.say("the end").await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for _ in 0..2 {
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = caller.until("0\r\n\r\n").await;
        assert!(answer.contains("Transfer-Encoding: chunked\r\n"), "{answer}");
        assert!(answer.contains("6\r\nuntil \r\n") && answer.contains("7\r\nthe end\r\n"), "{answer}");
    }
    assert_eq!(record.connections(), 2);
    let old = lane.ask(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(old.ends_with("Connection: close\r\n\r\nuntil the end"), "{old}");
}

#[tokio::test]
async fn a_body_of_any_size_arrives_whole_behind_its_head() {
    let (address, _) = backend::start(|mut peer, _| async move {
        for size in [0, 1, 4095, 4096, 4097, 16_384, 32_700, 100_000, 3_000_000] {
            peer.head().await;
            let body: String = (0..size).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
            peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{body}")).await;
        }
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    for size in [0, 1, 4095, 4096, 4097, 16_384, 32_700, 100_000, 3_000_000] {
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let head = caller.until("\r\n\r\n").await;
        assert!(head.contains(&format!("Content-Length: {size}\r\n")), "{head}");
        let body = caller.bytes(size).await;
        assert!(body.iter().enumerate().all(|(at, byte)| *byte == b'a' + (at % 23) as u8), "{size}");
    }
}

#[tokio::test]
async fn a_backend_that_breaks_off_ends_the_client_s_connection() {
    for response in ["Content-Length: 9\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"] {
        let (address, _) = backend::start(move |mut peer, _| async move {
            peer.head().await;
            peer.say(&format!("HTTP/1.1 200 OK\r\n{response}")).await;
        })
        .await;
        let lane = start(address, Setup::default());
        let answer = lane.ask(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(answer.contains("short") && !answer.contains("0\r\n\r\n"), "{answer}");
        lane.seen.until(|seen| *seen.endings.lock().unwrap() == [Ending::BackendBroke]).await;
        assert_eq!(lane.seen.broken.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n").await;
    let answer = caller.until("big").await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("Connection: close\r\n"), "{answer}");
    // It is listened to a moment longer, so that no reset overtakes the answer.
    caller.say(&[0; 1000]).await;
    assert_eq!(caller.rest().await, "");
}

#[tokio::test]
async fn an_upload_goes_on_while_the_response_does() {
    const SIZE: usize = 8 << 20;
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).await;
        for _ in 0..SIZE / 65536 {
            let piece = peer.bytes(65536).await;
            peer.say(std::str::from_utf8(&piece).unwrap()).await;
        }
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).await;
    caller.until("\r\n\r\n").await;
    let piece = vec![b'x'; 65536];
    for _ in 0..SIZE / 65536 {
        caller.say(&piece).await;
        assert!(caller.bytes(65536).await == piece);
    }
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    caller.until("next").await;
}

#[tokio::test]
async fn a_large_upload_waits_for_a_slow_backend_and_arrives_whole() {
    const SIZE: usize = 16 << 20;
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let body = peer.bytes(SIZE).await;
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{sum:012}")).await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let body: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let mut caller = lane.connect().await;
    caller.say(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).await;
    caller.say(&body).await;
    caller.until(&format!("{sum:012}")).await;
}

#[tokio::test]
async fn interim_responses_reach_the_client() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        )
        .await;
        assert_eq!(peer.bytes(4).await, b"body");
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let interim = caller.until("100 Continue\r\n\r\n").await;
    assert_eq!(interim, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    assert!(record.text().contains("Expect: 100-continue\r\n"));
    caller.say(b"body").await;
    assert!(caller.until("ok").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_client_that_is_refused_instead_of_100_sends_nothing_and_is_closed() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let request = b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let answer = lane.ask(request).await;
    assert!(answer.ends_with("Connection: close\r\n\r\nno"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_carries_bytes_both_ways_and_keeps_half_closes() {
    let (address, record) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi")
            .await;
        assert_eq!(peer.bytes(9).await, b"firstmore");
        peer.closed().await;
        peer.say("after your end").await;
        peer.shut().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst").await;
    let answer = caller.until("\r\n\r\nhi").await;
    assert!(
        answer.contains("Upgrade: websocket\r\n") && answer.contains("Connection: upgrade\r\n"),
        "{answer}"
    );
    caller.say(b"more").await;
    caller.stream.shutdown().await.unwrap();
    assert_eq!(caller.rest().await, "after your end");
    assert!(record.text().contains("Upgrade: websocket\r\nConnection: upgrade\r\n"));
    lane.seen.until(|seen| seen.in_flight.load(Relaxed) == 0).await;
}

/// Opens a tunnel through a lane set up so; gives the client's end.
async fn tunnel(lane: &crate::front::Lane) -> crate::front::Caller {
    let mut caller = lane.connect().await;
    caller.say(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    caller.until("\r\n\r\nhi").await;
    caller
}

#[tokio::test]
async fn a_tunnel_that_one_side_has_closed_ends_when_the_other_is_silent() {
    const UPGRADED: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi";
    let (address, _) = backend::start(|mut peer, number| async move {
        peer.head().await;
        peer.say(UPGRADED).await;
        if number == 0 {
            peer.shut().await;
        }
        peer.closed().await;
    })
    .await;
    let mut setup = Setup::default();
    setup.rules.limits.body_idle = Duration::from_millis(100);
    let lane = start(address, setup);
    let mut closed_by_backend = tunnel(&lane).await;
    let mut closed_by_client = tunnel(&lane).await;
    let mut open = tunnel(&lane).await;
    closed_by_client.stream.shutdown().await.unwrap();
    lane.seen.until(|seen| seen.in_flight.load(Relaxed) == 1).await;
    assert_eq!(closed_by_backend.rest().await + &closed_by_client.rest().await, "");
    // The one that is open is not held to it.
    open.say(b"more").await;
    assert_eq!(lane.seen.in_flight.load(Relaxed), 1);
}

/// A backend that changes the protocol and answers each question mark.
async fn answering() -> (std::net::SocketAddr, backend::Record) {
    backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi")
            .await;
        while peer.read_until(b"?").await {
            peer.say("!").await;
        }
    })
    .await
}

#[tokio::test]
async fn a_tunnel_ends_by_its_silence_if_that_is_limited() {
    let (address, _) = answering().await;
    let mut setup = Setup::default();
    setup.rules.limits.tunnel_idle = Some(Duration::from_millis(1500));
    let lane = start(address, setup);
    let mut caller = tunnel(&lane).await;
    // For longer in all than it may be silent.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        caller.say(b"?").await;
        caller.until("!").await;
    }
    assert_eq!(caller.rest().await, "");
    lane.seen.until(|seen| seen.in_flight.load(Relaxed) == 0).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn both_ends_of_a_tunnel_are_asked_by_tcp() {
    let (address, _) = answering().await;
    let lane = start(address, Setup::default());
    let caller = tunnel(&lane).await;
    let (ours, theirs) = (lane.address.port(), caller.stream.local_addr().unwrap().port());
    let is_so = |_: &crate::front::Seen| {
        is_kept_alive(|local, remote| (local, remote) == (ours, theirs))
            && is_kept_alive(|_, remote| remote == address.port())
    };
    lane.seen.until(is_so).await;
}

#[tokio::test]
async fn a_client_that_falls_silent_is_told_so_and_nobody_else_is_blamed() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.closed().await;
    })
    .await;
    let mut setup = Setup::default();
    setup.rules.limits.body_idle = Duration::from_millis(100);
    let lane = start(address, setup);
    let answer = lane.ask(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbegun").await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    assert_eq!(*lane.seen.errors.lock().unwrap(), ["client timeout"]);
}

#[tokio::test]
async fn a_client_that_breaks_its_body_is_blamed_itself() {
    let (address, _) = backend::start(|mut peer, _| async move { peer.closed().await }).await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab").await;
    lane.seen.until(|seen| seen.in_flight.load(Relaxed) == 1).await;
    caller.say(b"cd\r\n").await;
    assert!(caller.rest().await.starts_with("HTTP/1.1 400"));
    assert_eq!(*lane.seen.errors.lock().unwrap(), ["client"]);
}

#[tokio::test]
async fn a_silent_backend_is_given_up() {
    let (address, _) = backend::start(|mut peer, _| async move { peer.closed().await }).await;
    let mut setup = Setup::default();
    setup.timeouts.head = Duration::from_millis(100);
    let lane = start(address, setup);
    let mut caller = lane.connect().await;
    for _ in 0..2 {
        caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = caller.until("\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
        assert!(!answer.contains("Connection: close"), "{answer}");
        caller.until("}").await;
    }
    assert_eq!(*lane.seen.errors.lock().unwrap(), ["timeout", "timeout"]);
}

#[tokio::test]
async fn a_body_that_is_malformed_at_once_is_a_bad_gateway() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["zz\r\n", "3\r\nabc\r\nzz", "3\r\nabcd", "ffffffffffffffffff\r\n"] {
        let (address, _) = backend::start(move |mut peer, _| async move {
            peer.head().await;
            peer.say(&format!("{head}{body}")).await;
            peer.closed().await;
        })
        .await;
        let lane = start(address, Setup::default());
        let mut caller = lane.connect().await;
        // Nothing was sent, so the connection can be kept.
        for _ in 0..2 {
            caller.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            let answer = caller.until("}").await;
            assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{body:?} {answer}");
            assert!(answer.contains("X-Added: 1\r\n") && !answer.contains("chunked"), "{answer}");
        }
        lane.seen.until(|seen| *seen.endings.lock().unwrap() == [Ending::BackendBroke; 2]).await;
        assert_eq!(lane.seen.broken.load(Relaxed), 2);
    }
}

#[tokio::test]
async fn what_is_good_of_a_body_that_becomes_malformed_is_passed_on() {
    let (address, _) = backend::start(|mut peer, _| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        peer.read_until(b"on").await;
        peer.say("3\r\nabc\r\nzz\r\n").await;
        peer.closed().await;
    })
    .await;
    let lane = start(address, Setup::default());
    let mut caller = lane.connect().await;
    caller.say(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n").await;
    let head = caller.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    caller.say(b"on").await;
    assert_eq!(caller.until("abc\r\n").await, "3\r\nabc\r\n");
    assert_eq!(caller.rest().await, "", "and its end is missing");
    lane.seen.until(|seen| *seen.endings.lock().unwrap() == [Ending::BackendBroke]).await;
}
