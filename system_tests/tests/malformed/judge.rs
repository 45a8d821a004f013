//! Sends a case and judges what came of it.

use std::net::SocketAddr;
use std::time::Duration;

use system_tests::raw::{Answer, Next, Raw};
use system_tests::recorder::{Recorder, Seen};
use system_tests::strict::Request;

/// Where a request that nobody should have sent would go.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Longer cases are not sent byte by byte.
const LONG: usize = 4 << 10;

/// A case: what is sent on a fresh connection, and what may come of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdict: Verdict,
}

/// What may come of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// One answer of 4xx, 501 or 505, then the connection is closed, and nothing reached the backend.
    Refused,
    /// The fault is in the body: as `Refused`, but the backend may have seen the beginning of one unambiguous
    /// request, which then broke off.
    CutOff,
    /// The connection ends, with or without an answer, once the client has said that it is done, and no whole
    /// request reached the backend.
    Nothing,
    /// Exactly these requests reached the backend, in this order, each with one answer.
    Forwarded(&'static [Expected]),
    /// The standard leaves the choice: refused as with `CutOff`, or forwarded as exactly this.
    Either(Expected),
}

/// A request as it should reach the backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) method: &'static str,
    pub(crate) target: &'static str,
    pub(crate) host: &'static str,
    pub(crate) body: &'static str,
}

/// Judges every case; the test fails with all that is wrong at once.
pub(crate) fn judge_all(table: &[Case], to: SocketAddr, backend: &Recorder, segment: Option<usize>) {
    let faults: Vec<String> = table
        .iter()
        .filter(|case| segment.is_none() || case.bytes.len() < LONG)
        .filter_map(|case| {
            let why = judge(case, to, backend, segment).err()?;
            // What is still under way belongs to this case and not to the next one.
            std::thread::sleep(Duration::from_millis(100));
            Some(format!("{}: {why}", case.name))
        })
        .collect();
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), table.len(), faults.join("\n"));
}

fn judge(case: &Case, to: SocketAddr, backend: &Recorder, segment: Option<usize>) -> Result<(), String> {
    backend.take();
    let mut client = Raw::connect(to);
    client.send_in_segments(&case.bytes, segment.unwrap_or(usize::MAX));
    let answers = match case.verdict {
        Verdict::Refused | Verdict::CutOff => read_refusal(&mut client)?,
        Verdict::Nothing => read_end(&mut client)?,
        Verdict::Forwarded(expected) => read_answers(&mut client, expected)?,
        Verdict::Either(expected) => {
            let method = expected.method;
            match client.next(method) {
                Next::Answer(answer) if answer.status == 200 => {
                    check_end(&mut client)?;
                    vec![answer]
                }
                Next::Answer(answer) if is_refusal(&answer) => {
                    check_closed(&mut client, &answer)?;
                    vec![answer]
                }
                other => return Err(format!("neither refused nor answered: {other:?}")),
            }
        }
    };
    check_next_client(to)?;
    let mut seen = backend.take();
    seen.retain(|seen| !matches!(seen, Seen::Request(request) if request.target == "/next"));
    let is_served = answers.first().is_some_and(|answer| answer.status == 200);
    if is_served || !case.bytes.starts_with(b"POST /x") {
        // A backend can notice late that the request of an earlier case broke off; this case has none such.
        seen.retain(|seen| !matches!(seen, Seen::BrokenOff(bytes) if bytes.starts_with("POST /x")));
    }
    if let Some(Seen::Ambiguous { why, bytes }) =
        seen.iter().find(|seen| matches!(seen, Seen::Ambiguous { .. }))
    {
        return Err(format!("ambiguous bytes reached the backend ({why}): {bytes:?}"));
    }
    match case.verdict {
        Verdict::Refused => match seen.is_empty() {
            true => Ok(()),
            false => Err(format!("refused with {} and yet the backend saw {seen:?}", answers[0].status)),
        },
        _ if answers.first().is_none_or(|answer| answer.status != 200) => match &seen[..] {
            // Where the fault is in the body, the head may have gone out; an earlier case's may be noticed late.
            seen if seen.iter().all(|seen| matches!(seen, Seen::BrokenOff(_))) => Ok(()),
            _ => Err(format!("it was refused, and yet the backend saw {seen:?}")),
        },
        Verdict::Forwarded(expected) => check_forwarded(&seen, expected),
        Verdict::Either(expected) => check_forwarded(&seen, &[expected]),
        Verdict::CutOff | Verdict::Nothing => Err("it was not refused".to_owned()),
    }
}

