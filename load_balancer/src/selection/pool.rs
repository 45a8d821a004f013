//! Prequal's pool of probes, for fleets too large to look at every backend (NSDI'24 §4).

use rand::Rng;

/// Probes kept at most: the paper found little to be gained beyond 16 (§4).
pub(crate) const CAPACITY: usize = 16;

/// Probes for each request; the paper's testbed sends 3 (§5, its baseline).
pub(crate) const R_PROBE: f64 = 3.0;

/// Probes removed for each request (§5: 1), besides those used up or too old.
const R_REMOVE: f64 = 1.0;

/// By how many probes a request the pool should grow, if none were used up (§4, δ; §5: 1).
const DELTA: f64 = 1.0;

/// A probe older than this tells nothing (§5: 1 s).
const AGE_LIMIT_NS: u64 = 1_000_000_000;

/// Below this the pool is no choice, and one is taken at random (§4).
pub(crate) const TOO_FEW: usize = 2;

/// What a backend told, and how often that was acted upon.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Probe {
    pub(crate) index: u32,
    pub(crate) load: f64,
    pub(crate) latency_ns: f64,
    at_ns: u64,
    uses: u32,
}

/// The pool, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    probes: [Probe; CAPACITY],
    len: usize,
    removes_worst: bool,
}

impl Pool {
    /// Adds a probe; the oldest gives way.
    pub(crate) fn add(&mut self, index: usize, load: f64, latency_ns: f64, now_ns: u64) {
        if self.len == CAPACITY {
            self.remove(0);
        }
        self.probes[self.len] = Probe { index: index as u32, load, latency_ns, at_ns: now_ns, uses: 0 };
        self.len += 1;
    }

    pub(crate) fn as_slice(&self) -> &[Probe] {
        &self.probes[..self.len]
    }

    /// Removes what is too old.
    pub(crate) fn remove_old(&mut self, now_ns: u64) {
        while self.len > 0 && now_ns.saturating_sub(self.probes[0].at_ns) > AGE_LIMIT_NS {
            self.remove(0);
        }
    }

    /// Counts a use: the backend has one request more than it told, and after some uses the probe is spent.
    pub(crate) fn use_up(&mut self, place: usize, backends: usize, rng: &mut impl Rng) {
        self.probes[place].uses += 1;
        self.probes[place].load += 1.0;
        if self.probes[place].uses >= reuse_limit(backends, rng) {
            self.remove(place);
        }
    }

    /// Removes the oldest and the worst by turns (§4, probe reuse and removal): the one keeps the pool fresh,
    /// the other keeps it from filling up with what nobody would choose.
    pub(crate) fn remove_one(&mut self, hot_from: f64) {
        if self.len == 0 {
            return;
        }
        self.removes_worst = !self.removes_worst;
        let place = if self.removes_worst { self.worst(hot_from) } else { 0 };
        self.remove(place);
    }

    /// Gives the hottest if any is hot, else the slowest.
    fn worst(&self, hot_from: f64) -> usize {
        let mut worst = (false, f64::NEG_INFINITY, 0);
        for (place, probe) in self.as_slice().iter().enumerate() {
            let is_hot = probe.load >= hot_from;
            let figure = if is_hot { probe.load } else { probe.latency_ns };
            if (is_hot, figure) > (worst.0, worst.1) {
                worst = (is_hot, figure, place);
            }
        }
        worst.2
    }

    fn remove(&mut self, place: usize) {
        self.probes.copy_within(place + 1..self.len, place);
        self.len -= 1;
    }
}

/// Gives how often a probe may be used: max(1, (1 + δ) / ((1 − m/n) r_probe − r_remove)), rounded up or down at
/// random by its fraction (§4, probe reuse and removal).
fn reuse_limit(backends: usize, rng: &mut impl Rng) -> u32 {
    let kept = 1.0 - CAPACITY as f64 / backends as f64;
    let rate = kept * R_PROBE - R_REMOVE;
    if rate <= 0.0 {
        return u32::MAX;
    }
    let limit = ((1.0 + DELTA) / rate).max(1.0);
    let whole = limit.floor();
    whole as u32 + u32::from(rng.random::<f64>() < limit - whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn the_pool_holds_sixteen_and_forgets_the_oldest() {
        let mut pool = Pool::default();
        (0..40).for_each(|index| pool.add(index, 1.0, 1.0, index as u64));
        let indices: Vec<u32> = pool.as_slice().iter().map(|probe| probe.index).collect();
        assert_eq!(indices, (24..40).collect::<Vec<_>>());
        pool.remove_old(AGE_LIMIT_NS + 30);
        assert_eq!(pool.as_slice()[0].index, 30);
    }

    #[test]
    fn a_probe_is_spent_after_the_paper_s_number_of_uses() {
        // n = 100: 2 / (0.84 × 3 − 1) = 1.316.
        let mut rng = SmallRng::seed_from_u64(1);
        let mean = (0..10_000).map(|_| f64::from(reuse_limit(100, &mut rng))).sum::<f64>() / 1e4;
        assert!((mean - 1.316).abs() < 0.02, "{mean}");
        assert_eq!(reuse_limit(17, &mut rng), u32::MAX, "so few backends accumulate nothing");
    }

    #[test]
    fn oldest_and_worst_are_removed_by_turns() {
        let mut pool = Pool::default();
        for (index, (load, latency)) in
            [(1.0, 5.0), (9.0, 1.0), (1.0, 9.0), (1.0, 2.0)].into_iter().enumerate()
        {
            pool.add(index, load, latency, 1);
        }
        pool.remove_one(5.0);
        assert!(pool.as_slice().iter().all(|probe| probe.index != 1), "the hot one is the worst");
        pool.remove_one(5.0);
        assert!(pool.as_slice().iter().all(|probe| probe.index != 0), "then the oldest");
        pool.remove_one(5.0);
        assert!(pool.as_slice().iter().all(|probe| probe.index != 2), "then the slowest, as none is hot");
    }
}
