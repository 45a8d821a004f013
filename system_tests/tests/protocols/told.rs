//! What the balancer tells of a request: to the client by a cookie and a field, to its owner by a log.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use system_tests::Alone;
use system_tests::raw::Raw;
use system_tests::recorder::{Recorder, answer};

/// How long a log may take to be written or opened anew.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts backends that answer with their number.
fn numbered(count: usize) -> Vec<Recorder> {
    (0..count).map(|number| Recorder::answering(move |_| (answer(&number.to_string()), false))).collect()
}

fn balancer(backends: &[Recorder], keys: &str) -> Alone {
    let addresses: Vec<_> = backends.iter().map(Recorder::address).collect();
    Alone::balancer(&addresses, keys)
}

/// Asks with a cookie jar; gives the backend's number.
fn ask_with(jar: &Path, balancer: &Alone) -> String {
    let jar = jar.display().to_string();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "10", "-b", &jar, "-c", &jar])
        .arg(format!("http://{}/x", balancer.address))
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_cookie_jar_keeps_a_client_at_its_backend_and_a_forged_one_does_not() {
    let backends = numbered(5);
    let keys = "policy = { sticky_cookie = { cookie = \"at\" } }\nsticky_secret = \"a secret of the test\"\n";
    let balancer = balancer(&backends, keys);
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = Vec::new();
    for client in 0..20 {
        let jar = folder.path().join(client.to_string());
        let first = ask_with(&jar, &balancer);
        let again: Vec<String> = (0..5).map(|_| ask_with(&jar, &balancer)).collect();
        assert_eq!(again, vec![first.clone(); 5], "client {client}");
        places.push((first, jar));
    }
    let all_at_one = places.iter().all(|(place, _)| *place == places[0].0);
    assert!(!all_at_one, "twenty clients are all at {}", places[0].0);
    // One changed character of the signature, and the cookie says nothing.
    let (_, jar) = &places[0];
    let text = std::fs::read_to_string(jar).expect("the jar");
    let value = text.trim_end().rsplit('\t').next().expect("a value").to_owned();
    let mut forged = value.clone().into_bytes();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("text");
    let mut client = Raw::connect(balancer.address);
    client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\nCookie: at={forged}\r\n\r\n").as_bytes());
    assert!(client.answer("GET").field("set-cookie").is_some(), "a forged cookie is believed");
    client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\nCookie: at={value}\r\n\r\n").as_bytes());
    assert_eq!(client.answer("GET").field("set-cookie"), None, "a good one is not given again");
}

#[test]
fn who_asks_is_told_why_and_nobody_else() {
    let backends = numbered(5);
    let balancer = balancer(&backends, "explain = \"asked\"\n");
    let mut client = Raw::connect(balancer.address);
    client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let plain = client.answer("GET");
    assert_eq!(plain.field("sixfold-explain"), None, "{plain:?}");
    assert!(
        plain.field("server-timing").is_some_and(|timing| timing.starts_with("backend;dur=")),
        "{plain:?}"
    );
    client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nSixfold-Explain: 1\r\n\r\n");
    let asked = client.answer("GET");
    let explained = asked.field("sixfold-explain").expect("an explanation").to_owned();
    let number: usize = asked.text().parse().expect("the backend's number");
    let chosen = format!("chosen=\"{}\"", backends[number].address());
    for part in ["policy=latency", "considered=5", &chosen, "why=", "attempts=1", "retries=0", "hedges=0"] {
        assert!(explained.contains(part), "{part} is missing in {explained}");
    }
}

/// Reads a log once it has as many lines; every line is a JSON object.
fn lines(log: &Path, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        }
        assert!(began.elapsed() < PATIENCE, "not {count} lines: {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_goes_on_in_a_new_file_on_sighup() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let keys = format!("[load_balancer.access_log]\nmode = \"all\"\npath = \"{}\"\n", log.display());
    let backends = numbered(1);
    let balancer = balancer(&backends, &keys);
    let mut client = Raw::connect(balancer.address);
    let mut ask = |target: &str| {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes());
        assert_eq!(client.answer("GET").status, 200);
    };
    (0..20).for_each(|number| ask(&format!("/at/{number}?token=secret")));
    let logged = lines(&log, 20);
    for (number, line) in logged.iter().enumerate() {
        assert_eq!(line["path"], format!("/at/{number}"), "in order, and without the query: {line}");
        assert_eq!((&line["method"], &line["status"]), (&Value::from("GET"), &Value::from(200)), "{line}");
        assert_eq!(line["backend"], backends[0].address().to_string(), "{line}");
    }
    assert_eq!(logged.len(), 20);

    std::fs::rename(&log, &moved).expect("the log moves away");
    balancer.signal(Signal::HUP);
    let began = Instant::now();
    let mut asked = 20;
    while !log.exists() {
        assert!(began.elapsed() < PATIENCE, "no new file\n{}", balancer.log());
        ask(&format!("/at/{asked}"));
        asked += 1;
    }
    ask("/last");
    asked += 1;
    let began = Instant::now();
    while lines(&moved, 20).len() + lines(&log, 1).len() < asked {
        assert!(began.elapsed() < PATIENCE, "lines are missing");
    }
    let all: Vec<Value> = [lines(&moved, 20), lines(&log, 1)].concat();
    assert_eq!(all.len(), asked, "one line each");
    assert_eq!(all[asked - 1]["path"], "/last");
}
