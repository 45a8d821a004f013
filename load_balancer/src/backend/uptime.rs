//! How much of its life a backend could be used: since the start, and over the last hour and day.

/// A day of minutes.
const MINUTES: usize = 24 * 60;

const MINUTE_NS: u64 = 60_000_000_000;

/// Time spent up and out.
#[derive(Debug)]
pub(crate) struct Uptime {
    started_ns: u64,
    /// Up to here it is counted.
    counted_ns: u64,
    up_ns: u64,
    is_up: bool,
    /// Milliseconds up in each minute, as a ring; made with the first time out.
    minutes: Option<Box<[u16; MINUTES]>>,
}

impl Uptime {
    /// Starts up.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { started_ns: now_ns, counted_ns: now_ns, up_ns: 0, is_up: true, minutes: None }
    }

    /// Notes that it can be used from now on, or cannot.
    pub(crate) fn change(&mut self, is_up: bool, now_ns: u64) {
        self.count_until(now_ns);
        self.is_up = is_up;
        if !is_up && self.minutes.is_none() {
            // Until now it was up in every minute, so that nothing had to be kept.
            self.minutes = Some(Box::new([0; MINUTES]));
            self.fill(self.started_ns.max(now_ns.saturating_sub(MINUTES as u64 * MINUTE_NS)), now_ns, true);
        }
    }

    /// Gives the share of the time since the start in which it could be used, 0 to 1.
    pub(crate) fn availability(&mut self, now_ns: u64) -> f64 {
        self.count_until(now_ns);
        let total = now_ns.saturating_sub(self.started_ns);
        if total == 0 { 1.0 } else { (self.up_ns as f64 / total as f64).min(1.0) }
    }

    /// Gives the same over the last `minutes`, or since the start if that is later; exact to a minute.
    pub(crate) fn availability_over(&mut self, minutes: u64, now_ns: u64) -> f64 {
        self.count_until(now_ns);
        let Some(ring) = &self.minutes else { return 1.0 };
        let last = now_ns / MINUTE_NS;
        let first = (last + 1).saturating_sub(minutes.min(MINUTES as u64)).max(self.started_ns / MINUTE_NS);
        let up_ms: u64 = (first..=last).map(|minute| u64::from(ring[minute as usize % MINUTES])).sum();
        let total_ns = now_ns.saturating_sub(self.started_ns.max(first * MINUTE_NS));
        if total_ns == 0 { 1.0 } else { (up_ms as f64 * 1e6 / total_ns as f64).min(1.0) }
    }

    fn count_until(&mut self, now_ns: u64) {
        let from = self.counted_ns;
        self.counted_ns = now_ns.max(from);
        if self.is_up {
            self.up_ns += now_ns.saturating_sub(from);
        }
        self.fill(from, now_ns, self.is_up);
    }

    /// Enters a stretch of time into the ring, minute by minute.
    fn fill(&mut self, from_ns: u64, to_ns: u64, is_up: bool) {
        let Some(ring) = &mut self.minutes else { return };
        // What is older than the ring would be written over anyway.
        let mut from_ns = from_ns.max(to_ns.saturating_sub(MINUTES as u64 * MINUTE_NS));
        while from_ns < to_ns {
            let minute = from_ns / MINUTE_NS;
            let end_ns = ((minute + 1) * MINUTE_NS).min(to_ns);
            let slot = &mut ring[minute as usize % MINUTES];
            if from_ns.is_multiple_of(MINUTE_NS) {
                *slot = 0;
            }
            if is_up {
                // Differences of whole milliseconds, so that many short stretches do not round to nothing.
                let up_ms = end_ns / 1_000_000 - from_ns / 1_000_000;
                *slot = slot.saturating_add(u16::try_from(up_ms).unwrap_or(u16::MAX));
            }
            from_ns = end_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn availability_is_the_share_of_time_up() {
        let mut uptime = Uptime::new(100);
        assert_eq!(uptime.availability(100), 1.0);
        uptime.change(false, 130);
        uptime.change(true, 180);
        uptime.change(true, 190);
        assert_eq!(uptime.availability(200), 0.5);
    }

    #[test]
    fn what_was_long_ago_is_forgotten_by_the_hour_and_by_the_day() {
        let hour = 3600 * SECOND;
        let mut uptime = Uptime::new(hour);
        uptime.change(false, 2 * hour);
        uptime.change(true, 2 * hour + hour / 2);
        assert!((uptime.availability_over(60, 3 * hour) - 0.5).abs() < 0.02);
        assert_eq!(uptime.availability_over(60, 4 * hour), 1.0);
        assert!((uptime.availability_over(1440, 4 * hour) - 2.5 / 3.0).abs() < 0.01);
        assert_eq!(uptime.availability_over(1440, 30 * hour), 1.0);
        assert!((uptime.availability(30 * hour) - 28.5 / 29.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_ring_agrees_with_the_whole_while_it_holds_everything(
            steps in proptest::collection::vec((1..200u64, any::<bool>()), 1..40),
        ) {
            let start = 90 * SECOND;
            let mut uptime = Uptime::new(start);
            let (mut now, mut up, mut is_up) = (start, 0, true);
            for (seconds, next) in steps {
                now += seconds * SECOND;
                up += if is_up { seconds } else { 0 };
                uptime.change(next, now);
                is_up = next;
                let share = up as f64 / ((now - start) / SECOND) as f64;
                prop_assert!((uptime.availability(now) - share).abs() < 1e-6);
                prop_assert!((uptime.availability_over(1440, now) - share).abs() < 1e-3);
            }
        }
    }
}
