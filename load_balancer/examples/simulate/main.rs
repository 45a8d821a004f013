//! Simulates.
#![allow(clippy::print_stdout)]
mod events;
mod fleet;
mod summary;

use fleet::{Fault, Setting};
use load_balancer::selection::Policy;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seconds = args.get(1).and_then(|s| s.parse().ok()).unwrap_or(20);
    let balancers: Vec<usize> =
        args.get(2).map(|s| s.split(',').map(|x| x.parse().unwrap()).collect()).unwrap_or(vec![1]);
    let only: Option<Vec<String>> = args.get(3).map(|s| s.split(',').map(str::to_owned).collect());
    let tells = args.get(4).is_some();
    let policies = [
        Policy::Latency,
        Policy::IpHash,
        Policy::prequal(),
        Policy::PeakEwma,
        Policy::LeastRequest,
        Policy::RoundRobin,
        Policy::Random,
        Policy::LowestLatency,
    ];
    for fault in [Fault::None, Fault::Slow(10.0), Fault::Slow(20.0), Fault::Failing, Fault::Stalling] {
        if std::env::var("ONLY").is_ok_and(|o| !format!("{fault:?}").starts_with(&o)) {
            continue;
        }
        for b in &balancers {
            println!("## {fault:?} {b} balancers");
            for policy in &policies {
                if only.as_ref().is_some_and(|only| !only.iter().any(|n| n == policy.name())) {
                    continue;
                }
                print!("{:>15} ", policy.name());
                for load in [0.5, 0.7, 0.9] {
                    let mut s = fleet::run(&Setting {
                        fault,
                        load,
                        balancers: *b,
                        policy,
                        tells_load: tells,
                        seconds,
                        seed: 1,
                    });
                    print!(
                        "| {:>6.2} {:>6.1} {:>6.1} {:>7.1} {:>6.3}% {:>4.1} ",
                        s.quantile_ms(0.5),
                        s.quantile_ms(0.9),
                        s.quantile_ms(0.99),
                        s.quantile_ms(0.999),
                        s.error_percent(),
                        s.shares()[4]
                    );
                }
                println!();
            }
        }
    }
}
