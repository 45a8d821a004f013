//! The five backends of the tail measurement, in one process with one thread that mostly sleeps.
//!
//! `bench backends` runs it; the harness starts it anew for every measurement and asks it at the end, by
//! `GET /served`, how many requests came to each backend.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::scenario::Scenario;
use super::service::{Behaviour, Queue};
use crate::poll::Poller;

/// The body of every good answer: 150 bytes, as in the other measurements.
const BODY: [u8; 150] = [b'x'; 150];

/// Serves at these ports until it is ended.
pub(crate) fn run(scenario: Scenario, ports: &[u16]) -> anyhow::Result<()> {
    let mut backends = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let listener = TcpListener::bind(("127.0.0.1", *port))?;
        listener.set_nonblocking(true)?;
        let behaviour = scenario.behaviours()[index];
        backends.push(Backend { listener, behaviour, queue: Queue::default(), served: 0 });
    }
    Server::new(backends)?.run()
}

struct Backend {
    listener: TcpListener,
    behaviour: Behaviour,
    queue: Queue<Asked>,
    /// Requests of traffic that came.
    served: u64,
}

/// Which connection asked: its slot, and how often that had been reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    slot: usize,
    age: u64,
}

struct Connection {
    stream: Option<TcpStream>,
    age: u64,
    backend: usize,
    head: Vec<u8>,
}

struct Server {
    poller: Poller,
    backends: Vec<Backend>,
    connections: Vec<Connection>,
    free: Vec<usize>,
    /// Services under way by their end.
    ends: BinaryHeap<Reverse<(u64, usize, Asked)>>,
    began: Instant,
    rng: StdRng,
}

impl Server {
    fn new(backends: Vec<Backend>) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        for (index, backend) in backends.iter().enumerate() {
            poller.watch(&backend.listener, index as u64)?;
        }
        Ok(Self {
            poller,
            backends,
            connections: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            began: Instant::now(),
            rng: StdRng::seed_from_u64(1),
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        loop {
            let next = self.ends.peek().map(|Reverse((at, ..))| self.began + Duration::from_nanos(*at));
            self.poller.wait(next, &mut ready)?;
            for number in &ready {
                match (*number as usize).checked_sub(self.backends.len()) {
                    None => self.accept(*number as usize)?,
                    Some(slot) => self.read(slot),
                }
            }
            self.end_services();
        }
    }

    fn accept(&mut self, backend: usize) -> anyhow::Result<()> {
        let stream = match self.backends[backend].listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection { stream: None, age: 0, backend, head: Vec::new() });
            self.connections.len() - 1
        });
        self.poller.watch(&stream, (self.backends.len() + slot) as u64)?;
        let connection = &mut self.connections[slot];
        connection.stream = Some(stream);
        connection.backend = backend;
        connection.head.clear();
        Ok(())
    }

    fn read(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let Some(stream) = &mut connection.stream else { return };
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => connection.head.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            _ => return self.close(slot),
        }
        // Requests have no body, and none comes before the answer to the one before.
        if !connection.head.ends_with(b"\r\n\r\n") {
            return;
        }
        let is_traffic = connection.head.starts_with(b"GET / ");
        let is_count = connection.head.starts_with(b"GET /served ");
        connection.head.clear();
        let (backend, asked) = (connection.backend, Asked { slot, age: connection.age });
        self.backends[backend].served += u64::from(is_traffic);
        if is_count {
            let count = self.backends[backend].served.to_string();
            self.answer(asked, "200 OK", count.as_bytes());
        } else if is_traffic && self.backends[backend].behaviour.fails {
            self.answer(asked, "500 Internal Server Error", b"");
        } else if let Some(asked) = self.backends[backend].queue.arrive(asked) {
            let now = self.now();
            self.begin_service(backend, asked, now);
        }
    }

    fn begin_service(&mut self, backend: usize, asked: Asked, now: u64) {
        let behaviour = &self.backends[backend].behaviour;
        let work = behaviour.draw_work(&mut self.rng);
        self.ends.push(Reverse((behaviour.end_of(now, work), backend, asked)));
    }

    fn end_services(&mut self) {
        let now = self.now();
        while self.ends.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((at, backend, asked))) = self.ends.pop() else { return };
            self.answer(asked, "200 OK", &BODY);
            if let Some(next) = self.backends[backend].queue.depart() {
                // From the moment it should have begun: our own lateness takes nothing from the capacity.
                self.begin_service(backend, next, at);
            }
        }
    }

    fn answer(&mut self, asked: Asked, status: &str, body: &[u8]) {
        let connection = &mut self.connections[asked.slot];
        let Some(stream) = connection.stream.as_mut().filter(|_| connection.age == asked.age) else { return };
        let mut answer = Vec::with_capacity(256);
        let length = body.len();
        answer.extend_from_slice(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n").as_bytes());
        answer.extend_from_slice(body);
        if stream.write_all(&answer).is_err() {
            self.close(asked.slot);
        }
    }

    fn close(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        connection.stream = None;
        connection.age += 1;
        self.free.push(slot);
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}
