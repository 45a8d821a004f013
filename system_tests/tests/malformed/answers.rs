//! What a backend may send wrongly: the client gets 502 or a broken connection, and the next answer is its own.

use std::sync::Arc;

use system_tests::Alone;
use system_tests::raw::{Next, Raw};
use system_tests::recorder::{Recorder, answer};

use Outcome::{Bad, Good};

/// What the client may get.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// 502, or a connection that breaks off before the answer is whole.
    Bad,
    /// As `Bad`, or exactly this status and body.
    Good(u16, &'static str),
}

/// A case: the method it is asked with, what the backend sends, and whether it closes then.
struct Case {
    name: &'static str,
    method: &'static str,
    bytes: Vec<u8>,
    closes: bool,
    outcome: Outcome,
}

fn get(name: &'static str, bytes: impl AsRef<[u8]>, outcome: Outcome) -> Case {
    Case { name, method: "GET", bytes: bytes.as_ref().to_vec(), closes: false, outcome }
}

/// Makes a case after which the backend closes.
fn closing(name: &'static str, bytes: impl AsRef<[u8]>, outcome: Outcome) -> Case {
    Case { closes: true, ..get(name, bytes, outcome) }
}

/// Makes a case of an answer with a field line of its own and the body `hello`.
fn field(name: &'static str, line: &[u8], outcome: Outcome) -> Case {
    get(name, [b"HTTP/1.1 200 OK\r\n", line, b"\r\n\r\nhello"].concat(), outcome)
}

/// Makes a case of a chunked answer.
fn chunked(name: &'static str, body: &str, outcome: Outcome) -> Case {
    get(name, format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"), outcome)
}

/// What poisons a kept connection: an answer that nobody asked for.
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

fn table() -> Vec<Case> {
    let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let mut cases = framing();
    cases.extend(heads());
    cases.extend([
        get("a second answer behind the first", format!("{hello}{POISON}"), Good(200, "hello")),
        get("bytes behind the answer", format!("{hello}x"), Good(200, "hello")),
        get("CRLF behind the answer", format!("{hello}\r\n\r\n"), Good(200, "hello")),
        get(
            "204 with a body",
            format!("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len()),
            Good(204, ""),
        ),
        get(
            "204 with a chunked body",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Good(204, ""),
        ),
        get(
            "304 with a body",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len()),
            Good(304, ""),
        ),
        Case {
            method: "HEAD",
            ..get(
                "HEAD with a body",
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len()),
                Good(200, ""),
            )
        },
        Case {
            method: "HEAD",
            ..get(
                "HEAD with a chunked body",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                Good(200, ""),
            )
        },
        get("100 that nobody asked for", format!("HTTP/1.1 100 Continue\r\n\r\n{hello}"), Good(200, "hello")),
        get(
            "103 before the answer",
            format!("HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n{hello}"),
            Good(200, "hello"),
        ),
        get(
            "10,000 interim answers",
            format!(
                "{}{hello}",
                "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n".repeat(10_000)
            ),
            Good(200, "hello"),
        ),
        closing("interim answers and no other", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100), Bad),
        get(
            "101 that nobody asked for",
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{POISON}"),
            Bad,
        ),
        closing("nothing at all", "", Bad),
        closing("half a head", "HTTP/1.1 200 OK\r\nContent-Le", Bad),
        closing("a body cut short", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", Bad),
        closing(
            "a chunked body cut short",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Bad,
        ),
        closing("a body until the end", "HTTP/1.1 200 OK\r\n\r\nhello", Good(200, "hello")),
        closing("HTTP/1.0 until the end", "HTTP/1.0 200 OK\r\n\r\nhello", Good(200, "hello")),
    ]);
    cases
}

