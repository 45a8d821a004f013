//! The open-loop load generator: requests leave at random moments of a fixed rate, whether answers come or not.
//!
//! Arrivals are a Poisson process from a seed, the same for every peer. Latency counts from the moment a request
//! should have left, so that a stall is charged to every request it delays (no coordinated omission). A request
//! that finds no free connection waits for one here, and its latency counts on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::connection::Connection;
use super::quantile;
use crate::poll::Poller;

/// How many connections are opened before the proxy is given a moment to accept them: its backlog is short.
const OPENED_AT_ONCE: usize = 64;

/// How long answers are waited for after the last request left.
const GRACE: Duration = Duration::from_secs(3);

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct OpenLoop<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'a str,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Connections, all opened before the first request; the one used last is used next.
    pub(crate) connections: usize,
    /// How long requests are sent before they count.
    pub(crate) warm_up: Duration,
    /// How long requests are sent that count.
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Of the good answers, and of requests never answered until they were given up; sorted.
    pub(crate) latencies: Vec<Duration>,
    /// Answers of 400 and more, connections that broke, requests never answered.
    pub(crate) errors: u64,
    /// Requests that counted.
    pub(crate) requests: u64,
    /// The most requests under way at a time.
    pub(crate) most_in_flight: usize,
    /// The 99th percentile of how late requests left: what the generator itself adds.
    pub(crate) lag_p99: Duration,
}

/// Sends until the time is over and all answers are there, or given up.
pub(crate) fn run(load: &OpenLoop<'_>) -> anyhow::Result<Outcome> {
    Generator::new(load)?.run(load)
}

struct Generator {
    poller: Poller,
    address: SocketAddr,
    request: Vec<u8>,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    /// Requests that found no connection.
    waiting: VecDeque<Instant>,
    counts_from: Instant,
    outcome: Outcome,
    lags: Vec<Duration>,
}

impl Generator {
    fn new(load: &OpenLoop<'_>) -> anyhow::Result<Self> {
        let OpenLoop { address, path, .. } = load;
        let expected = (load.rate * load.duration.as_secs_f64() * 1.1) as usize;
        let mut generator = Self {
            poller: Poller::new()?,
            address: *address,
            request: format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes(),
            connections: Vec::new(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            counts_from: Instant::now(),
            outcome: Outcome { latencies: Vec::with_capacity(expected), ..Outcome::default() },
            lags: Vec::with_capacity(expected),
        };
        for index in 0..load.connections {
            if index % OPENED_AT_ONCE == OPENED_AT_ONCE - 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let connection = Connection::open(*address)?;
            generator.poller.watch(&connection, index as u64)?;
            generator.connections.push(connection);
            generator.idle.push(index);
        }
        Ok(generator)
    }

    fn run(mut self, load: &OpenLoop<'_>) -> anyhow::Result<Outcome> {
        let mut rng = StdRng::seed_from_u64(load.seed);
        let mut next = Instant::now() + Duration::from_millis(10);
        self.counts_from = next + load.warm_up;
        let end = self.counts_from + load.duration;
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            while next <= now && next < end {
                self.send(next)?;
                next += gap(&mut rng, load.rate);
            }
            let all_answered = self.idle.len() == self.connections.len() && self.waiting.is_empty();
            if next >= end && (all_answered || now > end + GRACE) {
                return Ok(self.finish(now));
            }
            self.poller.wait(Some(if next < end { next } else { end + GRACE }), &mut ready)?;
            for number in &ready {
                self.receive(*number as usize)?;
            }
        }
    }

    fn reopen(&mut self, index: usize) -> anyhow::Result<()> {
        self.connections[index] = Connection::open(self.address)?;
        self.poller.watch(&self.connections[index], index as u64)
    }

    fn send(&mut self, scheduled: Instant) -> anyhow::Result<()> {
        let Some(index) = self.idle.pop() else {
            self.waiting.push_back(scheduled);
            return Ok(());
        };
        let in_flight = self.connections.len() - self.idle.len();
        self.outcome.most_in_flight = self.outcome.most_in_flight.max(in_flight);
        if scheduled >= self.counts_from {
            self.lags.push(scheduled.elapsed());
        }
        if self.connections[index].send(&self.request, scheduled).is_err() {
            // It was closed while idle, as a server may: a client opens another.
            self.reopen(index)?;
            self.connections[index].send(&self.request, scheduled)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let status = match connection.receive() {
            Ok(None) => return Ok(()),
            Ok(Some(status)) => Some(status),
            Err(_) => None,
        };
        let scheduled = connection.scheduled.take();
        if status.is_none() {
            self.reopen(index)?;
        }
        let Some(scheduled) = scheduled else { return Ok(()) };
        self.count(scheduled, status.is_some_and(|status| status < 400), Instant::now());
        self.idle.push(index);
        if let Some(scheduled) = self.waiting.pop_front() {
            self.send(scheduled)?;
        }
        Ok(())
    }

    fn count(&mut self, scheduled: Instant, is_good: bool, now: Instant) {
        if scheduled < self.counts_from {
            return;
        }
        self.outcome.requests += 1;
        if is_good {
            self.outcome.latencies.push(now - scheduled);
        } else {
            self.outcome.errors += 1;
        }
    }

    fn finish(mut self, now: Instant) -> Outcome {
        let unanswered = self.connections.iter().filter_map(|connection| connection.scheduled);
        for scheduled in unanswered.chain(self.waiting.drain(..)).collect::<Vec<_>>() {
            self.count(scheduled, false, now);
            if scheduled >= self.counts_from {
                self.outcome.latencies.push(now - scheduled);
            }
        }
        self.outcome.latencies.sort_unstable();
        self.lags.sort_unstable();
        self.outcome.lag_p99 = quantile(&self.lags, 0.99);
        self.outcome
    }
}

/// The time between two arrivals of a Poisson process.
fn gap(rng: &mut StdRng, rate: f64) -> Duration {
    let uniform: f64 = rng.random();
    Duration::from_secs_f64(-(1.0 - uniform).ln() / rate)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn gaps_have_the_mean_of_the_rate_and_the_spread_of_a_poisson_process() {
        let mut rng = StdRng::seed_from_u64(1);
        let gaps: Vec<f64> = (0..100_000).map(|_| gap(&mut rng, 1000.0).as_secs_f64() * 1e3).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    /// Answers 200, then 500, then closes the connection when a third request has come.
    fn serve_badly(mut stream: TcpStream) {
        let mut buffer = [0; 1024];
        for answer in ["200 OK", "500 Oops"] {
            let Ok(1..) = stream.read(&mut buffer) else { return };
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        let _ = stream.read(&mut buffer);
    }

    #[test]
    fn every_request_is_counted_once_whether_answered_refused_or_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(|| serve_badly(stream));
            }
        });
        let (warm_up, duration) = (Duration::ZERO, Duration::from_millis(50));
        let load = OpenLoop { address, path: "/", rate: 2000.0, connections: 4, warm_up, duration, seed: 3 };
        let outcome = run(&load).unwrap();
        let sent = {
            let mut rng = StdRng::seed_from_u64(3);
            let mut at = Duration::ZERO;
            std::iter::from_fn(|| {
                let now = at;
                at += gap(&mut rng, 2000.0);
                (now < duration).then_some(())
            })
            .count() as u64
        };
        assert_eq!(outcome.requests, sent);
        assert_eq!(outcome.errors + outcome.latencies.len() as u64, sent);
        assert!(outcome.errors > outcome.latencies.len() as u64, "{outcome:?}");
    }
}
