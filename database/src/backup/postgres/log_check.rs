//! What is within the log, as pg_waldump reads it: whether every record is whole, and when the last commit was.
//!
//! It reads segments by their final names, so a folder of links gives those to segments that are still being received.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustix::process::Signal;

use super::files;
use super::lsn::{Lsn, SegmentName};
use super::program::{Ended, Program, Stream};
use super::received;
use super::tools::{Tool, Tools};
use crate::backup::{BackupError, fault};

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// Its last record.
    pub(super) record: Lsn,
    /// Where that ends.
    pub(super) end: Lsn,
}

/// Segments of the log, under the names by which PostgreSQL's programs look for them.
#[derive(Debug)]
pub(super) struct LogFolder {
    folder: PathBuf,
    segments: Vec<SegmentName>,
    segment_bytes: u64,
}

impl LogFolder {
    /// Makes a folder of links to segments of the log in `wal`.
    pub(super) fn link(
        folder: PathBuf,
        wal: &Path,
        segments: &[SegmentName],
        segment_bytes: u64,
    ) -> Result<Self, BackupError> {
        files::remove(&folder)?;
        files::make_private(&folder)?;
        let mut header = None;
        for segment in segments {
            let whole = SegmentName { is_partial: false, ..*segment }.write(segment_bytes);
            let link = folder.join(&whole);
            // It may have been finished meanwhile.
            let names = [wal.join(&whole), wal.join(segment.write(segment_bytes))];
            let file = names.iter().find(|file| file.exists()).unwrap_or(&names[0]);
            // One that was only just begun holds nothing, and pg_waldump reads of any file how long segments are.
            if let Some(found) = read_header(file)? {
                header = Some(found);
                symlink(file, &link).map_err(|error| fault(&link, error))?;
            }
        }
        // Where a timeline ends pg_waldump waits five seconds for the next segment. One with nothing but the head of
        // another, which takes no space, has it end at once.
        for segment in segments {
            for number in [segment.number, segment.number + 1] {
                let next = SegmentName { number, is_partial: false, ..*segment };
                write_empty(&folder.join(next.write(segment_bytes)), header.as_ref(), segment_bytes)?;
            }
        }
        Ok(Self { folder, segments: segments.to_owned(), segment_bytes })
    }

    /// Reads every record from a place on. Gives where the log ends, or the first record that is not whole: its segment
    /// and what is wrong.
    pub(super) async fn read(
        &self,
        tools: &Tools,
        start: Lsn,
        received: Option<Lsn>,
    ) -> Result<Result<LogEnd, (String, String)>, BackupError> {
        let mut end = LogEnd { record: start, end: start };
        let mut timelines: Vec<u32> = self.segments.iter().map(|segment| segment.timeline).collect();
        timelines.dedup();
        for (place, timeline) in timelines.iter().enumerate() {
            let of = || self.segments.iter().filter(|segment| segment.timeline == *timeline);
            let (Some(first), Some(last)) = (of().next(), of().next_back()) else { continue };
            let mut command = tools.command(Tool::WalDump).map_err(BackupError::Settings)?;
            command.arg("--quiet").arg("--path").arg(&self.folder);
            command.args(["--timeline", &timeline.to_string()]);
            // A later timeline's first segment begins with the end of the one before.
            match place {
                0 => command.args(["--start", &start.to_string()]),
                _ => command.arg(SegmentName { is_partial: false, ..*first }.write(self.segment_bytes)),
            };
            let started = Program::start(command, None, Signal::TERM, |_, _| ());
            let mut program = started.map_err(|error| fault(&self.folder, error))?;
            let is_left = place + 1 < timelines.len();
            let ended = program.end().await;
            if let Some(number) = where_broken(&ended, self.segment_bytes, *last, is_left)? {
                let segment = of().find(|segment| segment.number == number).unwrap_or(last);
                let reason = "a record in it, or in the one before, is damaged".to_owned();
                return Ok(Err((segment.write(self.segment_bytes), reason)));
            }
            if !is_left {
                end = self.end_of(&ended, start, *last);
                if let Some(fault) =
                    received.and_then(|received| self.fault_of_end(&ended, end, received, *last))
                {
                    return Ok(Err(fault));
                }
            }
        }
        Ok(Ok(end))
    }