fn is_refusal(answer: &Answer) -> bool {
    (400..500).contains(&answer.status) || answer.status == 501 || answer.status == 505
}

fn read_refusal(client: &mut Raw) -> Result<Vec<Answer>, String> {
    match client.next("GET") {
        Next::Answer(answer) if is_refusal(&answer) => {
            check_closed(client, &answer)?;
            Ok(vec![answer])
        }
        other => Err(format!("not refused: {other:?}")),
    }
}

/// Reads to the end of the connection, past whatever comes.
fn read_end(client: &mut Raw) -> Result<Vec<Answer>, String> {
    client.finish_sending();
    match client.next("GET") {
        Next::Answer(answer) if is_refusal(&answer) => {
            check_closed(client, &answer)?;
            Ok(vec![answer])
        }
        Next::Closed | Next::BrokenOff(_) => Ok(Vec::new()),
        other => Err(format!("it did not end: {other:?}")),
    }
}

/// Checks that the server closes by itself after a refusal, without a second answer.
fn check_closed(client: &mut Raw, answer: &Answer) -> Result<(), String> {
    match client.next("GET") {
        Next::Closed => Ok(()),
        other => Err(format!("after the refusal ({}): {other:?}", answer.status)),
    }
}

fn read_answers(client: &mut Raw, expected: &[Expected]) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    for expected in expected {
        match client.next(expected.method) {
            Next::Answer(answer) if answer.status == 200 => answers.push(answer),
            other => return Err(format!("answer {} is {other:?}", answers.len() + 1)),
        }
    }
    check_end(client)?;
    Ok(answers)
}

/// Checks that nothing follows the answers, once the client said that it is done.
fn check_end(client: &mut Raw) -> Result<(), String> {
    client.finish_sending();
    match client.next("GET") {
        Next::Closed => Ok(()),
        // What is left in the buffer is no request; whether that is said makes no difference.
        Next::Answer(answer) if is_refusal(&answer) => check_closed(client, &answer),
        other => Err(format!("after the last answer: {other:?}")),
    }
}

/// Checks that the next client gets the answer to its own request.
pub(crate) fn check_next_client(to: SocketAddr) -> Result<(), String> {
    let mut next = Raw::connect(to);
    next.send(b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    match next.next("GET") {
        Next::Answer(answer) if answer.status == 200 && answer.body == b"/next" => Ok(()),
        other => Err(format!("the next client was answered {other:?}")),
    }
}

pub(crate) fn check_forwarded(seen: &[Seen], expected: &[Expected]) -> Result<(), String> {
    let requests: Vec<&Request> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Request(request) => Some(request),
            Seen::Ambiguous { .. } | Seen::BrokenOff(_) => None,
        })
        .collect();
    if requests.len() != expected.len() || seen.len() != expected.len() {
        return Err(format!("{} requests were expected, the backend saw {seen:?}", expected.len()));
    }
    for (request, expected) in requests.iter().zip(expected) {
        let host = request.field("host").unwrap_or_default();
        let is_right = request.method == expected.method
            && request.target == expected.target
            && host == expected.host
            && request.body == expected.body.as_bytes();
        if !is_right {
            return Err(format!("{expected:?} was expected, {request:?} came"));
        }
    }
    Ok(())
}

/// `GET /x` at the host `a`.
pub(crate) const GET: Expected = Expected { method: "GET", target: "/x", host: "a", body: "" };

/// `POST /x` with the body `hello`.
pub(crate) const POST: Expected = Expected { method: "POST", target: "/x", host: "a", body: "hello" };

/// `POST /x` with an empty body.
pub(crate) const EMPTY: Expected = Expected { body: "", ..POST };

/// Makes a case of a head's further lines: `POST /x` at the host `a`, each line ended, then a body.
pub(crate) fn post(name: &'static str, lines: &[u8], body: &str, verdict: Verdict) -> Case {
    let mut bytes = b"POST /x HTTP/1.1\r\nHost: a\r\n".to_vec();
    bytes.extend_from_slice(lines);
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body.as_bytes());
    Case { name, bytes, verdict }
}

/// Makes a case of all its bytes.
pub(crate) fn raw(name: &'static str, bytes: impl AsRef<[u8]>, verdict: Verdict) -> Case {
    Case { name, bytes: bytes.as_ref().to_vec(), verdict }
}
