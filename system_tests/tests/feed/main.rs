//! The change feed: ten followers, an open-loop writer, and one follower that stops reading.
//!
//! Followers are of a service (server-sent events over HTTP) or of the database itself (`/v1/changes`, a long poll).
//! Whatever the stalled one does, the others get every change; what it costs our processes stays bounded; and once it
//! comes back it gets what it missed, without a gap or a repeat. How late changes arrive is printed, not asserted:
//! `SIXFOLD_FEED_RATE` (writes a second), `SIXFOLD_FEED_BATCH` (writes a transaction), `SIXFOLD_FEED_SECONDS` and
//! `SIXFOLD_FEED_ROUNDS` make a measurement of it, and `SIXFOLD_FEED_TABLE` is where its table is written.

mod follower;
mod writer;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use follower::{Follower, Kind, Seen};
use rustix::process::Signal;
use system_tests::{Client, Database, Process, free_port, wait_until};
use tokio::task::JoinSet;
use writer::Load;

/// How many follow; the last of them stalls.
const FOLLOWERS: usize = 10;

/// How many events the one that stalls reads before.
const BEFORE_STALL: usize = 20;

/// What our processes may grow by for a follower that does not read; far less than what it misses in a measurement.
const GROWTH_KIB: u64 = 64 << 10;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_follower_of_a_service_holds_up_nobody_and_resumes_without_gap_or_repeat() {
    measure(Kind::Events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_follower_of_the_database_holds_up_nobody_and_resumes_without_gap_or_repeat() {
    measure(Kind::Pages).await;
}

/// A database and the service `catalog` before it.
struct House {
    database: Database,
    processes: [Process; 2],
    service: u16,
}

impl House {
    async fn start() -> Self {
        let (service, cache) = (free_port(), free_port());
        let database = Database::new(&format!(
            "[services]\ncatalog = {{ instances = [\"127.0.0.1:{service}\"], internal = true }}\n\
             [cache]\nresp_listen = \"127.0.0.1:{cache}\"\n"
        ));
        let config = database.folder().join("sixfold.toml").display().to_string();
        let own = database.start().await;
        let arguments = ["service", "catalog", "--admin", "127.0.0.1:0", "--config", &config];
        let catalog = Process::start(database.folder(), "catalog", &arguments);
        let client = Client::new(format!("http://127.0.0.1:{service}"));
        wait_until("the service is ready", || async {
            client.try_send("GET", "/health", &[], "").await.is_ok_and(|reply| reply.status == 200)
        })
        .await;
        Self { database, processes: [own, catalog], service }
    }

    fn follower(&self, kind: Kind) -> Follower {
        let port = match kind {
            Kind::Events => self.service,
            Kind::Pages => self.database.port(),
        };
        Follower { kind, port }
    }

    /// Gives the resident memory of the database and the service.
    fn memory_kib(&self) -> [u64; 2] {
        [0, 1].map(|number| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.processes[number].pid()));
            let status = status.expect("the status of a running process");
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        })
    }

    /// Gives the sequences of all changes of products.
    async fn changes(&self, after: u64) -> Vec<u64> {
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let reply = self.database.client().get(&format!("/v1/changes?after={after}&limit=1000")).await;
            let page = reply.json();
            let page = page.as_array().expect("changes");
            let Some(last) = page.last() else { return found };
            after = last["sequence"].as_u64().expect("a sequence");
            let products = page.iter().filter(|change| change["collection"] == "products");
            found.extend(products.map(|change| change["sequence"].as_u64().expect("a sequence")));
        }
    }
}

/// What one round found.
struct Round {
    acknowledged: usize,
    line: String,
}

async fn measure(kind: Kind) {
    let house = House::start().await;
    // What is allocated once and kept is there before anything is compared.
    round(&house, kind, false).await;
    let mut table = String::from(
        "| followers | one stalls | writes/s attempted | acknowledged | refused | not sent in time | events read by each | lag ms p50 | p99 | max | memory MiB: database, service | most grown by |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|\n",
    );
    for _ in 0..number("SIXFOLD_FEED_ROUNDS", 1) {
        for stalls in [false, true] {
            let round = round(&house, kind, stalls).await;
            assert!(round.acknowledged > 0, "nothing was written");
            println!("{}", round.line);
            writeln!(table, "{}", round.line).expect("a line");
        }
    }
    if let Some(file) = std::env::var_os("SIXFOLD_FEED_TABLE") {
        let mut file = std::fs::File::options().create(true).append(true).open(file).expect("the table");
        std::io::Write::write_all(&mut file, table.as_bytes()).expect("the table");
    }
    for mut process in house.processes {
        process.signal(Signal::TERM);
        process.end().await;
    }
}

