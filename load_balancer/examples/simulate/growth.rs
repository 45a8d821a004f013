//! What a decision costs as the fleet grows.

use std::time::Instant;

use load_balancer::selection::{Memory, Policy, Signals, Snapshot, choose_backend};
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// Decisions per figure.
const DECISIONS: u64 = 200_000;

/// Prints the mean cost per decision, with the requests begun and answered as they would be.
pub(crate) fn print() {
    println!("\n### Cost of a decision with its bookkeeping, nanoseconds (mean of {DECISIONS})\n");
    println!("| policy | 10 | 100 | 1,000 | 10,000 |");
    println!("|---|---|---|---|---|");
    let policies = [
        Policy::Latency,
        Policy::prequal(),
        Policy::PeakEwma,
        Policy::LeastRequest,
        Policy::RoundRobin,
        Policy::Random,
    ];
    for policy in &policies {
        let costs = [10, 100, 1_000, 10_000].map(|count| format!("{:.0}", cost_ns(policy, count)));
        println!("| {} | {} |", policy.name(), costs.join(" | "));
    }
}

fn cost_ns(policy: &Policy, count: usize) -> f64 {
    let backends: Vec<Signals> = (0..count).map(|_| Signals::new(1)).collect();
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(1);
    let started = Instant::now();
    for decision in 1..=DECISIONS {
        let now = decision * 1_000;
        let snapshot = Snapshot::plain(&backends, policy, &memory);
        if let Some(choice) = choose_backend(&snapshot, now, &mut rng) {
            let signals = &backends[choice.index];
            let in_flight = signals.begin(now);
            signals.end();
            signals.note_answer(2_000_000 + decision % 1000, in_flight, now);
        }
    }
    started.elapsed().as_nanos() as f64 / DECISIONS as f64
}
