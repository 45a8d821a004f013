//! Policies on virtual time, with the selection code of the library.
//!
//! `cargo run --release -p load_balancer --example simulate [-- fleet|testbed|growth] [SECONDS] [SEED]` prints tables in
//! Markdown; without a scenario all of them. The same seed gives the same table. `docs/simulation.md` keeps one.

#![allow(clippy::print_stdout, reason = "the tables are what it is for")]

mod baselines;
mod events;
mod fleet;
mod gateway;
mod growth;
mod hedging;
mod summary;
mod testbed;
mod verdict;

use baselines::Baseline;
use fleet::Setting;
use gateway::Fault;
use load_balancer::selection::Policy;
use summary::Summary;
use testbed::Chooser;
use verdict::Verdict;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let seed = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let wants = |name: &str| scenario.is_empty() || scenario == name;
    if wants("fleet") {
        for hedges in [true, false] {
            let mut verdict = Verdict::default();
            for tells_load in [false, true] {
                fleet(seconds.unwrap_or(20), seed, tells_load, hedges, &mut verdict);
            }
            verdict.print(hedges);
        }
    }
    if wants("testbed") {
        testbed(seconds.unwrap_or(10), seed);
    }
    if wants("growth") {
        growth::print();
    }
}

/// Prints the small fleet; `tells_load` for gateways that send `Sixfold-Load`, `hedges` for late requests that are
/// sent to a second gateway.
fn fleet(seconds: u64, seed: u64, tells_load: bool, hedges: bool, verdict: &mut Verdict) {
    let policies = [
        (Policy::Latency, None),
        (Policy::prequal(), None),
        (Policy::PeakEwma, None),
        (Policy::LeastRequest, None),
        (Policy::RoundRobin, None),
        (Policy::Random, None),
        (Policy::IpHash, None),
        (Policy::IpHash, Some(1.25)),
        (Policy::LowestLatency, None),
    ];
    let faults = [Fault::None, Fault::Slow(10.0), Fault::Slow(20.0), Fault::Failing, Fault::Stalling];
    for fault in faults {
        for balancers in [1, 2, 3] {
            if tells_load && balancers != 3 {
                continue;
            }
            let told = if tells_load { ", gateways tell their load" } else { "" };
            let hedged = if hedges { "" } else { ", no hedges" };
            let title = format!("{fault}, {balancers} balancer(s){told}{hedged}");
            println!("\n### {title}\n");
            println!("| policy | load | p50 ms | p90 | p99 | p99.9 | errors % | share of each % |");
            println!("|---|---|---|---|---|---|---|---|");
            for (policy, balance_factor) in &policies {
                for load in [0.5, 0.7, 0.9] {
                    let balance_factor = *balance_factor;
                    let setting = Setting {
                        fault,
                        load,
                        balancers,
                        policy,
                        balance_factor,
                        tells_load,
                        hedges,
                        seconds,
                        seed,
                    };
                    let mut summary = fleet::run(&setting);
                    verdict.note(&title, load, *policy == Policy::Latency, &mut summary);
                    let shares: Vec<String> =
                        summary.shares().iter().map(|share| format!("{share:.1}")).collect();
                    let bound = balance_factor.map(|factor| format!(", bound {factor}")).unwrap_or_default();
                    row(&format!("{}{bound}", policy.name()), load, &mut summary, &shares.join(" "));
                }
            }
        }
    }
}

fn testbed(seconds: u64, seed: u64) {
    let choosers = [
        ("round robin", Chooser::Library(Policy::RoundRobin)),
        ("random", Chooser::Library(Policy::Random)),
        ("weighted round robin", Chooser::Weighted),
        ("least loaded", Chooser::Baseline(Baseline::LeastLoaded)),
        ("least loaded of two", Chooser::Baseline(Baseline::LeastLoadedOfTwo)),
        ("YARP", Chooser::Baseline(Baseline::Yarp)),
        ("linear", Chooser::Baseline(Baseline::Linear)),
        ("C3", Chooser::Baseline(Baseline::C3)),
        ("prequal", Chooser::Library(Policy::prequal())),
        ("latency", Chooser::Library(Policy::Latency)),
    ];
    println!("\n### The paper's testbed, 100 clients and 100 replicas\n");
    println!("| policy | load | p50 ms | p90 | p99 | p99.9 | errors % | least and greatest share % |");
    println!("|---|---|---|---|---|---|---|---|");
    for load in [0.7, 0.9] {
        for (name, chooser) in &choosers {
            let mut summary = testbed::run(chooser, load, seconds, seed);
            let shares = summary.shares();
            let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = shares.iter().copied().fold(0.0, f64::max);
            row(name, load, &mut summary, &format!("{least:.2} {greatest:.2}"));
        }
    }
}

fn row(name: &str, load: f64, summary: &mut Summary, shares: &str) {
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|quantile| summary.quantile_ms(quantile));
    let (load, errors) = (load * 100.0, summary.error_percent());
    println!(
        "| {name} | {load:.0} % | {p50:.2} | {p90:.1} | {p99:.1} | {p999:.1} | {errors:.3} | {shares} |"
    );
}
