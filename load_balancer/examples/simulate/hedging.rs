//! When a balancer of the small fleet sends a request to a second gateway, by the settings of the real one.

use load_balancer::hedge::{Config, SAVINGS};

/// So many answers tell what is usual, those of some seconds in the real one.
const KEPT: usize = 20_000;

/// One balancer's hedging.
#[derive(Default)]
pub(crate) struct Hedging {
    config: Config,
    latencies_ns: Vec<u64>,
    next: usize,
    delay_ns: Option<u64>,
    left: f64,
}

impl Hedging {
    /// Earns the share of a hedge that one request is worth.
    pub(crate) fn note_request(&mut self) {
        self.left = (self.left + self.config.budget).min(SAVINGS);
    }

    /// Takes an answer in.
    pub(crate) fn note_answer(&mut self, latency_ns: u64) {
        if self.latencies_ns.len() < KEPT {
            self.latencies_ns.push(latency_ns);
        } else {
            self.latencies_ns[self.next] = latency_ns;
            self.next = (self.next + 1) % KEPT;
        }
    }

    /// Spends one hedge, if there is one.
    pub(crate) fn spend(&mut self) -> bool {
        let may = self.left >= 1.0;
        self.left -= f64::from(u8::from(may));
        may
    }

    /// Finds out after which time an answer is late.
    pub(crate) fn find_usual(&mut self) {
        let mut sorted = self.latencies_ns.clone();
        sorted.sort_unstable();
        let usual_ns = sorted.get(sorted.len() * 95 / 100).copied().unwrap_or_default();
        let delay = self.config.delay(sorted.len() as u64, usual_ns as f64);
        self.delay_ns = delay.map(|delay| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Gives that time; nothing while too little is known.
    pub(crate) fn delay_ns(&self) -> Option<u64> {
        self.delay_ns
    }
}
