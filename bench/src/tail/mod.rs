//! What an uneven fleet does to the slowest answers: five backends, open loop, every load balancer in turn.

pub(crate) mod backends;
pub(crate) mod scenario;
mod service;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::load::open_loop::{self, OpenLoop, Outcome};
use crate::load::quantile;
use crate::peers::{Peer, Setup};
use crate::processes::{LOAD_CORE, PROXY_CORE, Place, Running, free_ports, on_core, own_cpu};
use crate::report::{Report, Samples};
use crate::{Args, turns};
use scenario::{BACKENDS, Scenario};

/// Shares of the capacity that are offered, in percent.
const LOADS: [u32; 3] = [50, 70, 90];

/// How long traffic runs before it counts: pools fill, estimates settle, a failing backend is found.
const WARM_UP: Duration = Duration::from_secs(2);

/// Connections of the clients: more than ever are used at a time, unless the proxy lets requests pile up.
const CONNECTIONS: usize = 1024;

/// Clients' view and backends' view of one peer in one situation, a sample a round.
#[derive(Debug, Default)]
struct Figures {
    /// Of p50, p90, p99 and p99.9, in milliseconds.
    quantiles: [Samples; 4],
    errors_percent: Samples,
    /// Requests at the backends for one of a client, in percent.
    sent_percent: Samples,
    share_percent: [Samples; BACKENDS],
    cpu_us: Samples,
    lag_us: Samples,
}

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Measures the given situations, or all, and writes the report.
pub(crate) fn run(args: &Args, only: &[Scenario], loads: &[u32]) -> anyhow::Result<()> {
    let mut report = Report::new("Tail: five backends, one of them odd, open loop");
    let (rounds, seconds) = (args.rounds(3), args.seconds(10));
    let scenarios = if only.is_empty() { &Scenario::ALL[..] } else { only };
    let loads = match loads {
        [] if args.quick => &[70],
        [] => &LOADS[..],
        loads => loads,
    };
    report.line(format!(
        "Each backend serves 8 at a time, first come first served, log-normal with median 2 ms and σ {} (p99 6.4 ms); \
         Poisson arrivals from a seed, the same for every peer; latency from the moment a request should have left. \
         {rounds} alternating rounds of {seconds} s after {} s that do not count; backends and peer start anew each \
         time. The proxy has core {PROXY_CORE}, generator and backends share core {LOAD_CORE}. Times are of good \
         answers in ms, median of the rounds [least–most]; `sent` is requests at the backends for one of a client \
         (retries, hedges); `lag` is the p99 of how late the generator sent; \
         much of it means that the proxy, its core in use for 100 %, could not keep up.\n",
        service::SIGMA,
        WARM_UP.as_secs()
    ));
    for peer in args.peers_of(&Peer::FOUR) {
        let folder = tempfile::tempdir()?;
        report.line(format!("- {}: {}", peer.name(), peer.version(&setup(args, folder.path(), &[]))));
    }
    on_core(LOAD_CORE, || {
        for scenario in scenarios {
            for load in loads {
                measure(args, *scenario, *load, rounds, seconds, &mut report)?;
            }
        }
        Ok(())
    })?;
    report.write(&args.results, "tail.md")
}

fn measure(
    args: &Args,
    scenario: Scenario,
    load: u32,
    rounds: usize,
    seconds: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let rate = scenario.capacity() * f64::from(load) / 100.0;
    let mut peers = Peer::FOUR.to_vec();
    if scenario == Scenario::Failing {
        peers.insert(2, Peer::HaProxyObserving);
    }
    let peers = args.peers_of(&peers);
    let mut figures: Vec<Figures> = peers.iter().map(|_| Figures::default()).collect();
    for round in 1..=rounds {
        for (peer, figures) in turns(round, peers.iter().zip(&mut figures)) {
            let duration = Duration::from_secs(seconds);
            let raw = one_run(args, *peer, scenario, rate, duration, round as u64, figures)?;
            report.keep(&format!("{}, {load} %, round {round}, {}", scenario.name(), peer.name()), &raw);
        }
    }
    report.line(format!(
        "\n## {}, {load} % of {:.0} requests/s\n\n\
         | | p50 | p90 | p99 | p99.9 | errors % | sent % | share of each backend % | CPU µs (of its core) | lag µs |\n\
         |---|---|---|---|---|---|---|---|---|---|",
        scenario.title(),
        scenario.capacity()
    ));
    for (peer, figures) in peers.iter().zip(&figures) {
        let shares = figures.share_percent.iter().map(|share| format!("{:.1}", share.median()));
        let row: Vec<String> = [peer.name().to_owned()]
            .into_iter()
            .chain(figures.quantiles.iter().map(|quantile| quantile.show(2)))
            .chain([
                figures.errors_percent.show(3),
                format!("{:.1}", figures.sent_percent.median()),
                shares.collect::<Vec<_>>().join(" "),
                format!("{:.1} ({:.0} %)", figures.cpu_us.median(), figures.cpu_us.median() * rate / 1e4),
                format!("{:.0}", figures.lag_us.median()),
            ])
            .collect();
        report.line(format!("| {} |", row.join(" | ")));
    }
    report.line(format!("\nsixfold {}", compare(&peers, &figures).join(", ")));
    Ok(())
}

