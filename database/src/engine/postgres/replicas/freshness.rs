//! As of when a replica has everything, decided from what both servers said: pure.
//!
//! A standby's own times say little: `pg_last_xact_replay_timestamp` stands still while the primary does, and compares two
//! clocks. Instead the primary is asked again and again where it is, and it is noted when *that was asked*: whatever was
//! answered to a writer before then is in the mark. A replica that holds a mark holds all of that, whenever it
//! came to it; so it is as fresh as the latest mark it holds, by our clock alone.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::PgLsn;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The server and the history (timeline) in which the data was last written, as `anew` notes it in the data.
    pub(super) history: String,
    /// The sequence of the latest change.
    pub(super) sequence: i64,
    /// The place in the log, flushed or replayed.
    pub(super) place: PgLsn,
}

impl Mark {
    /// Tells whether all that is in another mark is in this one.
    ///
    /// Places in the logs of two histories do not compare: after a fork either may be ahead. The history in the data
    /// tells them apart once somebody wrote on both sides; while nobody wrote on one side, its sequence stands still.
    fn holds(&self, other: &Self) -> bool {
        self.history == other.history && self.place >= other.place && self.sequence >= other.sequence
    }
}

/// How a replica compares with the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Compared {
    /// It has everything as of then.
    AsOf(Instant),
    /// It has none of the marks that are remembered.
    Behind,
    /// It is no copy of this primary, or one of another history.
    Foreign,
    /// There is no mark of late to compare with.
    Unmarked,
}

/// The primary's marks of late, the latest last.
#[derive(Debug)]
pub(super) struct Marks {
    kept: VecDeque<(Instant, Mark)>,
    keep: Duration,
}

impl Marks {
    /// Remembers marks for so long.
    pub(super) fn new(keep: Duration) -> Self {
        Self { kept: VecDeque::new(), keep }
    }

    /// Notes where the primary was when it answered what was asked then.
    pub(super) fn note(&mut self, asked_at: Instant, mark: Mark) {
        if self.kept.back().is_some_and(|(_, latest)| latest.history != mark.history) {
            self.kept.clear();
        }
        while self.kept.front().is_some_and(|(at, _)| asked_at.duration_since(*at) > self.keep) {
            self.kept.pop_front();
        }
        self.kept.push_back((asked_at, mark));
    }

    /// Compares what a replica holds now.
    pub(super) fn compare(&self, held: &Mark, now: Instant) -> Compared {
        match self.kept.back() {
            None => Compared::Unmarked,
            Some((at, _)) if now.duration_since(*at) > self.keep => Compared::Unmarked,
            Some((_, latest)) if latest.history != held.history => Compared::Foreign,
            Some(_) => {
                let found = self.kept.iter().rev().find(|(_, mark)| held.holds(mark));
                found.map_or(Compared::Behind, |(at, _)| Compared::AsOf(*at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(history: &str, sequence: i64, place: u64) -> Mark {
        Mark { history: history.to_owned(), sequence, place: place.into() }
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_replica_is_as_fresh_as_the_latest_mark_it_holds() {
        let (mut marks, start) = (Marks::new(Duration::from_secs(10)), Instant::now());
        assert_eq!(marks.compare(&mark("7/1", 1, 100), start), Compared::Unmarked);
        marks.note(at(start, 0), mark("7/1", 1, 100));
        marks.note(at(start, 1), mark("7/1", 2, 200));
        marks.note(at(start, 2), mark("7/1", 3, 300));
        assert_eq!(marks.compare(&mark("7/1", 0, 99), at(start, 2)), Compared::Behind);
        assert_eq!(marks.compare(&mark("7/1", 1, 100), at(start, 2)), Compared::AsOf(at(start, 0)));
        assert_eq!(marks.compare(&mark("7/1", 2, 299), at(start, 2)), Compared::AsOf(at(start, 1)));
        assert_eq!(marks.compare(&mark("7/1", 3, 300), at(start, 2)), Compared::AsOf(at(start, 2)));
        assert_eq!(marks.compare(&mark("7/1", 9, 900), at(start, 2)), Compared::AsOf(at(start, 2)));
        assert_eq!(marks.compare(&mark("7/1", 3, 300), at(start, 12)), Compared::AsOf(at(start, 2)));
        assert_eq!(
            marks.compare(&mark("7/1", 3, 300), at(start, 13)),
            Compared::Unmarked,
            "nobody told since"
        );
    }

    #[test]
    fn an_idle_primary_leaves_its_replicas_fresh() {
        let (mut marks, start) = (Marks::new(Duration::from_secs(2)), Instant::now());
        for second in 0..3600 {
            marks.note(at(start, second), mark("7/1", 1, 100));
            assert_eq!(
                marks.compare(&mark("7/1", 1, 100), at(start, second)),
                Compared::AsOf(at(start, second))
            );
        }
        assert!(marks.kept.len() <= 4, "what is too old is forgotten");
    }

    #[test]
    fn a_replica_of_another_history_has_nothing_however_far_its_log_goes() {
        let (mut marks, start) = (Marks::new(Duration::from_secs(10)), Instant::now());
        marks.note(at(start, 0), mark("7/1", 5, 100));
        assert_eq!(marks.compare(&mark("8/1", 5, 900), at(start, 1)), Compared::Foreign);
        // A standby took over; one that follows the old primary goes on with what is lost.
        marks.note(at(start, 1), mark("7/2", 6, 101));
        assert_eq!(marks.compare(&mark("7/1", 9, 900), at(start, 1)), Compared::Foreign);
        assert_eq!(
            marks.compare(&mark("7/2", 5, 100), at(start, 1)),
            Compared::Behind,
            "marks of before are forgotten"
        );
        assert_eq!(marks.compare(&mark("7/2", 6, 101), at(start, 1)), Compared::AsOf(at(start, 1)));
    }

    #[test]
    fn a_copy_of_a_copy_that_took_over_and_is_not_written_to_gets_old_although_its_log_grows() {
        let (mut marks, start) = (Marks::new(Duration::from_secs(10)), Instant::now());
        marks.note(at(start, 0), mark("7/1", 5, 100));
        marks.note(at(start, 1), mark("7/1", 6, 200));
        assert_eq!(marks.compare(&mark("7/1", 5, 900), at(start, 1)), Compared::AsOf(at(start, 0)));
    }
}