    fn file_of(&self, place: Lsn, last: SegmentName) -> PathBuf {
        let number = place.segment(self.segment_bytes);
        self.folder.join(SegmentName { number, is_partial: false, ..last }.write(self.segment_bytes))
    }

    /// Tells where what can be read ends.
    fn end_of(&self, ended: &Ended, start: Lsn, last: SegmentName) -> LogEnd {
        let bytes = self.segment_bytes;
        if ended.is_success() {
            let end = Lsn((last.number + 1) * bytes);
            return LogEnd { record: end, end };
        }
        // The last good record, and not where reading stopped: a damaged length leads anywhere.
        let record = last_record(&ended.reason());
        let length =
            record.and_then(|record| received::length_at(&self.file_of(record, last), record, bytes));
        match (record, length) {
            (Some(record), Some(length)) => LogEnd { record, end: received::end_of(record, length, bytes) },
            _ => LogEnd { record: start, end: start },
        }
    }

    /// Says what is wrong if what can be read ends before what was received: the end was damaged or taken away.
    fn fault_of_end(
        &self,
        ended: &Ended,
        end: LogEnd,
        received: Lsn,
        last: SegmentName,
    ) -> Option<(String, String)> {
        if ended.is_success() {
            return None;
        }
        let (bytes, end) = (self.segment_bytes, end.end);
        if received::before_head(received) <= end {
            return None;
        }
        // After a switch to the next segment the fault is in that one.
        let (first, furthest) = (end.segment(bytes), received.segment_before(bytes));
        let number = place_of(&ended.reason(), bytes).map_or(first, |stopped| stopped.clamp(first, furthest));
        let found = self.segments.iter().rfind(|segment| segment.number == number);
        let name = found.copied().unwrap_or(SegmentName { number, is_partial: true, ..last });
        let reason = format!(
            "the log was received to {received} and can be read to {end}: a record is damaged or missing"
        );
        Some((name.write(bytes), reason))
    }

    /// Looks for a transaction's end; if it is not there, gives the last one that was committed.
    pub(super) async fn find_transaction(
        &self,
        tools: &Tools,
        start: Lsn,
        asked: u64,
    ) -> Result<Result<(), Option<u64>>, BackupError> {
        let Some(first) = self.segments.first() else { return Ok(Err(None)) };
        let mut timelines: Vec<u32> = self.segments.iter().map(|segment| segment.timeline).collect();
        timelines.dedup();
        let seen = Arc::new(Mutex::new((false, None)));
        for timeline in timelines {
            let mut command = tools.command(Tool::WalDump).map_err(BackupError::Settings)?;
            command.arg("--path").arg(&self.folder).args(["--rmgr=Transaction"]);
            command.args(["--timeline", &timeline.to_string()]);
            match (timeline == first.timeline, self.segments.iter().find(|one| one.timeline == timeline)) {
                (false, Some(segment)) => {
                    command.arg(SegmentName { is_partial: false, ..*segment }.write(self.segment_bytes))
                }
                _ => command.args(["--start", &start.to_string()]),
            };
            let noted = Arc::clone(&seen);
            let note = move |stream: Stream, line: &str| {
                if let Some(number) = read_transaction(line).filter(|_| stream == Stream::Output) {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    // A recovery target compares the lower half.
                    noted.0 |= number == asked & u64::from(u32::MAX);
                    noted.1 = Some(number);
                }
            };
            let started = Program::start(command, None, Signal::TERM, note);
            started.map_err(|error| fault(&self.folder, error))?.end().await;
        }
        let (is_there, last) = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(if is_there { Ok(()) } else { Err(last) })
    }