/// Says how sixfold, the first, does beside the best of the others.
fn compare(peers: &[Peer], figures: &[Figures]) -> Vec<String> {
    let mut said = Vec::new();
    for (index, name) in [(0, "p50"), (2, "p99"), (3, "p99.9")] {
        let median = |figures: &Figures| figures.quantiles[index].median();
        let others = peers.iter().zip(figures).skip(1);
        if let Some((best, theirs)) = others.min_by(|one, other| median(one.1).total_cmp(&median(other.1))) {
            let ratio = median(&figures[0]) / median(theirs);
            said.push(format!("{name} {ratio:.2} × the best peer's ({})", best.name()));
        }
    }
    said
}

fn setup<'a>(args: &'a Args, folder: &'a std::path::Path, backends: &'a [u16]) -> Setup<'a> {
    let (binary, beside) = (&args.binary, args.beside.as_deref());
    let (peers, place) = (&args.peers, Place::Core(PROXY_CORE));
    Setup { binary, beside, peers, folder, backends, certificate: None, http2: false, place }
}

fn one_run(
    args: &Args,
    peer: Peer,
    scenario: Scenario,
    rate: f64,
    duration: Duration,
    seed: u64,
    figures: &mut Figures,
) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let (backends, ports) = start_backends(scenario)?;
    let (running, port) = peer.start(&setup(args, folder.path(), &ports))?;
    let address = ([127, 0, 0, 1], port).into();
    let (before, cpu, load_cpu) = (served(&ports)?, running.cpu()?, own_cpu()? + backends.cpu()?);
    let warm_up = if args.quick { WARM_UP / 2 } else { WARM_UP };
    let outcome = open_loop::run(&OpenLoop {
        address,
        path: "/",
        rate,
        connections: CONNECTIONS,
        warm_up,
        duration,
        seed,
    })?;
    let (cpu, load_cpu) = (running.cpu()? - cpu, own_cpu()? + backends.cpu()? - load_cpu);
    let came: Vec<u64> = served(&ports)?.iter().zip(&before).map(|(now, before)| now - before).collect();
    let asked = rate * (warm_up + duration).as_secs_f64();
    figures.add(&outcome, &came, asked, cpu);
    Ok(format!(
        "{} requests, {} errors, {:?} (p50, p90, p99, p99.9), most {:?}, backends {came:?}, CPU {cpu:?} \
         (load core {load_cpu:?}) in {:?}, {} in flight at most, lag {:?}\n",
        outcome.requests,
        outcome.errors,
        QUANTILES.map(|at| quantile(&outcome.latencies, at)),
        outcome.latencies.last().copied().unwrap_or_default(),
        warm_up + duration,
        outcome.most_in_flight,
        outcome.lag_p99
    ))
}

impl Figures {
    /// `asked` is how many requests the generator sent, warm-up and all, and `came` how many each backend saw.
    fn add(&mut self, outcome: &Outcome, came: &[u64], asked: f64, cpu: Duration) {
        for (samples, at) in self.quantiles.iter_mut().zip(QUANTILES) {
            samples.push(quantile(&outcome.latencies, at).as_secs_f64() * 1e3);
        }
        self.errors_percent.push(outcome.errors as f64 / outcome.requests.max(1) as f64 * 100.0);
        let all = came.iter().sum::<u64>().max(1) as f64;
        self.sent_percent.push(all / asked * 100.0);
        for (samples, came) in self.share_percent.iter_mut().zip(came) {
            samples.push(*came as f64 / all * 100.0);
        }
        self.cpu_us.push(cpu.as_secs_f64() * 1e6 / asked);
        self.lag_us.push(outcome.lag_p99.as_secs_f64() * 1e6);
    }
}

fn start_backends(scenario: Scenario) -> anyhow::Result<(Running, Vec<u16>)> {
    let ports = free_ports(20_000, BACKENDS)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["backends", scenario.name()]).args(ports.iter().map(u16::to_string));
    let last = ports[BACKENDS - 1];
    Ok((Running::start(command, last, Place::Core(LOAD_CORE), None)?, ports))
}

/// Asks every backend how many requests of traffic it has seen.
fn served(ports: &[u16]) -> anyhow::Result<Vec<u64>> {
    let ask = |port: &u16| {
        let mut stream = TcpStream::connect(("127.0.0.1", *port))?;
        stream.write_all(b"GET /served HTTP/1.1\r\n\r\n")?;
        let mut buffer = [0; 256];
        let length = stream.read(&mut buffer)?;
        let text = std::str::from_utf8(&buffer[..length])?;
        Ok(text.rsplit('\n').next().unwrap_or_default().parse()?)
    };
    ports.iter().map(ask).collect()
}