async fn round(house: &House, kind: Kind, stalls: bool) -> Round {
    let (rate, batch) = (number("SIXFOLD_FEED_RATE", 400), number("SIXFOLD_FEED_BATCH", 1));
    let seconds = Duration::from_secs(number("SIXFOLD_FEED_SECONDS", 2));
    let from = house.changes(0).await.last().copied().unwrap_or(0);
    let before = house.memory_kib();
    let follower = house.follower(kind);
    let seen: Vec<Arc<Seen>> = (0..FOLLOWERS).map(|_| Arc::default()).collect();
    let mut following = JoinSet::new();
    let reading = if stalls { FOLLOWERS - 1 } else { FOLLOWERS };
    for seen in &seen[..reading] {
        following.spawn(follower.follow(from, Arc::clone(seen), None));
    }
    let mut stalled = JoinSet::new();
    if stalls {
        let seen = Arc::clone(&seen[FOLLOWERS - 1]);
        stalled.spawn(follower.follow(from, seen, Some(BEFORE_STALL)));
    }
    let load = Load::start(house.database.client(), rate, batch);
    let mut most = before;
    let ends = tokio::time::Instant::now() + seconds;
    while tokio::time::Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = larger(most, house.memory_kib());
    }
    let written = load.stop().await;
    let expected = house.changes(from).await;
    // Everybody who reads gets all of it, while the stalled one still holds its connection and reads nothing.
    wait_until("the followers have all changes", || async {
        seen[..reading].iter().all(|seen| seen.last() >= expected.last().copied())
    })
    .await;
    most = larger(most, house.memory_kib());
    let grown = most[0].max(before[0]) - before[0] + most[1].max(before[1]) - before[1];
    following.shutdown().await;
    if let Some(held) = stalled.join_next().await {
        let seen = Arc::clone(&seen[FOLLOWERS - 1]);
        let held = held.expect("it stalls");
        assert!(seen.count() >= BEFORE_STALL && seen.count() < expected.len(), "{} events", seen.count());
        drop(held);
        let last = seen.last().expect("it saw some");
        let mut resumed = JoinSet::new();
        resumed.spawn(follower.follow(last, Arc::clone(&seen), None));
        wait_until("the stalled one has all changes", || async { seen.last() >= expected.last().copied() })
            .await;
        resumed.shutdown().await;
    }
    for (number, seen) in seen.iter().enumerate() {
        assert!(seen.sequences() == expected, "follower {number} has a gap or a repeat");
    }
    if stalls {
        assert!(grown < GROWTH_KIB, "our processes grew by {grown} KiB");
    }
    let lag = lags(&seen[..reading]);
    let mib = |kib: u64| kib as f64 / 1024.0;
    let line = format!(
        "| {kind:?} | {} | {rate} | {} | {} | {} | {} | {} | {} | {} | {:.0}, {:.0} | {:.1} |",
        if stalls { "yes" } else { "no" },
        written.acknowledged,
        written.refused,
        written.unsent,
        expected.len(),
        lag[0],
        lag[1],
        lag[2],
        mib(most[0]),
        mib(most[1]),
        mib(grown),
    );
    Round { acknowledged: written.acknowledged, line }
}

fn larger(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [one[0].max(other[0]), one[1].max(other[1])]
}

/// Gives the median, the 99th percentile and the largest of the lags, in milliseconds.
fn lags(seen: &[Arc<Seen>]) -> [i64; 3] {
    let mut lags: Vec<i64> = seen.iter().flat_map(|seen| seen.lags_ms()).collect();
    lags.sort_unstable();
    let at =
        |share: f64| lags.get(((lags.len() as f64 - 1.0).max(0.0) * share) as usize).copied().unwrap_or(0);
    [at(0.5), at(0.99), at(1.0)]
}
