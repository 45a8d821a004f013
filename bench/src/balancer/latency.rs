//! Latency at one rate for all: half of what the slower of sixfold and HAProxy can answer at most.

use std::time::Duration;

use crate::Args;
use crate::load::open_loop::{self, OpenLoop};
use crate::load::{quantile, wrk};
use crate::peers::{Peer, Setup, start_backend};
use crate::processes::{LOAD_CORE, PROXY_CORE, Place, on_core};
use crate::report::{Report, Samples};

/// Connections, as in the main case.
const CONNECTIONS: usize = 64;

const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

#[derive(Debug, Default)]
struct Figures {
    quantiles: [Samples; 3],
    lag_us: Samples,
    cpu_us: Samples,
    errors: u64,
}

/// Measures with the proxy on one core, generator and backend on the other.
pub(super) fn run(
    args: &Args,
    setup: &Setup<'_>,
    rate: Option<f64>,
    report: &mut Report,
) -> anyhow::Result<()> {
    on_core(LOAD_CORE, || pinned(args, setup, rate, report))
}

fn pinned(args: &Args, setup: &Setup<'_>, rate: Option<f64>, report: &mut Report) -> anyhow::Result<()> {
    let (rounds, seconds) = (args.rounds(5), args.seconds(4));
    let (_backend, backend) = start_backend(setup.folder, 150, Place::Core(LOAD_CORE))?;
    let setup = Setup { backends: &[backend], place: Place::Core(PROXY_CORE), ..*setup };
    let rate = rate.map_or_else(|| half_of_the_most(&setup, seconds, report), Ok)?;
    let mut figures = Peer::FOUR.map(|_| Figures::default());
    for round in 1..=rounds {
        for (peer, figures) in Peer::FOUR.into_iter().zip(&mut figures) {
            let raw = one_run(peer, &setup, rate, seconds, round as u64, figures)?;
            report.keep(&format!("latency, round {round}, {}", peer.name()), &raw);
        }
    }
    report.line(format!(
        "\n## Latency at {rate:.0} requests/s (`latency`; {rounds} rounds of {seconds} s)\n\n\
         Open loop, Poisson arrivals, counted from when a request should have left; the proxy has core {PROXY_CORE}, \
         generator and backend share core {LOAD_CORE}. `lag` is the p99 of how late the generator sent: \
         much of it means that all connections were waiting, and the proxy could not keep up.\n\n\
         | | p50 ms | p99 ms | p99.9 ms | CPU µs/request | lag µs | errors |\n|---|---|---|---|---|---|---|"
    ));
    for (peer, figures) in Peer::FOUR.iter().zip(&figures) {
        let [p50, p99, p999] = figures.quantiles.each_ref().map(|samples| samples.show(3));
        report.line(format!(
            "| {} | {p50} | {p99} | {p999} | {} | {} | {} |",
            peer.name(),
            figures.cpu_us.show(1),
            figures.lag_us.show(0),
            figures.errors
        ));
    }
    Ok(())
}

fn half_of_the_most(setup: &Setup<'_>, seconds: u64, report: &mut Report) -> anyhow::Result<f64> {
    let mut least = f64::INFINITY;
    for peer in [Peer::Sixfold, Peer::HaProxy] {
        let (_running, port) = peer.start(setup)?;
        let url = format!("http://127.0.0.1:{port}/");
        wrk::run(&url, CONNECTIONS, 1, None)?;
        let most = wrk::run(&url, CONNECTIONS, seconds, None)?;
        report.keep(&format!("latency, maximum of {}", peer.name()), &most.raw);
        least = least.min(most.rate);
    }
    Ok((least / 2.0).round())
}

fn one_run(
    peer: Peer,
    setup: &Setup<'_>,
    rate: f64,
    seconds: u64,
    seed: u64,
    figures: &mut Figures,
) -> anyhow::Result<String> {
    let (running, port) = peer.start(setup)?;
    let (warm_up, duration) = (Duration::from_secs(1), Duration::from_secs(seconds));
    let address = ([127, 0, 0, 1], port).into();
    let before = running.cpu()?;
    let load = OpenLoop { address, path: "/", rate, connections: CONNECTIONS, warm_up, duration, seed };
    let outcome = open_loop::run(&load)?;
    let used = running.cpu()? - before;
    for (samples, at) in figures.quantiles.iter_mut().zip(QUANTILES) {
        samples.push(quantile(&outcome.latencies, at).as_secs_f64() * 1e3);
    }
    figures.lag_us.push(outcome.lag_p99.as_secs_f64() * 1e6);
    figures.cpu_us.push(used.as_secs_f64() * 1e6 / (rate * (warm_up + duration).as_secs_f64()));
    figures.errors += outcome.errors;
    Ok(format!(
        "{} requests, {} errors, p50, p99, p99.9 {:?}, most {:?}, {} in flight at most, lag {:?}, CPU {used:?}\n",
        outcome.requests,
        outcome.errors,
        QUANTILES.map(|at| quantile(&outcome.latencies, at)),
        outcome.latencies.last().copied().unwrap_or_default(),
        outcome.most_in_flight,
        outcome.lag_p99
    ))
}