    /// Finds when the last transaction was committed, looking from the end; `None` if none was.
    pub(super) async fn last_commit(&self, tools: &Tools) -> Result<Option<Timestamp>, BackupError> {
        for segment in self.segments.iter().rev() {
            let name = SegmentName { is_partial: false, ..*segment }.write(self.segment_bytes);
            let mut command = tools.command(Tool::WalDump).map_err(BackupError::Settings)?;
            command.arg("--path").arg(&self.folder).args(["--rmgr=Transaction", &name, &name]);
            let last = Arc::new(Mutex::new(None));
            let noted = Arc::clone(&last);
            let note = move |stream: Stream, line: &str| {
                if let Some(at) = read_commit(line).filter(|_| stream == Stream::Output) {
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
                }
            };
            let started = Program::start(command, None, Signal::TERM, note);
            // That the log ends in the middle of a segment is what it fails with, as it should.
            started.map_err(|error| fault(&self.folder, error))?.end().await;
            let found = *last.lock().unwrap_or_else(PoisonError::into_inner);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

impl Drop for LogFolder {
    fn drop(&mut self) {
        let _ = files::remove(&self.folder);
    }
}

/// Reads the head of a segment's first page; `None` if there is none yet.
fn read_header(file: &Path) -> Result<Option<Header>, BackupError> {
    let mut header = Header::default();
    let read = fs::File::open(file).and_then(|mut opened| opened.read_exact(&mut header.0));
    read.map_err(|error| fault(file, error))?;
    Ok((header.0 != Header::default().0).then_some(header))
}

/// Makes a segment that is empty, unless there is one.
fn write_empty(file: &Path, header: Option<&Header>, segment_bytes: u64) -> Result<(), BackupError> {
    let written = fs::File::create_new(file).and_then(|mut empty| {
        empty.write_all(&header.cloned().unwrap_or_default().0)?;
        empty.set_len(segment_bytes)
    });
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(fault(file, error)),
        _ => Ok(()),
    }
}

/// The head of a segment's first page (PostgreSQL, `XLogLongPageHeaderData`).
#[derive(Debug, Clone)]
struct Header([u8; 40]);

impl Default for Header {
    fn default() -> Self {
        Self([0; 40])
    }
}

/// What pg_waldump says when it meets something that is no record; all else is a failure of its own.
const NO_RECORD: [&str; 2] = ["WAL record at", "valid record after"];

/// Tells in which segment reading ended too early; `None` where the log may end there: after its last whole segment,
/// within one that is being received, or, where the timeline was left (`is_left`), anywhere in its last one.
fn where_broken(
    ended: &Ended,
    segment_bytes: u64,
    last: SegmentName,
    is_left: bool,
) -> Result<Option<u64>, BackupError> {
    if ended.is_success() {
        return Ok(None);
    }
    let said = ended.reason();
    if !NO_RECORD.iter().any(|words| said.contains(words)) {
        return Err(BackupError::Log { reason: said });
    }
    match place_of(&said, segment_bytes) {
        Some(number) if number > last.number || (number == last.number && (last.is_partial || is_left)) => {
            Ok(None)
        }
        Some(number) => Ok(Some(number)),
        None => Err(BackupError::Log { reason: said }),
    }
}

/// Reads which segment a complaint of pg_waldump is about: one it names, or that of the last place it names.
fn place_of(said: &str, segment_bytes: u64) -> Option<u64> {
    let words = || said.split(|c: char| !(c.is_ascii_alphanumeric() || c == '/'));
    let named = words().filter_map(|word| SegmentName::read(word, segment_bytes)).next_back();
    let place = || words().filter_map(|word| word.parse::<Lsn>().ok()).next_back();
    named.map(|name| name.number).or_else(|| place().map(|place| place.segment(segment_bytes)))
}

/// Reads where the last good record begins, of which a complaint of pg_waldump tells.
fn last_record(said: &str) -> Option<Lsn> {
    let (_, rest) = said.split_once("WAL record at ")?;
    rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '/')).next()?.parse().ok()
}

