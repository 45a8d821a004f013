//! One follower, on a connection of its own, read as bytes so that it can stop reading.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// One change in so many has its lag measured.
const SAMPLE: u64 = 8;

/// What the kernel buffers of a follower at our end: little, so that one that stalls is felt soon.
const RECEIVE_BYTES: u32 = 16 << 10;

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A service's server-sent events.
    Events,
    /// Pages of the database's changes.
    Pages,
}

/// Where to follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follower {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
}

/// What a follower saw, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<(Vec<u64>, Vec<i64>)>);

impl Seen {
    pub(crate) fn last(&self) -> Option<u64> {
        self.lock().0.last().copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().0.len()
    }

    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.lock().0.clone()
    }

    pub(crate) fn lags_ms(&self) -> Vec<i64> {
        self.lock().1.clone()
    }

    /// Notes a change from the text that tells it.
    fn note(&self, sequence: u64, text: &str) {
        let mut seen = self.lock();
        seen.0.push(sequence);
        if sequence.is_multiple_of(SAMPLE)
            && let Some(at) = between(text, "\"at\":\"", "\"")
        {
            let at: Timestamp = at.parse().expect("a time");
            seen.1.push(Timestamp::now().duration_since(at).as_millis() as i64);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<u64>, Vec<i64>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Follows what came after a sequence. With `stall_after`, it stops reading after so many changes and gives the
    /// connection, which is open; without, it never ends.
    pub(crate) async fn follow(self, after: u64, seen: Arc<Seen>, stall_after: Option<usize>) -> TcpStream {
        let limit = stall_after.unwrap_or(usize::MAX);
        match self.kind {
            Kind::Events => self.follow_events(after, &seen, limit).await,
            Kind::Pages => self.follow_pages(after, &seen, limit).await,
        }
    }

    async fn connect(self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BYTES).expect("its buffer");
        socket.connect(([127, 0, 0, 1], self.port).into()).await.expect("a connection")
    }

    async fn follow_events(self, after: u64, seen: &Seen, limit: usize) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!(
            "GET /catalog/products/changes HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nlast-event-id: {after}\r\n\r\n",
            self.port
        );
        stream.write_all(head.as_bytes()).await.expect("a request is sent");
        let (mut text, mut sequence) = (String::new(), 0);
        loop {
            read_more(&mut stream, &mut text).await;
            // Chunks hold whole events, so the lines between them can be passed over.
            while let Some(end) = text.find('\n') {
                let line = text[..end].trim_end();
                if let Some(id) = line.strip_prefix("id: ") {
                    sequence = id.parse().expect("an event's id");
                } else if let Some(data) = line.strip_prefix("data: ") {
                    seen.note(sequence, data);
                    if seen.count() >= limit {
                        return stream;
                    }
                }
                text.drain(..=end);
            }
        }
    }

    async fn follow_pages(self, mut after: u64, seen: &Seen, limit: usize) -> TcpStream {
        let mut stream = self.connect().await;
        loop {
            let head = format!(
                "GET /v1/changes?namespace=catalog&after={after}&limit=1000&wait_ms=5000 HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n",
                self.port
            );
            stream.write_all(head.as_bytes()).await.expect("a request is sent");
            if seen.count() >= limit {
                // The answer comes, and is not read.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return stream;
            }
            let body = read_answer(&mut stream).await;
            for change in body.split("{\"sequence\":").skip(1) {
                after = change.split(',').next().expect("a number").parse().expect("a sequence");
                if change.contains("\"collection\":\"products\"") {
                    seen.note(after, change);
                }
            }
        }
    }
}

async fn read_more(stream: &mut TcpStream, text: &mut String) {
    let mut piece = vec![0; 64 << 10];
    let read = stream.read(&mut piece).await.expect("a connection that is read");
    assert!(read > 0, "the connection was closed after {text:?}");
    text.push_str(std::str::from_utf8(&piece[..read]).expect("text of one byte a character"));
}

/// Reads an answer with a `Content-Length` and gives its body.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        read_more(stream, &mut text).await;
        let Some(head) = text.find("\r\n\r\n") else { continue };
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let length = between(&text[..head], "content-length: ", "\r\n")
            .unwrap_or_else(|| text[..head].rsplit_once("content-length: ").expect("a length").1);
        let whole = head + 4 + length.parse::<usize>().expect("a length");
        if text.len() >= whole {
            return text[head + 4..whole].to_owned();
        }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
