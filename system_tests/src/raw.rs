//! A client that writes bytes as they are given and reads answers one by one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long bytes are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What comes next on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// An answer.
    Answer(Answer),
    /// The other side closed, between two answers.
    Closed,
    /// The other side closed, or what it sent is no HTTP, in the middle of an answer.
    BrokenOff(String),
    /// Nothing for `PATIENCE`.
    Silence,
}

/// An answer as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head with its empty line.
    pub head: String,
    /// The body, without its chunks.
    pub body: Vec<u8>,
    /// What came after the last chunk.
    pub trailers: String,
}

impl Answer {
    /// Gives the value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Gives the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection of a client.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Raw {
    /// Connects.
    pub fn connect(to: impl Into<SocketAddr>) -> Self {
        let stream = TcpStream::connect(to.into()).expect("the server accepts");
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, bytes: Vec::new(), is_closed: false }
    }

    /// Sends bytes at once. A connection that is closed already is no fault: the answer tells.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends bytes in segments of a length.
    pub fn send_in_segments(&mut self, bytes: &[u8], length: usize) {
        for segment in bytes.chunks(length) {
            if self.stream.write_all(segment).is_err() {
                return;
            }
        }
    }

    /// Says that nothing more comes.
    pub fn finish_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads what comes next; `to` is the method that is answered.
    pub fn next(&mut self, to: &str) -> Next {
        let until = Instant::now() + PATIENCE;
        loop {
            match parse_answer(&self.bytes, to, self.is_closed) {
                Some(Ok((answer, length))) => {
                    self.bytes.drain(..length);
                    return Next::Answer(answer);
                }
                Some(Err(why)) => return Next::BrokenOff(format!("{why}: {}", self.shown())),
                None if self.is_closed && self.bytes.is_empty() => return Next::Closed,
                None if self.is_closed => return Next::BrokenOff(self.shown()),
                None => {}
            }
            if !self.fill(until) {
                return Next::Silence;
            }
        }
    }

    /// Reads the next answer that is final, past interim ones; fails the test when there is none.
    pub fn answer(&mut self, to: &str) -> Answer {
        loop {
            match self.next(to) {
                Next::Answer(answer) if answer.status < 200 && answer.status != 101 => {}
                Next::Answer(answer) => return answer,
                other => panic!("no answer: {other:?}"),
            }
        }
    }

    /// Reads bytes that are no HTTP message until there are `length` of them.
    pub fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        while self.bytes.len() < length {
            assert!(!self.is_closed && self.fill(until), "{} of {length} bytes came", self.bytes.len());
        }
        self.bytes.drain(..length).collect()
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(500)]).into_owned()
    }

    /// Reads what there is; false when the time is over.
    fn fill(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left)).expect("a socket option");
        let mut block = [0; 16 << 10];
        match self.stream.read(&mut block) {
            Ok(0) => self.is_closed = true,
            Ok(length) => self.bytes.extend_from_slice(&block[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => self.is_closed = true,
        }
        true
    }
}

/// Gives the value of a field in a head.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
}

/// Reads the answer at the beginning of the bytes, and its length.
fn parse_answer(bytes: &[u8], to: &str, is_closed: bool) -> Option<Result<(Answer, usize), String>> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .or(head.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let Some(status) = status else { return Some(Err("no status line".to_owned())) };
    let rest = &bytes[end..];
    let answer = |body: &[u8], trailers: &str| Answer {
        status,
        head: head.clone(),
        body: body.to_vec(),
        trailers: trailers.to_owned(),
    };
    if to == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Some(Ok((answer(b"", ""), end)));
    }
    if field(&head, "transfer-encoding").is_some() {
        let (body, trailers, length) = match parse_chunks(rest)? {
            Ok(parsed) => parsed,
            Err(why) => return Some(Err(why)),
        };
        return Some(Ok((answer(&body, &trailers), end + length)));
    }
    if let Some(length) = field(&head, "content-length") {
        let Ok(length) = length.parse::<usize>() else { return Some(Err("its length".to_owned())) };
        return rest.get(..length).map(|body| Ok((answer(body, ""), end + length)));
    }
    is_closed.then(|| Ok((answer(rest, ""), bytes.len())))
}

type Chunks = (Vec<u8>, String, usize);

fn parse_chunks(bytes: &[u8]) -> Option<Result<Chunks, String>> {
    let (mut body, mut at) = (Vec::new(), 0);
    let line_end =
        |at: usize| bytes[at..].windows(2).position(|window| window == b"\r\n").map(|end| at + end);
    loop {
        let end = line_end(at)?;
        let line = String::from_utf8_lossy(&bytes[at..end]).into_owned();
        let Ok(size) = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16) else {
            return Some(Err(format!("the chunk size {line:?}")));
        };
        at = end + 2;
        if size == 0 {
            let begin = at;
            loop {
                let end = line_end(at)?;
                let is_empty = end == at;
                at = end + 2;
                if is_empty {
                    return Some(Ok((body, String::from_utf8_lossy(&bytes[begin..end]).into_owned(), at)));
                }
            }
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return Some(Err("no CRLF after a chunk".to_owned()));
        }
        at += 2;
    }
}