fn framing() -> Vec<Case> {
    vec![
        field("CL and TE", b"Content-Length: 5\r\nTransfer-Encoding: chunked", Bad),
        field("two CL", b"Content-Length: 5\r\nContent-Length: 4", Bad),
        field("two equal CL", b"Content-Length: 5\r\nContent-Length: 5", Good(200, "hello")),
        field("CL list", b"Content-Length: 5, 4", Bad),
        field("CL with plus", b"Content-Length: +5", Bad),
        field("CL negative", b"Content-Length: -5", Bad),
        field("CL hexadecimal", b"Content-Length: 0x5", Bad),
        field("CL empty", b"Content-Length:", Bad),
        field("CL of two to the 64 and 5", b"Content-Length: 18446744073709551621", Bad),
        field("CL before a colon with space", b"Content-Length : 5", Bad),
        field("TE twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Bad),
        field("TE: chunked, identity", b"Transfer-Encoding: chunked, identity", Bad),
        field("TE: xchunked", b"Transfer-Encoding: xchunked", Bad),
        field("TE before a colon with space", b"Transfer-Encoding : chunked\r\nContent-Length: 5", Bad),
        chunked("chunk size that is none", "g\r\nhello\r\n0\r\n\r\n", Bad),
        chunked("chunk size overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n", Bad),
        chunked("chunk size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", Bad),
        chunked("chunk size negative", "-5\r\nhello\r\n0\r\n\r\n", Bad),
        chunked("chunk without its CRLF", "5\r\nhello0\r\n\r\n", Bad),
        chunked("chunk ended by other bytes", "5\r\nhelloXX0\r\n\r\n", Bad),
        chunked("chunk size line ended by a bare LF", "5\nhello\r\n0\r\n\r\n", Bad),
        chunked("chunk extension with a bare LF", "5;a\nb\r\nhello\r\n0\r\n\r\n", Bad),
        chunked(
            "a chunked answer and another behind it",
            &format!("5\r\nhello\r\n0\r\n\r\n{POISON}"),
            Good(200, "hello"),
        ),
    ]
}

fn heads() -> Vec<Case> {
    let with = |field: &[u8]| [b"Content-Length: 5\r\n", field].concat();
    vec![
        field("bare CR in a value", &with(b"X: a\rSet-Cookie: b"), Bad),
        field("NUL in a value", &with(b"X: a\0b"), Bad),
        field("control character in a value", &with(b"X: a\x01b"), Bad),
        field("obs-fold", &with(b"X: a\r\n b"), Good(200, "hello")),
        field("space before the colon", &with(b"X : y"), Bad),
        field("empty field name", &with(b": y"), Bad),
        field("no colon", &with(b"X"), Bad),
        field("a head of 1 MiB", &with(format!("X: {}", "y".repeat(1 << 20)).as_bytes()), Bad),
        field("20,000 fields", &with(format!("{}Z: y", "X: y\r\n".repeat(20_000)).as_bytes()), Bad),
        get("no HTTP", "hello there, this is no HTTP\r\n\r\n", Bad),
        get("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
        get("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
        get("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
        get("a status of letters", "HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
        get("a status of zero", "HTTP/1.1 000 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
        get("a reason with a bare CR", "HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello", Bad),
        get("a reason with a NUL", "HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello", Bad),
        get("spaces before the status line", "  HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    ]
}

fn check(case: &Case, index: usize, balancer: &Alone) -> Result<(), String> {
    let mut client = Raw::connect(balancer.address);
    client.send(format!("{} /case/{index} HTTP/1.1\r\nHost: a\r\n\r\n", case.method).as_bytes());
    let got = loop {
        match client.next(case.method) {
            Next::Answer(answer) if answer.status < 200 && answer.status != 101 => {}
            got => break got,
        }
    };
    match (&got, case.outcome) {
        (Next::Answer(answer), Good(status, body))
            if (answer.status, answer.text().as_str()) == (status, body) => {}
        (Next::Answer(answer), _) if answer.status == 502 => {}
        (Next::Closed | Next::BrokenOff(_), _) => {}
        _ => return Err(format!("{:?} was expected, the client got {got:?}", case.outcome)),
    }
    // Whoever asks next, on this connection or another one, gets the answer to its own question.
    for turn in 0..4 {
        let target = format!("/next/{index}/{turn}");
        let mut next = Raw::connect(balancer.address);
        next.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
        match next.next("GET") {
            Next::Answer(answer) if answer.status == 200 && answer.text() == target => {}
            other => return Err(format!("{target} was answered {other:?}")),
        }
    }
    if matches!(got, Next::Answer(_)) {
        client.send(b"GET /same HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.next("GET") {
            Next::Answer(answer) if answer.status == 200 && answer.text() == "/same" => {}
            Next::Closed => {}
            other => return Err(format!("the next request of the same client got {other:?}")),
        }
    }
    Ok(())
}

/// Starts a backend that sends the case a target names, and its target for every other.
fn backend(cases: &Arc<Vec<Case>>) -> Recorder {
    let cases = Arc::clone(cases);
    Recorder::answering(move |request| {
        let case =
            request.target.strip_prefix("/case/").and_then(|index| cases.get(index.parse::<usize>().ok()?));
        match case {
            Some(case) => (case.bytes.clone(), case.closes),
            None => (answer(&request.target), false),
        }
    })
}

fn check_all(role: impl FnOnce(&Recorder) -> Alone) {
    let cases = Arc::new(table());
    let backend = backend(&cases);
    let role = role(&backend);
    let check = |(index, case): (usize, &Case)| {
        check(case, index, &role).err().map(|why| format!("{}: {why}", case.name))
    };
    let faults: Vec<String> = cases.iter().enumerate().filter_map(check).collect();
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

#[test]
fn no_malformed_answer_poisons_the_next_one_of_the_balancer() {
    check_all(|backend| Alone::balancer(&[backend.address()], "threads = 1\nhead_timeout = \"2s\"\n"));
}

#[test]
fn no_malformed_answer_poisons_the_next_one_of_a_gateway() {
    check_all(|backend| Alone::gateway(backend.address(), "[api_gateway.breaker]\nenabled = false\n"));
}
