//! A backend in the test's own process that keeps every byte it gets and judges it by [`crate::strict`].

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::strict::{Parsed, Request, parse_request};

/// The path of health probes, which are answered and not recorded.
const HEALTH: &str = "/health";

/// How long a request that broke off may take to be noticed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something a backend saw on one of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A whole, unambiguous request.
    Request(Request),
    /// Bytes that another parser could read in another way.
    Ambiguous {
        /// What is wrong with them.
        why: String,
        /// What arrived.
        bytes: String,
    },
    /// A request that broke off: unambiguous as far as it came.
    BrokenOff(String),
}

/// What the backend answers to a request: the bytes, and whether it closes the connection after them.
pub type Reply = (Vec<u8>, bool);

/// A backend that records.
#[derive(Debug, Clone)]
pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    unfinished: Arc<AtomicUsize>,
}

impl Recorder {
    /// Starts a backend that answers each request with its target.
    pub fn start() -> Self {
        Self::answering(|request| (answer(&request.target), false))
    }

    /// Starts a backend that answers as told. Its threads end with the process.
    pub fn answering(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let recorder = Self {
            address: listener.local_addr().expect("its address"),
            seen: Arc::default(),
            unfinished: Arc::default(),
        };
        let (seen, reply) = (Arc::clone(&recorder.seen), Arc::new(reply));
        let unfinished = Arc::clone(&recorder.unfinished);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (seen, reply) = (Arc::clone(&seen), Arc::clone(&reply));
                let unfinished = Arc::clone(&unfinished);
                std::thread::spawn(move || {
                    let mut middle = Middle { unfinished: &unfinished, is_in: false };
                    serve(connection, &seen, &*reply, &mut middle);
                });
            }
        });
        recorder
    }

    /// Gives where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes what was seen since the last call, once nobody is in the middle of a request any more.
    pub fn take(&self) -> Vec<Seen> {
        let until = Instant::now() + PATIENCE;
        while self.unfinished.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes a plain answer with a body.
pub fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Whether a connection is in the middle of a request.
struct Middle<'a> {
    unfinished: &'a AtomicUsize,
    is_in: bool,
}

impl Middle<'_> {
    fn set(&mut self, is_in: bool) {
        match (self.is_in, is_in) {
            (false, true) => _ = self.unfinished.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.unfinished.fetch_sub(1, Ordering::SeqCst),
            _ => {}
        }
        self.is_in = is_in;
    }
}

impl Drop for Middle<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

fn serve(
    mut connection: TcpStream,
    seen: &Mutex<Vec<Seen>>,
    reply: &dyn Fn(&Request) -> Reply,
    middle: &mut Middle<'_>,
) {
    let note = |what: Seen| seen.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    let _ = connection.set_nodelay(true);
    let (mut bytes, mut block) = (Vec::new(), vec![0; 64 << 10]);
    let mut is_asked_for = false;
    loop {
        middle.set(!bytes.is_empty());
        match parse_request(&bytes) {
            Parsed::Request(request, length) => {
                bytes.drain(..length);
                is_asked_for = false;
                let (answer, closes) = reply(&request);
                if request.target != HEALTH {
                    note(Seen::Request(request));
                }
                if connection.write_all(&answer).is_err() || closes {
                    return;
                }
            }
            Parsed::Ambiguous(why) => return note(Seen::Ambiguous { why, bytes: text(&bytes) }),
            Parsed::Incomplete => match connection.read(&mut block) {
                Ok(0) | Err(_) if bytes.is_empty() => return,
                Ok(0) | Err(_) => return note(Seen::BrokenOff(text(&bytes))),
                Ok(length) => {
                    bytes.extend_from_slice(&block[..length]);
                    if !is_asked_for && expects_continue(&bytes) {
                        is_asked_for = true;
                        let _ = connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                }
            },
        }
    }
}

/// Tells whether the head is there and its sender waits for 100 before the body.
fn expects_continue(bytes: &[u8]) -> bool {
    let end = bytes.windows(4).take(4 << 10).position(|window| window == b"\r\n\r\n");
    let head = end.map(|end| String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase());
    head.is_some_and(|head| head.contains("\r\nexpect: 100-continue"))
}
