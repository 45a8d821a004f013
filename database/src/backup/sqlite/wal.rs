//! SQLite's write-ahead log as a file: its head, its frames, and the checksums that chain them.
//!
//! **Why reading it with ordinary file calls is safe.** POSIX locks belong to a process and a file: closing any
//! descriptor of a file drops every lock the process holds *on that file*. SQLite's unix VFS locks bytes of the
//! database file and of `-shm`, and nothing of `-wal`: it opens that one without locking (`UNIXFILE_NOLOCK`, what is
//! not a main database). So only the `-wal` is opened here, never the other two, and it is opened once and kept: it
//! is the same file for as long as a connection of this process is open, because SQLite truncates and overwrites
//! it but removes it only with the last connection.
//!
//! What is read was committed before: frames up to the count that SQLite's hook told the writer, each held against
//! the running checksum. The format is <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The head of the log, in bytes.
const HEAD_BYTES: usize = 32;

/// The head of a frame, in bytes.
const FRAME_HEAD_BYTES: usize = 24;

/// The magic number of a log, but for its last bit, which tells the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;

/// Why the log could not be read as expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The file could not be read.
    #[error("the write-ahead log cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is not the log that was followed.
    #[error("the write-ahead log began anew before it was read to its end")]
    Renewed,
    /// A frame is not what SQLite wrote.
    #[error("frame {frame} of the write-ahead log does not have its checksum")]
    Broken {
        /// The frame, from 1.
        frame: u32,
    },
}

/// A place in a log: after so many of its frames. The checksum depends on everything before it, so two logs
/// that agree in a place are the same up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What tells this log from the one before and after it; zeros for a log without a head yet.
    pub(crate) salts: [u32; 2],
    /// How many frames lie before.
    pub(crate) frames: u32,
    /// The running checksum.
    pub(crate) sums: [u32; 2],
}

/// What one commit wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The pages of the database after it.
    pub(crate) pages: u32,
    /// Numbers and contents of the pages it wrote, in the order of the log.
    pub(crate) frames: Vec<(u32, Bytes)>,
}

impl Commit {
    /// Gives how much memory its pages take.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.frames.iter().map(|(_, page)| page.len() as u64 + FRAME_HEAD_BYTES as u64).sum()
    }

    /// Puts a later commit behind this one, as if both had been one.
    pub(crate) fn append(&mut self, later: Self) {
        self.pages = later.pages;
        self.frames.extend(later.frames);
    }
}

/// The head of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    big_endian: bool,
    page_bytes: u32,
    start: Place,
}

/// A log, open for reading.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
}