/// Reads which transaction a line of pg_waldump commits: `… tx:        738, … desc: COMMIT …`.
fn read_transaction(line: &str) -> Option<u64> {
    line.split_once("desc: COMMIT")?;
    let (_, rest) = line.split_once("tx:")?;
    rest.split_once(',')?.0.trim().parse().ok()
}

/// Reads the time of a commit: `… desc: COMMIT 2026-11-25 22:01:02.123456 UTC; …`.
fn read_commit(line: &str) -> Option<Timestamp> {
    let (_, rest) = line.split_once("desc: COMMIT")?;
    let rest = rest.strip_prefix("_PREPARED").unwrap_or(rest);
    let (time, _) = rest.split_once(" UTC")?;
    // Of a prepared one its number comes first.
    let time = time.rsplit_once(": ").map_or(time, |(_, time)| time).trim();
    format!("{}Z", time.replace(' ', "T")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 16 << 20;

    fn ended(said: &str) -> Ended {
        Ended { status: None, said: vec![said.to_owned()] }
    }

    #[test]
    fn where_the_log_ends_is_told_from_where_it_is_broken() {
        let last = SegmentName { timeline: 1, number: 5, is_partial: true };
        let broken = |said: &str, last, is_left| where_broken(&ended(said), BYTES, last, is_left).unwrap();
        let at = |place: &str| {
            format!(
                "pg_waldump: error: error in WAL record at 0/3000060: invalid record length at {place}: wanted 24, got 0"
            )
        };
        assert_eq!(broken(&at("0/5000100"), last, false), None);
        assert_eq!(broken(&at("0/4000100"), last, false), Some(4));
        let whole = SegmentName { is_partial: false, ..last };
        assert_eq!(broken(&at("0/5000100"), whole, false), Some(5), "a finished segment is read to its end");
        assert_eq!(broken(&at("0/5000100"), whole, true), None, "its timeline was left there");
        let next = "pg_waldump: error: error in WAL record at 0/5FFFF60: unexpected pageaddr 0/5000000 in log segment \
                    000000010000000000000006, offset 0";
        assert_eq!(broken(next, whole, false), None);
        let page = "pg_waldump: error: error in WAL record at 0/4000060: unexpected pageaddr 0/1000000 in log segment \
                    000000010000000000000004, offset 8192";
        assert_eq!(broken(page, last, false), Some(4));
        let size = "pg_waldump: error: WAL segment size must be a power of two between 1 MB and 1 GB, but the WAL file \
                    \"000000010000000000000006\" header specifies 0 bytes";
        assert!(where_broken(&ended(size), BYTES, last, false).is_err(), "that is no end of the log");
        assert!(where_broken(&ended("pg_waldump: error: no memory"), BYTES, last, false).is_err());
    }

    #[test]
    fn the_time_of_a_commit_is_read() {
        let line = "rmgr: Transaction len (rec/tot):     46/    46, tx:        738, lsn: 0/01529340, prev 0/01529308, \
                    desc: COMMIT 2026-11-25 22:01:02.123456 UTC; subxacts: 5";
        assert_eq!(read_commit(line), Some("2026-11-25T22:01:02.123456Z".parse().unwrap()));
        assert_eq!(read_transaction(line), Some(738));
        let said = "pg_waldump: error: error in WAL record at 0/3000060: invalid record length at 0/5000100";
        assert_eq!(last_record(said), Some(Lsn(0x300_0060)));
        let prepared = "desc: COMMIT_PREPARED gid one: 2026-11-25 22:01:02.1 UTC";
        assert_eq!(read_commit(prepared), Some("2026-11-25T22:01:02.1Z".parse().unwrap()));
        assert_eq!(read_commit("desc: ABORT 2026-11-25 22:01:02.123456 UTC"), None);
    }
}
