//! 100, 103, trailers, and the PROXY header.

use std::process::Command;

use system_tests::Alone;
use system_tests::raw::{Next, Raw};
use system_tests::recorder::{Recorder, Seen, answer};
use system_tests::strict::Request;

/// Gives the one request a backend saw.
fn only(backend: &Recorder) -> Request {
    match &backend.take()[..] {
        [Seen::Request(request)] => request.clone(),
        seen => panic!("{seen:?}"),
    }
}

#[test]
fn curl_that_expects_100_continue_gets_it_and_sends_its_body() {
    let backend = Recorder::start();
    let balancer = Alone::balancer(&[backend.address()], "");
    let body = "x".repeat(3 << 20);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &body).expect("the body");
    // Without 100 curl would send after a second by itself, so it is told to wait longer than it may take.
    let output = Command::new("curl")
        .args(["-sv", "--max-time", "20", "--expect100-timeout", "60", "-H", "Expect: 100-continue"])
        .args(["--data-binary", &format!("@{}", file.path().display())])
        .arg(format!("http://{}/x", balancer.address))
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("< HTTP/1.1 100 Continue") && said.contains("< HTTP/1.1 200 OK"), "{said}");
    assert_eq!(output.stdout, b"/x");
    assert!(only(&backend).body == body.as_bytes(), "the body is whole");
}

#[test]
fn early_hints_reach_the_client_before_the_answer() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let backend = Recorder::answering(move |request| {
        ([hints.as_bytes(), hints.as_bytes(), &answer(&request.target)].concat(), false)
    });
    let balancer = Alone::balancer(&[backend.address()], "");
    let mut client = Raw::connect(balancer.address);
    for _ in 0..2 {
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        for _ in 0..2 {
            let Next::Answer(hint) = client.next("GET") else { panic!("no hint") };
            assert_eq!(
                (hint.status, hint.field("link")),
                (103, Some("</style.css>; rel=preload")),
                "{hint:?}"
            );
        }
        assert_eq!(client.answer("GET").text(), "/x");
    }
    // Who speaks HTTP/1.0 knows no interim answers (RFC 9110 §15.2).
    let mut old = Raw::connect(balancer.address);
    old.send(b"GET /x HTTP/1.0\r\n\r\n");
    let Next::Answer(answer) = old.next("GET") else { panic!("no answer") };
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn trailers_pass_in_both_directions() {
    let backend = Recorder::answering(|_| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        (format!("{head}5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n").into_bytes(), false)
    });
    let balancer = Alone::balancer(&[backend.address()], "");
    let mut client = Raw::connect(balancer.address);
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTrailer: X-Check\r\n");
    client.send(b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Check: 2\r\n\r\n");
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{answer:?}");
    assert_eq!(answer.trailers.to_ascii_lowercase(), "x-sum: 5\r\n", "{answer:?}");
    let request = only(&backend);
    assert_eq!(request.trailers, [("x-check".to_owned(), "2".to_owned())], "{request:?}");
}

/// Asks through a balancer that is told who the client is; gives what the backend is told.
fn forwarded_for(header: &[u8]) -> Option<String> {
    let backend = Recorder::start();
    let keys = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let balancer = Alone::balancer(&[backend.address()], keys);
    let mut client = Raw::connect(balancer.address);
    client.send(header);
    client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    match client.next("GET") {
        Next::Answer(answer) if answer.status == 200 => only(&backend).field("x-forwarded-for"),
        _ => {
            assert_eq!(backend.take(), []);
            None
        }
    }
}

#[test]
fn a_proxy_header_tells_who_the_client_is_and_nobody_comes_without_one() {
    let client = Some("203.0.113.7".to_owned());
    assert_eq!(forwarded_for(b"PROXY TCP4 203.0.113.7 198.51.100.1 5555 80\r\n"), client);
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    binary.extend_from_slice(&[203, 0, 113, 7, 198, 51, 100, 1, 0x15, 0xb3, 0, 80]);
    assert_eq!(forwarded_for(&binary), client);
    assert_eq!(forwarded_for(b""), None, "without a header");
    assert_eq!(forwarded_for(b"PROXY TCP4 203.0.113.7\r\n"), None, "half a header");
}
