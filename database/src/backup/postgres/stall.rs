//! Whether a reception that runs gets on: decided from what is seen at the server.
//!
//! A program that hangs, or the disk it writes to, breaks no connection: the server shows the receiver as there, and only
//! the place that it confirms stands still.

use std::time::Duration;

use tokio::time::Instant;

use super::lsn::Lsn;

/// After how many times the bound a receiver that got nothing on is started again: it may only have been slow.
const PATIENCE: u32 = 3;

/// When a reception was last seen to get on.
#[derive(Debug)]
pub(super) struct Progress {
    bound: Duration,
    since: Instant,
    received: Lsn,
}

/// What a look at the server found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It gets on, or did until a moment ago.
    Steady,
    /// It has got nothing on for that long.
    Stalled(Duration),
    /// It will not by itself.
    Lost(Duration),
}

impl Progress {
    /// Begins with a receiver that was just started; it has stalled once it gets nothing on for `bound`.
    pub(super) fn new(now: Instant, bound: Duration) -> Self {
        Self { bound, since: now, received: Lsn::default() }
    }

    /// Takes a look: up to where the server flushed its log, up to where that is confirmed, and whether the receiver is
    /// connected. One that has all there is waits, and stalls only when it is not connected.
    pub(super) fn note(&mut self, now: Instant, flushed: Lsn, received: Lsn, is_connected: bool) -> Pace {
        if received > self.received || (is_connected && received >= flushed) {
            self.since = now;
        }
        self.received = received;
        match now.saturating_duration_since(self.since) {
            stood if stood >= self.bound * PATIENCE => Pace::Lost(stood),
            stood if stood >= self.bound => Pace::Stalled(stood),
            _ => Pace::Steady,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_stalls_when_what_it_confirms_stands_still_while_there_is_more() {
        let (bound, start) = (Duration::from_secs(10), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(start, bound);
        // Idle for as long as it likes.
        assert_eq!(progress.note(at(1), Lsn(50), Lsn(50), true), Pace::Steady);
        assert_eq!(progress.note(at(1000), Lsn(50), Lsn(50), true), Pace::Steady);
        // Behind, and moving.
        for second in 1..100 {
            let received = Lsn(50 + second);
            assert_eq!(progress.note(at(1000 + second), Lsn(5000), received, true), Pace::Steady);
        }
        // Standing still.
        let mut stands = |second| progress.note(at(second), Lsn(5000), Lsn(149), true);
        assert_eq!(stands(1108), Pace::Steady);
        assert_eq!(stands(1109), Pace::Stalled(bound));
        assert_eq!(stands(1128), Pace::Stalled(Duration::from_secs(29)));
        assert_eq!(stands(1129), Pace::Lost(bound * 3));
        assert_eq!(progress.note(at(1130), Lsn(5000), Lsn(150), true), Pace::Steady, "it goes on");
    }

    #[test]
    fn a_receiver_that_does_not_connect_stalls_though_there_is_nothing_more() {
        let (bound, start) = (Duration::from_secs(10), Instant::now());
        let mut progress = Progress::new(start, bound);
        assert_eq!(progress.note(start, Lsn(50), Lsn(50), false), Pace::Steady);
        assert_eq!(progress.note(start + bound, Lsn(50), Lsn(50), false), Pace::Stalled(bound));
        assert_eq!(progress.note(start + bound, Lsn(50), Lsn(50), true), Pace::Steady);
    }
}
