//! How far a generation's log was received, noted beside it, so that a damaged or missing end is noticed: PostgreSQL
//! itself takes one for the end of the log.
//!
//! Only the end of a whole record is noted. What was flushed may end within one, so a place where the server once
//! *inserted* counts when it is received. With it goes the server's time right before that look: all that was committed
//! by then is in the log up to there, so any moment until then can be restored.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::files::write_durably;
use super::lsn::Lsn;
use crate::backup::BackupError;
use crate::backup::sqlite::{read_line, write_line};

/// The length of a page of the log, and of what a page and a segment's first page begin with (`XLogPageHeaderData`).
const PAGE_BYTES: u64 = 8192;
const PAGE_HEAD: u64 = 24;
const SEGMENT_HEAD: u64 = 40;

/// How often it is noted that nothing more came.
const IDLE: SignedDuration = SignedDuration::from_secs(5);

/// Up to where a log was received, and until when it has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) place: Lsn,
    /// What was committed by then lies before the place; an older release did not note it.
    pub(super) at: Option<Timestamp>,
}

/// The places between records that were seen at the server and are not received yet.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    seen: Option<(Lsn, Timestamp)>,
    noted: Option<(Lsn, Timestamp)>,
}

impl Boundary {
    /// Takes a look at the server at its time `at`; gives what is to be noted, if that is news.
    pub(super) fn note(&mut self, at: Timestamp, inserted: Lsn, received: Lsn) -> Option<Received> {
        let is_received = |(place, _): &(Lsn, Timestamp)| *place <= received;
        let reached = Some((inserted, at)).filter(is_received).or(self.seen.filter(is_received));
        if reached.is_some() || self.seen.is_none() {
            self.seen = Some((inserted, at));
        }
        let is_news = |(place, at): &(Lsn, Timestamp)| {
            self.noted.is_none_or(|noted| *place > noted.0 || at.duration_since(noted.1) >= IDLE)
        };
        let (place, at) = reached.filter(is_news)?;
        self.noted = Some((place, at));
        Some(Received { place, at: Some(at) })
    }

    /// Has the next look noted, though nothing more came.
    pub(super) fn forget(&mut self) {
        self.noted = None;
    }
}

/// Notes how far the log was received.
pub(super) fn store(file: &Path, received: Received) -> Result<(), BackupError> {
    let at = received.at.map_or_else(String::new, |at| format!(" {at}"));
    write_durably(file, &write_line(&format!("{}{at}", received.place)))
}

/// Reads what was noted.
pub(super) fn parse(text: &str) -> Option<Received> {
    let line = read_line(text)?;
    match line.split_once(' ') {
        None => Some(Received { place: line.parse().ok()?, at: None }),
        Some((place, at)) => Some(Received { place: place.parse().ok()?, at: Some(at.parse().ok()?) }),
    }
}

/// Gives where a record ends that begins at a place and has a length.
pub(super) fn end_of(start: Lsn, length: u32, segment_bytes: u64) -> Lsn {
    let (mut place, mut left) = (start.0, u64::from(length));
    loop {
        let in_page = PAGE_BYTES - place % PAGE_BYTES;
        if left <= in_page {
            return Lsn((place + left).next_multiple_of(8));
        }
        left -= in_page;
        place += in_page;
        place += if place % segment_bytes == 0 { SEGMENT_HEAD } else { PAGE_HEAD };
    }
}

/// Gives a place as that of its page where it lies right after the page's head: both mean the same.
pub(super) fn before_head(place: Lsn) -> Lsn {
    let within = place.0 % PAGE_BYTES;
    if within <= SEGMENT_HEAD { Lsn(place.0 - within) } else { place }
}

/// Reads the length of the record at a place of a segment's file.
pub(super) fn length_at(file: &Path, place: Lsn, segment_bytes: u64) -> Option<u32> {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 4];
    let opened = std::fs::File::open(file).ok()?;
    opened.read_exact_at(&mut bytes, place.0 % segment_bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_between_records_counts_once_it_is_received_with_the_time_it_was_seen() {
        let mut boundary = Boundary::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let noted = |place, second| Some(Received { place: Lsn(place), at: Some(at(second)) });
        assert_eq!(boundary.note(at(1), Lsn(100), Lsn(90)), None);
        assert_eq!(boundary.note(at(2), Lsn(150), Lsn(120)), noted(100, 1), "120 may be within a record");
        assert_eq!(boundary.note(at(3), Lsn(160), Lsn(130)), None, "150 was not received");
        assert_eq!(boundary.note(at(4), Lsn(160), Lsn(160)), noted(160, 4));
        assert_eq!(boundary.note(at(5), Lsn(160), Lsn(160)), None, "that is noted");
        assert_eq!(boundary.note(at(9), Lsn(160), Lsn(160)), noted(160, 9), "nothing came until then");
        boundary.forget();
        assert_eq!(boundary.note(at(10), Lsn(160), Lsn(160)), noted(160, 10));
    }

    #[test]
    fn what_is_noted_reads_back_also_that_of_an_older_release() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("received");
        for at in [None, Some("2026-01-31T12:00:00.123456Z".parse().unwrap())] {
            let received = Received { place: Lsn(0x300_0028), at };
            store(&file, received).unwrap();
            assert_eq!(parse(&std::fs::read_to_string(&file).unwrap()), Some(received));
        }
    }

    #[test]
    fn a_record_ends_after_the_heads_of_the_pages_it_crosses() {
        let segment = 16 << 20;
        assert_eq!(end_of(Lsn(100), 50, segment), Lsn(152));
        assert_eq!(end_of(Lsn(8192 - 16), 16, segment), Lsn(8192));
        assert_eq!(end_of(Lsn(8192 - 16), 32, segment), Lsn(8192 + 24 + 16));
        assert_eq!(end_of(Lsn(segment - 16), 32, segment), Lsn(segment + 40 + 16));
        assert_eq!(before_head(Lsn(8192 + 24)), Lsn(8192));
        assert_eq!(before_head(Lsn(8192 + 48)), Lsn(8192 + 48));
    }
}
