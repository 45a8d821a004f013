//! How many files, and so connections, this process may have open.

use std::os::fd::{AsFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than this is not asked for: what the kernel allows by default (`fs.nr_open`).
const MOST: u64 = 1 << 20;

/// How many descriptors there is room for from the start: clients and their backends, at twice the usual limit of
/// connections. It costs half a mebibyte of the kernel's memory.
const ROOM: u64 = 1 << 16;

/// Prepares for many connections; call it while the process has one thread.
pub fn prepare() {
    raise_limit();
    // Without room they are opened all the same, more slowly.
    let _ = make_room();
}

/// Has the kernel make its table of descriptors so large that it need not grow.
///
/// It starts at 64 and is doubled when it is full. In a process with several threads whoever opens the descriptor that
/// does not fit then waits for all processors to pass through a quiescent state (`expand_fdtable` in Linux's
/// `fs/file.c` calls `synchronize_rcu`): 20 to 100 ms in which a thread that accepts connections answers nobody. The
/// table never shrinks, so one descriptor with a high number is enough.
fn make_room() -> rustix::io::Result<()> {
    let last = RawFd::try_from(limit().min(ROOM).saturating_sub(1)).unwrap_or(RawFd::MAX);
    rustix::io::fcntl_dupfd_cloexec(std::io::stderr().as_fd(), last).map(drop)
}

/// Raises the limit to the hardest the system allows, as Go's runtime and Java do; gives what it is then.
///
/// The lower one that a shell or systemd sets (mostly 1,024) is there for programs that use `select`, which this
/// one does not, and would end a balancer at some five hundred clients.
fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MOST).min(MOST);
    if current.is_none_or(|current| current >= wanted) {
        return limit();
    }
    // What the limit is then is what counts, and nothing can be logged yet.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    limit()
}

/// Gives the limit.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be_and_there_is_room_from_the_start() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let low = Rlimit { current: Some(256), maximum };
        setrlimit(Resource::Nofile, low).unwrap();
        assert_eq!(limit(), 256);
        let raised = raise_limit();
        assert_eq!(raised, maximum.unwrap_or(MOST).min(MOST));
        assert_eq!(raised, limit());
        assert!(table_size() < ROOM);
        make_room().unwrap();
        assert!(table_size() >= raised.min(ROOM), "{}", table_size());
    }

    /// Gives how many descriptors the kernel's table has room for.
    fn table_size() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        size.trim().parse().unwrap()
    }
}
