//! Whether a quiet client is still there: it is asked by `PING` (RFC 9113 §6.7).

use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::server::{PING_TIMEOUT, Standing};
use crate::wire::timer::Timer;

/// One connection's pings.
pub(super) struct Pings {
    pings: PingPong,
    timer: Timer,
    interval: Duration,
    /// When something was heard last, as far as was looked.
    heard: Instant,
    asked: Option<Instant>,
}

impl Pings {
    pub(super) fn new(pings: PingPong, interval: Duration) -> Self {
        Self { pings, timer: Timer::default(), interval, heard: Instant::now(), asked: None }
    }

    /// Asks a client that has been silent; true if it has not answered in time.
    pub(super) fn poll_silence(&mut self, cx: &mut Context<'_>, standing: &Standing) -> bool {
        if self.asked.is_some() && self.pings.poll_pong(cx).is_ready() {
            self.asked = None;
            self.heard = Instant::now();
        }
        loop {
            let deadline = self.asked.map_or(self.heard + self.interval, |asked| asked + PING_TIMEOUT);
            if !self.timer.poll_due(cx, deadline) {
                return false;
            }
            let was_heard = standing.take_heard();
            match self.asked {
                // Whatever it sends, it is there.
                _ if was_heard => (self.heard, self.asked) = (Instant::now(), None),
                Some(_) => return true,
                None => {
                    if self.pings.send_ping(Ping::opaque()).is_err() {
                        // The one before is not answered yet, or the connection is ending.
                        self.heard = Instant::now();
                        continue;
                    }
                    self.asked = Some(Instant::now());
                    if self.pings.poll_pong(cx).is_ready() {
                        (self.heard, self.asked) = (Instant::now(), None);
                    }
                }
            }
        }
    }
}
