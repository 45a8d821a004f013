//! The records that `disk.c` writes, in their order.

use std::path::Path;

/// The bytes before the data of a record: its kind, an inode, a number, the length of the data.
const HEAD_BYTES: usize = 21;

/// What happened to a disk, as bytes and where each record begins.
#[derive(Debug)]
pub struct Recording {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Record<'a> {
    /// A file was opened, or made if it is new; perhaps it was emptied. Or a folder was opened.
    Open { inode: u64, path: &'a str, is_emptied: bool, is_folder: bool },
    /// Bytes were written.
    Write { inode: u64, offset: usize, data: &'a [u8] },
    /// A file was cut or made longer.
    Resize { inode: u64, length: usize },
    /// An fsync ended that began at a position.
    Synced { inode: u64, from: usize },
    /// One failed.
    SyncFailed { inode: u64, from: usize },
    /// A file has another name.
    Renamed { from: &'a str, to: &'a str },
    /// A file or a folder is gone.
    Removed { path: &'a str },
    /// A folder was made.
    Made { path: &'a str },
    /// An fsync began; what it does is told by its end.
    SyncBegins,
}

impl Recording {
    /// Reads a recording; a record that a killed process did not finish is left out.
    pub fn read(file: &Path) -> Self {
        Self::parse(std::fs::read(file).expect("the recording"))
    }

    pub(super) fn parse(bytes: Vec<u8>) -> Self {
        let (mut starts, mut at) = (Vec::new(), 0);
        while let Some(end) = end_of(&bytes, at) {
            starts.push(at);
            at = end;
        }
        Self { bytes, starts }
    }

    /// Gives how many records there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Tells whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Gives the position, in bytes, after so many records: what a caller's mark is compared with.
    pub fn position(&self, records: usize) -> u64 {
        self.starts.get(records).map_or(self.bytes.len(), |start| *start) as u64
    }

    /// Gives a record and where it begins.
    pub(super) fn get(&self, number: usize) -> (usize, Record<'_>) {
        let start = self.starts[number];
        let head = &self.bytes[start..start + HEAD_BYTES];
        let end = end_of(&self.bytes, start).expect("a whole record");
        let data = &self.bytes[start + HEAD_BYTES..end];
        let word = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let (inode, value) = (word(1), word(9));
        let number = usize::try_from(value).expect("a small number");
        let path = || std::str::from_utf8(data).expect("a path in UTF-8");
        let record = match head[0] {
            b'O' => Record::Open { inode, path: path(), is_emptied: value == 1, is_folder: value == 2 },
            b'W' => Record::Write { inode, offset: number, data },
            b'T' => Record::Resize { inode, length: number },
            b'S' => Record::SyncBegins,
            b'E' => Record::Synced { inode, from: number },
            b'F' => Record::SyncFailed { inode, from: number },
            b'R' => {
                let (from, to) = path().split_once('\0').expect("two paths");
                Record::Renamed { from, to }
            }
            b'U' => Record::Removed { path: path() },
            b'M' => Record::Made { path: path() },
            other => panic!("a record of kind {other}"),
        };
        (start, record)
    }
}

fn end_of(bytes: &[u8], start: usize) -> Option<usize> {
    let length = bytes.get(start + 17..start + HEAD_BYTES)?;
    let length = u32::from_ne_bytes(length.try_into().expect("four bytes")) as usize;
    let end = start + HEAD_BYTES + length;
    (end <= bytes.len()).then_some(end)
}
