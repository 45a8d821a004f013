//! How a backend of the tail measurement serves: a queue, a few servers, log-normal times, perhaps stalls.
//!
//! Pure: times are nanoseconds since the backend began.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;

/// How many requests a backend serves at the same time; more wait, first come, first served.
pub(crate) const SERVERS: usize = 8;

/// The median service time (issue 3, bar 2).
pub(crate) const MEDIAN_NS: f64 = 2e6;

/// The spread of the logarithm, as in load_balancer's simulator: p99 is 3.2 medians.
pub(crate) const SIGMA: f64 = 0.5;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// How one backend behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Behaviour {
    /// Service times are multiplied by this.
    pub(crate) slowness: f64,
    /// For so long at the start of every second nothing proceeds.
    pub(crate) stall_ns: u64,
    /// Traffic is answered with 500 at once; its health endpoint is fine.
    pub(crate) fails: bool,
}

/// As fast as the others, no stalls, no failures.
pub(crate) const HEALTHY: Behaviour = Behaviour { slowness: 1.0, stall_ns: 0, fails: false };

impl Behaviour {
    /// Gives how many requests a second it can serve well.
    pub(crate) fn capacity(&self) -> f64 {
        if self.fails {
            return 0.0;
        }
        let mean_ns = MEDIAN_NS * (SIGMA * SIGMA / 2.0).exp() * self.slowness;
        let awake = 1.0 - self.stall_ns as f64 / SECOND as f64;
        SERVERS as f64 / mean_ns * SECOND as f64 * awake
    }

    /// Draws how long one request takes.
    pub(crate) fn draw_work(&self, rng: &mut StdRng) -> u64 {
        (MEDIAN_NS * self.slowness * (SIGMA * standard_normal(rng)).exp()) as u64
    }

    /// Gives when work that begins now is done: it rests while the backend stalls.
    pub(crate) fn end_of(&self, now: u64, work: u64) -> u64 {
        let (mut now, mut left) = (now, work);
        loop {
            let second = now / SECOND * SECOND;
            now = now.max(second + self.stall_ns);
            let awake = second + SECOND - now;
            if self.stall_ns == 0 || left <= awake {
                return now + left;
            }
            left -= awake;
            now = second + SECOND;
        }
    }
}

/// The requests at a backend: those being served, and those that wait.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    busy: usize,
    waiting: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { busy: 0, waiting: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    /// Takes a request; gives it back when its service begins now.
    pub(crate) fn arrive(&mut self, request: T) -> Option<T> {
        if self.busy < SERVERS {
            self.busy += 1;
            return Some(request);
        }
        self.waiting.push_back(request);
        None
    }

    /// Ends one service; gives the request whose service begins now.
    pub(crate) fn depart(&mut self) -> Option<T> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.busy -= 1;
        }
        next
    }
}

/// Draws from the normal distribution of mean 0 and deviation 1 (Box and Muller 1958).
fn standard_normal(rng: &mut StdRng) -> f64 {
    let (one, other): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn service_times_have_the_median_and_the_p99_of_their_log_normal() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut times: Vec<u64> = (0..100_001).map(|_| HEALTHY.draw_work(&mut rng)).collect();
        times.sort_unstable();
        let (median, p99) = (times[50_000] as f64 / 1e6, times[99_000] as f64 / 1e6);
        assert!((median - 2.0).abs() < 0.03, "{median}");
        // 2 ms × exp(2.326 × 0.5)
        assert!((p99 - 6.40).abs() < 0.15, "{p99}");
        let mean = times.iter().sum::<u64>() as f64 / times.len() as f64;
        let from_mean = SERVERS as f64 * 1e9 / mean;
        assert!((HEALTHY.capacity() / from_mean - 1.0).abs() < 0.02);
    }

    #[test]
    fn no_more_are_served_at_a_time_than_there_are_servers_and_the_first_waits_least() {
        let mut queue = Queue::default();
        let served: Vec<usize> = (0..SERVERS + 2).filter_map(|request| queue.arrive(request)).collect();
        assert_eq!(served, (0..SERVERS).collect::<Vec<_>>());
        assert_eq!(
            [queue.depart(), queue.depart(), queue.depart()],
            [Some(SERVERS), Some(SERVERS + 1), None]
        );
        assert_eq!([queue.arrive(20), queue.arrive(21)], [Some(20), None]);
    }

    #[test]
    fn work_rests_while_the_backend_stalls() {
        let ms = 1_000_000;
        let stalling = Behaviour { stall_ns: 200 * ms, ..HEALTHY };
        assert_eq!(HEALTHY.end_of(5 * ms, 2 * ms), 7 * ms);
        assert_eq!(stalling.end_of(5 * ms, 2 * ms), 202 * ms);
        assert_eq!(stalling.end_of(300 * ms, 2 * ms), 302 * ms);
        assert_eq!(stalling.end_of(999 * ms, 2 * ms), 1201 * ms);
        assert_eq!(stalling.end_of(999 * ms, 900 * ms), 2299 * ms);
        assert!((stalling.capacity() / HEALTHY.capacity() - 0.8).abs() < 1e-9);
    }
}
