//! What the backends wrote down, beside what the clients saw.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use system_tests::load::Outcome;

/// A time during which no backend was alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hole {
    /// When the first backend was ended.
    pub(crate) from: Instant,
    /// When the balancer must know; from here on requests are refused with 503 and `Retry-After`.
    pub(crate) known: Instant,
    /// When the first backend was started again.
    pub(crate) back: Instant,
    /// When recovery must be over.
    pub(crate) recovered: Instant,
}

impl Hole {
    /// Tells whether an answer without a backend is as it should be.
    fn excuses(&self, outcome: &Outcome) -> bool {
        let ended = outcome.due + outcome.latency;
        let is_inside = ended >= self.from && outcome.due < self.recovered;
        let is_known = outcome.due >= self.known && ended < self.back;
        match outcome.status {
            Ok(503) if is_known => outcome.has_retry_after,
            Ok(502..=504) => is_inside && !is_known,
            _ => false,
        }
    }
}

/// What is counted over the runs of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u32,
    /// Whether no `POST` may fail either.
    pub(crate) is_harmless: bool,
    pub(crate) requests: usize,
    pub(crate) failed_idempotent: usize,
    pub(crate) reopened: usize,
    pub(crate) failed_posts: usize,
    pub(crate) repeated_posts: usize,
    pub(crate) refused_in_the_hole: usize,
    /// The longest time to an answer of 200, and whether it was a `POST`'s.
    pub(crate) worst: (Duration, bool),
    pub(crate) worst_refusal: Duration,
    pub(crate) examples: Vec<String>,
}

impl Tally {
    /// Adds a run.
    pub(crate) fn add(&mut self, outcomes: &[Outcome], ledgers: &Path, hole: Option<Hole>) {
        self.runs += 1;
        self.requests += outcomes.len();
        let began = outcomes.iter().map(|outcome| outcome.due).min();
        for outcome in outcomes {
            self.reopened += usize::from(outcome.is_reopened);
            match &outcome.status {
                Ok(200) => self.worst = self.worst.max((outcome.latency, outcome.is_post)),
                _ if hole.is_some_and(|hole| hole.excuses(outcome)) => {
                    self.refused_in_the_hole += 1;
                    self.worst_refusal = self.worst_refusal.max(outcome.latency);
                }
                _ if outcome.is_post => self.failed_posts += 1,
                failed => {
                    self.failed_idempotent += 1;
                    if self.examples.len() < 10 {
                        let at = began.map(|began| outcome.due - began);
                        self.examples.push(format!("{failed:?} due at {at:?}, after {:?}", outcome.latency));
                    }
                }
            }
        }
        self.repeated_posts += repeated_posts(ledgers);
    }

    /// Fails the test unless the bar is met.
    pub(crate) fn check(&self, name: &str) {
        let row = format!("| {name} {self}");
        println!("{row}");
        if let Some(table) = std::env::var_os("SIXFOLD_FAULT_TABLE") {
            append(Path::new(&table), &row);
        }
        let examples = self.examples.join("\n");
        assert_eq!(self.failed_idempotent, 0, "{name}: idempotent requests failed\n{examples}");
        assert_eq!(self.repeated_posts, 0, "{name}: a POST reached backends more than once");
        assert!(!self.is_harmless || self.failed_posts == 0, "{name}: POSTs failed");
        assert!(self.requests > 0, "{name}: nothing was asked");
    }
}

/// Adds a row to the table that is kept, which begins with what its columns are.
fn append(table: &Path, row: &str) {
    let mut file = File::options().create(true).append(true).open(table).expect("the table");
    if file.metadata().expect("its size").len() == 0 {
        let columns = "fault | runs | requests | failed idempotent | repeated POSTs | POSTs without an answer of 200 | \
            GETs sent again on a new connection by the client | slowest answer, ms | refused while all were down | \
            slowest refusal, ms";
        let rule = "|---".repeat(columns.split('|').count());
        writeln!(
            file,
            "# Faults under load\n\nWritten by `make soak`; a row per scenario.\n\n| {columns} |\n{rule}|"
        )
        .expect("the table's head");
    }
    writeln!(file, "{row}").expect("a row");
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, requests, failed_idempotent, reopened, failed_posts, repeated_posts, .. } = self;
        let (hole, worst) = (self.refused_in_the_hole, self.worst.0.as_millis());
        let method = if self.worst.1 { "POST" } else { "GET" };
        let refusal = self.worst_refusal.as_millis();
        write!(
            f,
            "| {runs} | {requests} | {failed_idempotent} | {repeated_posts} | {failed_posts} | {reopened} | {worst} ({method}) | {hole} | {refusal} |"
        )
    }
}

/// Counts how often a `POST` reached a backend after it had reached one.
fn repeated_posts(ledgers: &Path) -> usize {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for ledger in std::fs::read_dir(ledgers).expect("the ledgers").flatten() {
        for line in std::fs::read_to_string(ledger.path()).expect("a ledger").lines() {
            if let Some(id) = line.strip_prefix("POST ") {
                *seen.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
    assert!(!seen.is_empty(), "no POST reached any backend");
    seen.values().map(|times| times - 1).sum()
}

/// Counts the lines of one ledger.
pub(crate) fn lines(ledger: &Path) -> usize {
    std::fs::read(ledger).map(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0)
}
