//! A gateway of the small fleet, and what may be the matter with it.

use std::collections::VecDeque;

use crate::events::{MS, SECOND};

/// Requests a gateway works on at a time; others wait in turn.
pub(crate) const AT_A_TIME: usize = 8;

/// What is the matter with the last gateway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// It takes this many times as long.
    Slow(f64),
    /// It answers 500 at once.
    Failing,
    /// It stands still for 200 ms of every second.
    Stalling,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("All equal"),
            Self::Slow(times) => write!(f, "One {times} times slower"),
            Self::Failing => f.write_str("One failing at once"),
            Self::Stalling => f.write_str("One stalling 200 ms in every second"),
        }
    }
}

impl Fault {
    /// The part of a good gateway's work it can do.
    pub(crate) fn capacity(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Slow(times) => 1.0 / times,
            Self::Failing => 0.0,
            Self::Stalling => 0.8,
        }
    }
    /// Gives when work that begins at a time is done.
    pub(crate) fn done_at(self, from_ns: u64, work_ns: f64) -> u64 {
        match self {
            Self::Slow(times) => from_ns + (work_ns * times) as u64,
            Self::Stalling => awake(from_ns, work_ns as u64),
            Self::None | Self::Failing => from_ns + work_ns as u64,
        }
    }
}

/// A gateway: so many requests at a time, the others in turn.
#[derive(Default)]
pub(crate) struct Gateway {
    busy: usize,
    waiting: VecDeque<usize>,
}

impl Gateway {
    /// Puts a request at the end of the line.
    pub(crate) fn queue(&mut self, id: usize) {
        self.waiting.push_back(id);
    }

    /// Begins the next request, if there is one and room for it.
    pub(crate) fn begin_next(&mut self) -> Option<usize> {
        let id = if self.busy < AT_A_TIME { self.waiting.pop_front() } else { None };
        self.busy += usize::from(id.is_some());
        id
    }

    /// Ends a request; gives how many it has then.
    pub(crate) fn end(&mut self) -> u32 {
        self.busy -= 1;
        (self.busy + self.waiting.len()) as u32
    }
}

/// Gives when work that begins at a time is done by a gateway that stands still in the first 200 ms of each second.
fn awake(from_ns: u64, work_ns: u64) -> u64 {
    let (mut now, mut left) = (from_ns, work_ns);
    loop {
        let second = now / SECOND * SECOND;
        now = now.max(second + 200 * MS);
        let until = second + SECOND;
        if now + left <= until {
            return now + left;
        }
        left -= until - now;
        now = until;
    }
}