impl Log {
    /// Opens the log of a database that this process has open.
    pub(crate) fn open(database: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path_of(database))? })
    }

    /// Reads the head; `None` when the log is empty.
    pub(crate) fn head(&self) -> io::Result<Option<Head>> {
        let mut bytes = [0; HEAD_BYTES];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(parse_head(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the place after so many frames, as the frames themselves state it; `None` when there are not so many.
    pub(crate) fn place_at(&self, frames: u32) -> io::Result<Option<Place>> {
        let Some(head) = self.head()? else {
            return Ok((frames == 0).then(Place::default));
        };
        let Some(last) = frames.checked_sub(1) else { return Ok(Some(head.start)) };
        let mut bytes = [0; FRAME_HEAD_BYTES];
        match self.file.read_exact_at(&mut bytes, head.offset_of(last)) {
            Ok(()) => {
                let place = Place { salts: words(&bytes, 8), frames, sums: words(&bytes, 16) };
                Ok((place.salts == head.start.salts).then_some(place))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the commits after a place, up to frame `until`, and gives the place after them.
    ///
    /// From another log than the present one only its end is a place to go on from, which the caller knows
    /// (`began_anew`): then the present one is read from its beginning.
    pub(crate) fn read(
        &self,
        from: &Place,
        until: u32,
        began_anew: bool,
    ) -> Result<(Vec<Commit>, Place), LogError> {
        let Some(head) = self.head()? else {
            return if until == 0 { Ok((Vec::new(), *from)) } else { Err(LogError::Renewed) };
        };
        let mut place = match from.salts == head.start.salts {
            true => *from,
            false if began_anew => head.start,
            false => return Err(LogError::Renewed),
        };
        let count = until.saturating_sub(place.frames);
        let mut bytes = vec![0; count as usize * head.frame_bytes()];
        self.file.read_exact_at(&mut bytes, head.offset_of(place.frames))?;
        let (mut commits, mut frames, mut end) = (Vec::new(), Vec::new(), place);
        let bytes = Bytes::from(bytes);
        for number in 0..count as usize {
            let frame = bytes.slice(number * head.frame_bytes()..(number + 1) * head.frame_bytes());
            place = head.check(&place, &frame).ok_or(LogError::Broken { frame: place.frames + 1 })?;
            let [page, pages] = words(&frame, 0);
            frames.push((page, frame.slice(FRAME_HEAD_BYTES..)));
            if pages > 0 {
                commits.push(Commit { pages, frames: std::mem::take(&mut frames) });
                end = place;
            }
        }
        Ok((commits, end))
    }

    /// Finds the place after the last commit the log holds, as a recovery would.
    pub(crate) fn last_commit(&self) -> io::Result<Place> {
        let Some(head) = self.head()? else { return Ok(Place::default()) };
        let (mut place, mut end) = (head.start, head.start);
        let mut frame = vec![0; head.frame_bytes()];
        loop {
            match self.file.read_exact_at(&mut frame, head.offset_of(place.frames)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(end),
                Err(error) => return Err(error),
            }
            let Some(next) = head.check(&place, &frame) else { return Ok(end) };
            place = next;
            let [_, pages] = words(&frame, 0);
            if pages > 0 {
                end = place;
            }
        }
    }
}

impl Head {
    /// Gives the size of a page.
    pub(crate) fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// Gives the place before the first frame.
    pub(crate) fn start(&self) -> Place {
        self.start
    }

    fn frame_bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.page_bytes as usize
    }

    fn offset_of(&self, frame: u32) -> u64 {
        HEAD_BYTES as u64 + u64::from(frame) * self.frame_bytes() as u64
    }

    /// Gives the place after a frame, or `None` when it is not the next one of this log.
    fn check(&self, before: &Place, frame: &[u8]) -> Option<Place> {
        let sums = self.sum(self.sum(before.sums, &frame[..8]), &frame[FRAME_HEAD_BYTES..]);
        let is_next = words(frame, 8) == self.start.salts && words(frame, 16) == sums;
        is_next.then_some(Place { salts: self.start.salts, frames: before.frames + 1, sums })
    }

    fn sum(&self, sums: [u32; 2], bytes: &[u8]) -> [u32; 2] {
        checksum(self.big_endian, sums, bytes)
    }
}

/// Gives the path of a database's log.
pub(crate) fn path_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn parse_head(bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
    let [magic, _version] = words(bytes, 0);
    let [page_bytes, _sequence] = words(bytes, 8);
    let big_endian = magic & 1 == 1;
    let sums = checksum(big_endian, [0, 0], &bytes[..24]);
    let is_head = magic & !1 == MAGIC && words(bytes, 24) == sums && page_bytes.is_power_of_two();
    is_head.then_some(Head {
        big_endian,
        page_bytes,
        start: Place { salts: words(bytes, 16), frames: 0, sums },
    })
}

fn words(bytes: &[u8], at: usize) -> [u32; 2] {
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    [word(at), word(at + 4)]
}

fn checksum(big_endian: bool, [mut one, mut two]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let word = |chunk: &[u8]| {
        let bytes = [chunk[0], chunk[1], chunk[2], chunk[3]];
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        one = one.wrapping_add(word(&pair[..4])).wrapping_add(two);
        two = two.wrapping_add(word(&pair[4..])).wrapping_add(one);
    }
    [one, two]
}

#[cfg(test)]
#[path = "wal_tests.rs"]
mod tests;
