//! How far a generation's log was received, noted beside it, so that a damaged or missing end is noticed: PostgreSQL
//! itself takes one for the end of the log.
//!
//! Only the end of a whole record is noted. What was flushed may end within one, so a place where the server once
//! *inserted* counts when it is received.

use std::path::Path;

use super::files::write_durably;
use super::lsn::Lsn;
use crate::backup::BackupError;
use crate::backup::head::{read_line, write_line};

/// The length of a page of the log, and of what a page and a segment's first page begin with (`XLogPageHeaderData`).
const PAGE_BYTES: u64 = 8192;
const PAGE_HEAD: u64 = 24;
const SEGMENT_HEAD: u64 = 40;

/// The places between records that were seen at the server and are not received yet.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    seen: Option<Lsn>,
    noted: Lsn,
}

impl Boundary {
    /// Takes a look at the server; gives the place that is to be noted, if it is another one.
    pub(super) fn note(&mut self, inserted: Lsn, received: Lsn) -> Option<Lsn> {
        let is_received = |place: &Lsn| *place <= received;
        let reached = Some(inserted).filter(is_received).or(self.seen.filter(is_received));
        if reached.is_some() || self.seen.is_none() {
            self.seen = Some(inserted);
        }
        let news = reached.filter(|place| *place > self.noted)?;
        self.noted = news;
        Some(news)
    }
}

/// Notes how far the log was received.
pub(super) fn store(file: &Path, place: Lsn) -> Result<(), BackupError> {
    write_durably(file, &write_line(&place.to_string()))
}

/// Reads what was noted.
pub(super) fn parse(text: &str) -> Option<Lsn> {
    read_line(text)?.parse().ok()
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
    fn a_place_between_records_counts_once_it_is_received() {
        let mut boundary = Boundary::default();
        assert_eq!(boundary.note(Lsn(100), Lsn(90)), None);
        assert_eq!(boundary.note(Lsn(150), Lsn(120)), Some(Lsn(100)), "120 may be within a record");
        assert_eq!(boundary.note(Lsn(160), Lsn(130)), None, "150 was not received");
        assert_eq!(boundary.note(Lsn(160), Lsn(160)), Some(Lsn(160)));
        assert_eq!(boundary.note(Lsn(160), Lsn(160)), None, "that is noted");
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
