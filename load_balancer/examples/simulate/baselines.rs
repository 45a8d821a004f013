//! Rules of the paper's Figure 7 that are no policies of ours.

use load_balancer::selection::Load;
use rand::Rng;
use rand::rngs::SmallRng;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Baseline {
    /// The fewest of the client's own requests in flight, of all.
    LeastLoaded,
    /// The same of two at random.
    LeastLoadedOfTwo,
    /// Of two at random the one that was less busy when last polled (YARP).
    Yarp,
    /// Of the last 16 probes the least half-and-half sum of latency and requests in flight (§5.2, linear).
    Linear,
    /// C3 (NSDI'15): the cube of the queue, by client-side estimates.
    C3,
}

/// What a client knows.
pub(crate) struct View {
    pub(crate) in_flight: Vec<u32>,
    pub(crate) polled: Vec<f64>,
    /// EWMA of latency, of requests in flight at the replica, and of its time for one.
    latency_ns: Vec<f64>,
    queue: Vec<f64>,
    service_ns: Vec<f64>,
    probes: Vec<(usize, Load)>,
}

/// C3's EWMA weight of a new answer; a choice of ours.
const ALPHA: f64 = 0.5;

/// What one request in flight weighs in the linear rule: the median answer of a replica with one in flight.
const PER_REQUEST_NS: f64 = 20e6;

/// Clients that share a replica, C3's weight of its own requests in flight.
const CLIENTS: f64 = 100.0;

impl View {
    pub(crate) fn new(replicas: usize) -> Self {
        Self {
            in_flight: vec![0; replicas],
            polled: vec![0.0; replicas],
            latency_ns: vec![0.0; replicas],
            queue: vec![0.0; replicas],
            service_ns: vec![0.0; replicas],
            probes: Vec::new(),
        }
    }

    pub(crate) fn answer(&mut self, replica: usize, latency_ns: f64, load: Load) {
        self.in_flight[replica] -= 1;
        let update =
            |old: &mut f64, new: f64| *old = if *old == 0.0 { new } else { *old + ALPHA * (new - *old) };
        update(&mut self.latency_ns[replica], latency_ns);
        update(&mut self.queue[replica], f64::from(load.in_flight));
        // Ten workers: what one takes, if the replica is no fuller than that, is its latency.
        update(
            &mut self.service_ns[replica],
            load.latency_ns as f64 / (f64::from(load.in_flight) / 10.0).max(1.0),
        );
    }

    pub(crate) fn probe(&mut self, replica: usize, load: Load) {
        if self.probes.len() == 16 {
            self.probes.remove(0);
        }
        self.probes.push((replica, load));
    }
}

impl Baseline {
    pub(crate) fn choose(self, view: &mut View, rng: &mut SmallRng) -> usize {
        let count = view.in_flight.len();
        let first = rng.random_range(0..count);
        let second = (first + rng.random_range(1..count)) % count;
        let all = || (first..count).chain(0..first);
        let least = |candidates: &mut dyn Iterator<Item = usize>, figure: &dyn Fn(usize) -> f64| {
            candidates.min_by(|a, b| figure(*a).total_cmp(&figure(*b))).unwrap_or(first)
        };
        let own = |index: usize| f64::from(view.in_flight[index]);
        let both = [first, second];
        match self {
            Self::LeastLoaded => least(&mut all(), &own),
            Self::LeastLoadedOfTwo => least(&mut both.into_iter(), &own),
            Self::Yarp => least(&mut both.into_iter(), &|index| view.polled[index]),
            Self::C3 => least(&mut all(), &|index| {
                // R̄ − µ⁻¹ + q̂³ µ⁻¹ with q̂ = 1 + own × clients + q̄ (§3.1); the queue is counted in workers.
                let queue = 1.0 + (own(index) * CLIENTS + view.queue[index]) / 10.0;
                let service = view.service_ns[index];
                view.latency_ns[index] - service + queue.powi(3) * service
            }),
            Self::Linear => {
                let sum = |load: &Load| {
                    load.latency_ns as f64 / 2.0 + f64::from(load.in_flight) * PER_REQUEST_NS / 2.0
                };
                let best = (0..view.probes.len())
                    .min_by(|a, b| sum(&view.probes[*a].1).total_cmp(&sum(&view.probes[*b].1)));
                // A probe is used once, as the paper does with removal on use.
                best.map_or(first, |place| view.probes.remove(place).0)
            }
        }
    }
}
