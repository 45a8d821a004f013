//! Whether a server's log goes on from where a generation ends: decided from the timelines of both.
//!
//! A server that was restored, or that took over, writes in a timeline of its own, which left the one before at some place: the
//! fork. A generation goes on over a fork where it has nothing beyond it. Where it has, that is part of the server's history no
//! more, yet moments of it may be asked for; so it ends there, and another one begins.

use super::lsn::Lsn;
use super::received;

/// Where timelines were left, oldest first, as PostgreSQL writes it into a timeline's history file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History(Vec<Fork>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fork {
    /// The timeline that was left.
    timeline: u32,
    at: Lsn,
    /// Why, and thereby in which of several recoveries.
    reason: String,
}

/// Where a generation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// The timeline that was received last.
    pub(super) timeline: u32,
    /// How that came about, if it was received.
    pub(super) history: Option<History>,
    /// Up to where something of it was received, or is noted to have been.
    pub(super) place: Lsn,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The timeline it writes in.
    pub(super) timeline: u32,
    pub(super) history: History,
    /// Up to where its log is flushed.
    pub(super) flushed: Lsn,
}

impl History {
    /// Reads a history file.
    pub(super) fn read(text: &str) -> Self {
        let fork = |line: &str| {
            let mut words = line.split_whitespace();
            let (timeline, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Fork { timeline, at, reason: words.collect::<Vec<_>>().join(" ") })
        };
        Self(text.lines().filter_map(fork).collect())
    }
}

/// Says why a server's log does not go on from where a generation ends; `None` if it does.
pub(super) fn fault_of(end: &End, line: &Line) -> Option<String> {
    let (theirs, ours) = (line.timeline, end.timeline);
    let forks = &line.history.0;
    let before = forks.iter().position(|fork| fork.timeline == ours);
    // The same number is given again where two servers are restored from one backup.
    let is_other = end
        .history
        .as_ref()
        .is_some_and(|History(known)| known[..] != forks[..before.unwrap_or(forks.len())]);
    let place = received::before_head(end.place);
    match before {
        _ if is_other => {
            Some(format!("the server's timeline {theirs} has another history than what was received"))
        }
        None if theirs != ours => Some(format!(
            "timeline {ours}, of which the log was received, is not in the history of the server's, {theirs}"
        )),
        None if place > line.flushed => Some(format!(
            "the server's log ends at {}, before what was received of it, {}",
            line.flushed, end.place
        )),
        Some(fork) if place > forks[fork].at => Some(format!(
            "the server's timeline {theirs} left timeline {ours} at {}, before the end of what was received, {}",
            forks[fork].at, end.place
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: &str = "1\t0/5000000\tno recovery target specified\n";
    const THIRD: &str =
        "# more\n1\t0/5000000\tno recovery target specified\n\n2\t0/7000000\tbefore 2026-01-01\n";

    fn end(timeline: u32, history: Option<&str>, place: u64) -> End {
        End { timeline, history: history.map(History::read), place: Lsn(place) }
    }

    fn line(timeline: u32, history: &str, flushed: u64) -> Line {
        Line { timeline, history: History::read(history), flushed: Lsn(flushed) }
    }

    #[test]
    fn a_generation_goes_on_in_its_timeline_and_over_forks_at_or_after_its_end() {
        for (end, line) in [
            (end(1, None, 0x500_0000), line(1, "", 0x500_0000)),
            (end(1, None, 0x500_0000), line(2, SECOND, 0x600_0000)),
            (end(1, None, 0x4FF_FF00), line(2, SECOND, 0x600_0000)),
            (end(1, None, 0x500_0028), line(2, SECOND, 0x600_0000)),
            (end(1, None, 0x500_0000), line(3, THIRD, 0x800_0000)),
            (end(2, Some(SECOND), 0x600_0000), line(2, SECOND, 0x600_0000)),
            (end(2, Some(SECOND), 0x700_0000), line(3, THIRD, 0x800_0000)),
            (end(2, None, 0x700_0000), line(3, THIRD, 0x800_0000)),
        ] {
            assert_eq!(fault_of(&end, &line), None, "{end:?} {line:?}");
        }
    }

    #[test]
    fn a_generation_ends_where_the_server_left_its_timeline_before_its_end() {
        let told = |end, line| fault_of(&end, &line).unwrap();
        let fault = told(end(1, None, 0x500_0100), line(2, SECOND, 0x900_0000));
        assert!(
            fault.contains("left timeline 1 at 0/5000000, before") && fault.contains("0/5000100"),
            "{fault}"
        );
        assert!(told(end(1, None, 0x500_0100), line(3, THIRD, 0x900_0000)).contains("left timeline 1"));
        assert!(
            told(end(2, Some(SECOND), 0x700_0100), line(3, THIRD, 0x900_0000)).contains("left timeline 2")
        );
    }

    #[test]
    fn a_generation_ends_where_the_server_has_another_history_or_less_log() {
        let told = |end, line| fault_of(&end, &line).unwrap();
        assert!(told(end(1, None, 0x500_0100), line(1, "", 0x500_0000)).contains("ends at 0/5000000"));
        // An old server that was started again after another one took over.
        assert!(told(end(2, Some(SECOND), 0x600_0000), line(1, "", 0x900_0000)).contains("another history"));
        assert!(told(end(2, None, 0x600_0000), line(1, "", 0x900_0000)).contains("is not in the history"));
        // Two that were restored to different moments.
        for other in ["1\t0/4000000\tno recovery target specified\n", "1\t0/5000000\tat restore point\n", ""]
        {
            assert!(
                told(end(2, Some(SECOND), 0x600_0000), line(2, other, 0x900_0000))
                    .contains("another history")
            );
        }
        let third = "1\t0/4000000\tx\n2\t0/7000000\ty\n";
        assert!(
            told(end(2, Some(SECOND), 0x600_0000), line(3, third, 0x900_0000)).contains("another history")
        );
        assert!(
            told(end(2, None, 0x600_0000), line(3, "1\t0/5000000\tx\n", 0x900_0000))
                .contains("not in the history")
        );
    }
}
