//! The cost of one decision, and that none allocates: `cargo bench -p load_balancer --bench decision`.

use divan::{AllocProfiler, Bencher};
use load_balancer::selection::{Load, Maglev, Memory, Policy, Signals, Snapshot, choose_backend};
use rand::SeedableRng;
use rand::rngs::SmallRng;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const SIZES: [usize; 5] = [5, 16, 100, 1_000, 10_000];

fn main() {
    divan::main();
}

fn bench(bencher: Bencher<'_, '_>, count: usize, policy: &Policy) {
    const SECOND: u64 = 1_000_000_000;
    let signals: Vec<Signals> = (0..count).map(|_| Signals::new(1)).collect();
    for (index, one) in signals.iter().enumerate() {
        for answer in 0..32 {
            let in_flight = one.begin(SECOND);
            one.end();
            one.note_answer(2_000_000 + (index as u64 * 7 + answer) * 1000, in_flight, SECOND + answer);
        }
        (0..index % 4).for_each(|_| {
            one.begin(SECOND);
        });
        one.note_load(Load { in_flight: (index % 7) as u32, latency_ns: 2_000_000 }, SECOND);
    }
    // One failed lately: the penalty's exponential is part of the cost.
    signals[0].note_failure(SECOND);
    let names: Vec<String> = (0..count).map(|index| format!("10.0.0.1:{index}")).collect();
    let table = policy.hashes().then(|| Maglev::new(names.iter().map(|name| (name.as_str(), 1.0))));
    let memory = Memory::default();
    let mut rng = SmallRng::seed_from_u64(1);
    let mut now_ns = SECOND;
    bencher.bench_local(|| {
        now_ns += 100;
        let plain = Snapshot::plain(&signals, policy, &memory);
        let snapshot = Snapshot { key: Some(now_ns), table: table.as_ref(), ..plain };
        choose_backend(&snapshot, now_ns, &mut rng)
    });
}

macro_rules! policies {
    ($($name:ident: $policy:expr;)*) => {$(
        #[divan::bench(args = SIZES)]
        fn $name(bencher: Bencher<'_, '_>, count: usize) {
            bench(bencher, count, &$policy);
        }
    )*};
}

policies! {
    latency: Policy::Latency;
    prequal: Policy::prequal();
    peak_ewma: Policy::PeakEwma;
    least_request: Policy::LeastRequest;
    round_robin: Policy::RoundRobin;
    random: Policy::Random;
    lowest_latency: Policy::LowestLatency;
    ip_hash: Policy::IpHash;
}
