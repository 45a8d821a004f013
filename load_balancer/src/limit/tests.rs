//! The limit over backends that are simulated on a virtual clock.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const MILLISECOND: f64 = 1e6;

/// A backend that works on some requests at a time, each as long as a log-normal law says; the rest queue.
struct Simulated {
    servers: Vec<f64>,
    stalls: bool,
    rng: SmallRng,
}

impl Simulated {
    fn new(servers: usize) -> Self {
        Self { servers: vec![0.0; servers], stalls: false, rng: SmallRng::seed_from_u64(5) }
    }

    /// Gives when a request that arrives now is answered.
    fn answer(&mut self, now: f64) -> f64 {
        // Median 2 ms, σ = 1: Box–Muller.
        let (u, v): (f64, f64) = (self.rng.random_range(1e-9..1.0), self.rng.random_range(0.0..1.0));
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let service = 2.0 * MILLISECOND * normal.exp();
        let free = self.servers.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        let mut start = free.max(now);
        let in_second = start % (1000.0 * MILLISECOND);
        if self.stalls && in_second < 200.0 * MILLISECOND {
            start += 200.0 * MILLISECOND - in_second;
        }
        *free = start + service;
        *free
    }
}

struct Outcome {
    refused: u64,
    sent: u64,
    limit: u32,
    most: usize,
}

/// Sends requests at random times, at a rate a second; those above the limit are refused.
fn run(backend: &mut Simulated, per_second: f64, seconds: f64, config: &Config) -> Outcome {
    let mut gradient = Gradient::new(config);
    let mut rng = SmallRng::seed_from_u64(11);
    let mut in_flight: VecDeque<(f64, f64)> = VecDeque::new();
    let mut outcome = Outcome { refused: 0, sent: 0, limit: gradient.limit(config), most: 0 };
    let (mut now, mut window_start, mut peak) = (0.0, 0.0, 0);
    let (mut answers, mut sum) = (0, 0.0);
    while now < seconds * 1e9 {
        now += -rng.random_range(1e-9..1.0_f64).ln() * 1e9 / per_second;
        in_flight.retain(|(began, ends)| {
            let is_answered = *ends <= now;
            if is_answered {
                answers += 1;
                sum += ends - began;
            }
            !is_answered
        });
        if in_flight.len() < outcome.limit as usize {
            in_flight.push_back((now, backend.answer(now)));
            outcome.sent += 1;
            // The first seconds are for learning.
            if now > 5e9 {
                outcome.most = outcome.most.max(in_flight.len());
            }
        } else {
            outcome.refused += 1;
        }
        peak = peak.max(in_flight.len());
        if now - window_start >= 1e8 {
            let window = Window {
                answers,
                latency_sum_ns: sum as u64,
                peak: peak as u32,
                length: Duration::from_nanos((now - window_start) as u64),
                is_ours: false,
            };
            if gradient.update(&window, config) {
                (window_start, peak, answers, sum) = (now, in_flight.len(), 0, 0.0);
                outcome.limit = gradient.limit(config);
            }
        }
    }
    outcome
}

#[test]
fn a_healthy_backend_is_not_throttled() {
    let config = Config::default();
    // Eight at a time, 3.3 ms on average: 2,426 a second are all it can do.
    for load in [0.3, 0.5, 0.7, 0.9] {
        let outcome = run(&mut Simulated::new(8), 2_426.0 * load, 60.0, &config);
        assert!(outcome.refused * 500 < outcome.sent, "{load}: {} refused", outcome.refused);
    }
}

#[test]
fn a_large_backend_gets_all_it_can_work_on() {
    // 500 at a time are more than the initial limit.
    let outcome = run(&mut Simulated::new(500), 150_000.0 * 0.7, 8.0, &Config::default());
    assert!(outcome.refused * 100 < outcome.sent, "{} of {} refused", outcome.refused, outcome.sent);
}

#[test]
fn one_that_stalls_cannot_pile_up_requests() {
    let mut stalling = Simulated { stalls: true, ..Simulated::new(8) };
    let outcome = run(&mut stalling, 1_700.0, 60.0, &Config::default());
    assert!(outcome.most < 200, "{} in flight", outcome.most);
    let off = Config { adaptive: false, ..Config::default() };
    let unbounded = run(&mut Simulated { stalls: true, ..Simulated::new(8) }, 1_700.0, 60.0, &off);
    assert!(unbounded.most > 300, "{} in flight", unbounded.most);
}

#[test]
fn one_that_is_overloaded_keeps_a_short_queue() {
    let outcome = run(&mut Simulated::new(8), 5_000.0, 60.0, &Config::default());
    assert!(outcome.limit <= 64, "{}", outcome.limit);
    assert!(outcome.sent as f64 > 2_300.0 * 60.0, "and works as much as it can: {}", outcome.sent);
}

/// A hundred answers of 2 ms.
const USUAL: Window = Window {
    answers: 100,
    latency_sum_ns: 200_000_000,
    peak: 5,
    length: Duration::from_millis(100),
    is_ours: false,
};

#[test]
fn a_queue_of_our_own_holds_no_backend_back() {
    let config = Config::default();
    let after = |is_ours| {
        let mut gradient = Gradient::new(&config);
        gradient.update(&USUAL, &config);
        for _ in 0..10 {
            // A thousand clients: as much at a time as is let, and later in proportion.
            let peak = gradient.limit(&config).min(1000);
            let latency_sum_ns = 100 * u64::from(peak) * 100_000;
            gradient.update(&Window { latency_sum_ns, peak, is_ours, ..USUAL }, &config);
        }
        gradient.limit(&config)
    };
    assert!(after(true) >= 1000, "{}", after(true));
    assert!(after(false) < 256, "a queue at the backend does: {}", after(false));
}

#[test]
fn what_is_not_used_is_given_up_and_comes_back_soon() {
    let config = Config::default();
    let mut gradient = Gradient::new(&config);
    let window = |peak| Window { peak, ..USUAL };
    for _ in 0..100 {
        gradient.update(&window(5), &config);
    }
    assert_eq!(gradient.limit(&config), config.min);
    for _ in 0..10 {
        gradient.update(&window(gradient.limit(&config)), &config);
    }
    assert!(gradient.limit(&config) > 1000);
    assert!(!gradient.update(&Window { answers: 3, ..window(5) }, &config), "too few to tell");
}

#[test]
fn without_a_limit_there_is_none() {
    let config = Config { adaptive: false, ..Config::default() };
    assert_eq!(Gradient::new(&config).limit(&config), u32::MAX);
    config.validate("x").unwrap();
    let nonsense = Config { initial: 1, ..Config::default() };
    assert!(nonsense.validate("x").unwrap_err().to_string().starts_with("x.initial:"));
}
