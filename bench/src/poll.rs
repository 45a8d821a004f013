//! Waiting for sockets and for a moment, to a few microseconds.
//!
//! Tokio's timer counts whole milliseconds; service times of 2 ms and requests every 30 µs need better. The load
//! generator and the measured backends are therefore plain state machines around this one `epoll_pwait2`.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// How many events are taken at a time.
const EVENTS: usize = 256;

/// A set of sockets, each known by a number.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// Makes an empty one; the calling thread's timers become exact.
    pub(crate) fn new() -> anyhow::Result<Self> {
        // Without this the kernel may wake us 50 µs late.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a socket until it is closed: it is reported while there is something to read.
    pub(crate) fn watch(&self, socket: impl AsFd, number: u64) -> anyhow::Result<()> {
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Waits until a socket can be read or the moment has come; puts the sockets' numbers into `ready`.
    pub(crate) fn wait(&mut self, until: Option<Instant>, ready: &mut Vec<u64>) -> anyhow::Result<()> {
        let left = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        ready.clear();
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), left.as_ref()) {
            Ok(_) => ready.extend(self.events.iter().map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_waited_for_and_a_readable_socket_is_told_at_once() {
        let mut poller = Poller::new().unwrap();
        let (mut one, other) = UnixStream::pair().unwrap();
        poller.watch(&other, 7).unwrap();
        let moment = Instant::now() + Duration::from_micros(300);
        let mut ready = vec![1];
        poller.wait(Some(moment), &mut ready).unwrap();
        assert!(ready.is_empty());
        assert!(Instant::now() >= moment);
        one.write_all(b"x").unwrap();
        poller.wait(None, &mut ready).unwrap();
        assert_eq!(ready, [7]);
    }
}
