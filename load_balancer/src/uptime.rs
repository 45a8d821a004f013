//! How much of its life a backend could be used.

/// Time spent up and out, from the start to the last change and on.
#[derive(Debug)]
pub(crate) struct Uptime {
    started_ns: u64,
    changed_ns: u64,
    up_ns: u64,
    is_up: bool,
}

impl Uptime {
    /// Starts up.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { started_ns: now_ns, changed_ns: now_ns, up_ns: 0, is_up: true }
    }

    /// Notes that it can be used from now on, or cannot.
    pub(crate) fn change(&mut self, is_up: bool, now_ns: u64) {
        self.up_ns = self.up_until(now_ns);
        self.changed_ns = now_ns;
        self.is_up = is_up;
    }

    /// Gives the share of the time since the start in which it could be used, 0 to 1.
    pub(crate) fn availability(&self, now_ns: u64) -> f64 {
        let total = now_ns.saturating_sub(self.started_ns);
        if total == 0 { 1.0 } else { (self.up_until(now_ns) as f64 / total as f64).min(1.0) }
    }

    fn up_until(&self, now_ns: u64) -> u64 {
        let present = if self.is_up { now_ns.saturating_sub(self.changed_ns) } else { 0 };
        self.up_ns + present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_is_the_share_of_time_up() {
        let mut uptime = Uptime::new(100);
        assert_eq!(uptime.availability(100), 1.0);
        uptime.change(false, 130);
        uptime.change(true, 180);
        uptime.change(true, 190);
        assert_eq!(uptime.availability(200), 0.5);
    }
}
