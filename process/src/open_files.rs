//! How many files, and so connections, this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than this is not asked for: what the kernel allows by default (`fs.nr_open`).
const MOST: u64 = 1 << 20;

/// Raises the limit to the hardest the system allows, as Go's runtime and Java do; gives what it is then.
///
/// The lower one that a shell or systemd sets (mostly 1,024) is there for programs that use `select`, which this
/// one does not, and would end a balancer at some five hundred clients.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MOST).min(MOST);
    if current.is_none_or(|current| current >= wanted) {
        return limit();
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        tracing::debug!(%error, "the limit of open files was not raised");
    }
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
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let low = Rlimit { current: Some(256), maximum };
        setrlimit(Resource::Nofile, low).unwrap();
        assert_eq!(limit(), 256);
        let raised = raise_limit();
        assert_eq!(raised, maximum.unwrap_or(MOST).min(MOST));
        assert_eq!(raised, limit());
    }
}
