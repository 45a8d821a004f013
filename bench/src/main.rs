//! Side by side with the peers a user would pick instead: alternating rounds, medians, raw output kept.
//!
//! `balancer` runs the load balancer beside HAProxy and nginx, `flow` a cached read through load balancer,
//! gateway and service. Everything runs on this machine's loopback, bounded in time.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod balancer;
mod flow;
mod idle;
mod open_loop;
mod peers;
mod processes;
mod report;
mod wrk;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures sixfold beside its peers and keeps the raw output.
#[derive(Debug, Parser)]
struct Args {
    /// How many alternating rounds
    #[arg(long, default_value_t = 7, global = true)]
    rounds: usize,
    /// How long one measurement of a round takes, in seconds
    #[arg(long, default_value_t = 4, global = true)]
    seconds: u64,
    /// Where results are written
    #[arg(long, default_value = "bench/results", global = true)]
    results: PathBuf,
    /// The binary to measure
    #[arg(long, default_value = "target/release/sixfold", global = true)]
    binary: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The load balancer beside HAProxy and nginx on a static backend
    Balancer,
    /// A cached read through load balancer, gateway and service
    Flow,
    /// What `up` costs while nobody asks: start, memory, CPU
    Idle,
    /// All of them
    All,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.what {
        What::Balancer => balancer::run(&args),
        What::Flow => runtime.block_on(flow::run(&args)),
        What::Idle => runtime.block_on(idle::run(&args)),
        What::All => {
            balancer::run(&args)?;
            runtime.block_on(flow::run(&args))?;
            runtime.block_on(idle::run(&args))
        }
    }
}
