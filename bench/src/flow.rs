//! A cached read through load balancer, gateway and service, all in one `sixfold up`.

use std::time::Duration;

use crate::Args;
use crate::idle::House;
use crate::load::open_loop::{self, OpenLoop};
use crate::load::{quantile, wrk};
use crate::report::{Report, Samples};

/// Connections, as many as in the measurement of the Flask processes.
const CONNECTIONS: usize = 16;

/// What the same architecture as five Flask processes answered a second on a machine of this kind, as the
/// issue that set the bar measured it.
const FLASK_RATE: f64 = 181.0;

/// Measures throughput in a closed loop, then latency at half of it in an open one.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut report = Report::new("Whole flow: a cached read through load balancer, gateway and service");
    let house = House::start(&args.binary)?;
    let path = house.create_product().await?;
    let address = format!("127.0.0.1:{}", house.entry);
    let url = format!("http://{address}{path}");
    wrk::run(&url, CONNECTIONS, 2, None)?;
    let (mut rate, mut cpu, mut p50, mut p99, mut p999) = Default::default();
    let push = |samples: &mut Samples, value: f64| samples.push(value);
    let (rounds, seconds) = (args.rounds(7), args.seconds(4));
    for round in 1..=rounds {
        let before = house.running.cpu()?;
        let run = wrk::run(&url, CONNECTIONS, seconds, None)?;
        anyhow::ensure!(run.errors == 0, "{}", run.raw);
        push(&mut cpu, (house.running.cpu()? - before).as_secs_f64() * 1e6 / run.requests as f64);
        push(&mut rate, run.rate);
        report.keep(&format!("round {round}, closed loop"), &run.raw);
        let half = run.rate / 2.0;
        let outcome = open_loop::run(&OpenLoop {
            address: ([127, 0, 0, 1], house.entry).into(),
            path: &path,
            rate: half,
            connections: CONNECTIONS,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(seconds),
            seed: round as u64,
        })?;
        anyhow::ensure!(outcome.errors == 0, "{} errors in the open loop", outcome.errors);
        let latencies = outcome.latencies;
        for (samples, at) in [(&mut p50, 0.5), (&mut p99, 0.99), (&mut p999, 0.999)] {
            push(samples, quantile(&latencies, at).as_secs_f64() * 1e3);
        }
        report.keep(
            &format!("round {round}, open loop at {half:.0}/s"),
            &format!(
                "{} answers, p50 {:?}, p99 {:?}\n",
                latencies.len(),
                quantile(&latencies, 0.5),
                quantile(&latencies, 0.99)
            ),
        );
    }
    report.line(format!("{rounds} rounds of {seconds} s; median [least–most]\n"));
    report.line(format!("closed loop, {CONNECTIONS} connections: {} requests/s", rate.show(0)));
    report.line(format!("CPU of the whole house: {} µs/request", cpu.show(1)));
    report.line(format!(
        "open loop at half of it: p50 {} ms, p99 {} ms, p99.9 {} ms",
        p50.show(2),
        p99.show(2),
        p999.show(2)
    ));
    report.line(format!(
        "\n{:.0} × the {FLASK_RATE} requests/s of five Flask processes",
        rate.median() / FLASK_RATE
    ));
    report.write(&args.results, "flow.md")
}
