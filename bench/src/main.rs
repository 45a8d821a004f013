//! Side by side with the peers a user would pick instead: alternating rounds, medians, raw output kept.
//!
//! `balancer` measures CPU per request and latency of the load balancer beside HAProxy, nginx and Envoy, `tail`
//! what an odd backend does to the slowest answers, `memory` what bodies and idle connections cost, `records` creates,
//! reads and lists beside PocketBase, `commits` durable creates beside a bare loop over SQLite, `flow` a
//! cached read through load balancer, gateway and service, `idle` a house nobody asks. Everything runs on this
//! machine's loopback, bounded in time.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod balancer;
mod certificate;
mod floor;
mod flow;
mod idle;
mod load;
mod memory;
mod peers;
mod poll;
mod processes;
mod records;
mod report;
mod tail;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use peers::Peer;
use tail::scenario::Scenario;

/// What the product has: `commits` runs its engine in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures sixfold beside its peers and keeps the raw output.
#[derive(Debug, Parser)]
struct Args {
    /// How many alternating rounds; each benchmark has its own number
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// How long one measurement of a round takes, in seconds; each benchmark has its own
    #[arg(long, global = true)]
    seconds: Option<u64>,
    /// One round of one second each, to see that everything works
    #[arg(long, global = true)]
    quick: bool,
    /// Where results are written
    #[arg(long, default_value = "bench/results", global = true)]
    results: PathBuf,
    /// The binary to measure
    #[arg(long, default_value = "target/release/sixfold", global = true)]
    binary: PathBuf,
    /// Another binary of sixfold, measured in the same rounds
    #[arg(long, global = true)]
    beside: Option<PathBuf>,
    /// Measure only these: sixfold, haproxy, nginx, envoy
    #[arg(long = "peer", value_name = "NAME", global = true)]
    names: Vec<String>,
    /// Where bench/install.sh put the peers that Debian does not have
    #[arg(long, default_value = "target/peers", global = true)]
    peers: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// CPU per request and latency beside HAProxy, nginx and Envoy on a static backend (about 14 minutes)
    Balancer {
        /// Measure only these: main, 16k, upload, http2, connections, tls, handshakes, resumed, latency
        only: Vec<String>,
        /// Requests a second of `latency`, instead of half of what the slower of sixfold and HAProxy can do
        #[arg(long)]
        rate: Option<f64>,
    },
    /// The slowest answers with five backends, one of them odd (about 32 minutes)
    Tail {
        /// Measure only these situations
        only: Vec<Scenario>,
        /// Percent of the capacity offered; 50, 70 and 90 unless given
        #[arg(long = "load")]
        loads: Vec<u32>,
    },
    /// Resident memory of large bodies passing through, and of idle connections (about 3 minutes)
    Memory,
    /// Creates, reads and lists of records beside PocketBase (about 6 minutes)
    Records,
    /// Durable creates of 64 callers beside a bare loop over SQLite, and flushes a create
    Commits,
    /// A cached read through load balancer, gateway and service
    Flow,
    /// What `up` costs while nobody asks: start, memory, CPU
    Idle,
    /// All of them
    All,
    /// The callers of `commits` alone, whose flushes are counted
    #[command(hide = true)]
    Callers,
    /// The least of a proxy, in a process of its own
    #[command(hide = true)]
    Floor { port: u16, backend: u16 },
    /// The backends of `tail`, in a process of their own
    #[command(hide = true)]
    Backends { scenario: Scenario, ports: Vec<u16> },
}

impl Args {
    fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { usual })
    }

    /// Leaves of some load balancers those that are wanted, and adds the other binary of sixfold.
    fn peers_of(&self, all: &[Peer]) -> Vec<Peer> {
        let is_wanted = |peer: &&Peer| {
            self.names.is_empty() || self.names.iter().any(|name| peer.name().starts_with(name.as_str()))
        };
        let mut peers: Vec<Peer> = all.iter().filter(is_wanted).copied().collect();
        if self.beside.is_some() {
            peers.insert(peers.len().min(1), Peer::SixfoldBeside);
        }
        peers
    }

    fn seconds(&self, usual: u64) -> u64 {
        self.seconds.unwrap_or(if self.quick { 1 } else { usual })
    }
}

/// Gives those who are measured in the turn of a round: each is first as often as the others.
fn turns<T>(round: usize, of: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let mut turn: Vec<T> = of.collect();
    let first = round.saturating_sub(1) % turn.len().max(1);
    turn.rotate_left(first);
    turn.into_iter()
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    processes::raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &args.what {
        What::Balancer { only, rate } => balancer::run(&args, only, *rate),
        What::Tail { only, loads } => tail::run(&args, only, loads),
        What::Memory => memory::run(&args),
        What::Records => records::run(&args),
        What::Commits => records::run_commits(&args),
        What::Flow => runtime.block_on(flow::run(&args)),
        What::Idle => runtime.block_on(idle::run(&args)),
        What::All => {
            balancer::run(&args, &[], None)?;
            tail::run(&args, &[], &[])?;
            memory::run(&args)?;
            records::run(&args)?;
            records::run_commits(&args)?;
            runtime.block_on(flow::run(&args))?;
            runtime.block_on(idle::run(&args))
        }
        What::Callers => records::run_callers(),
        What::Floor { port, backend } => floor::run(*port, *backend),
        What::Backends { scenario, ports } => tail::backends::run(*scenario, ports),
    }
}
