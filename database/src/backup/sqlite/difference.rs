//! The pages of a segment, each one after its first as the bits that changed since.
//!
//! Commits that follow each other write the same pages over and over: the last leaf of a table, the roots of its indexes. Such
//! a page is written as its exclusive or with the one before, nearly all zeros, which the compression makes nothing
//! of. A difference never reaches into another segment: each can be read alone, over any base.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;

/// What stands before a page that is written whole, or as a difference.
const WHOLE: u8 = 0;
const DIFFERENCE: u8 = 1;

/// The last version of each page of a segment, as far as it was written or read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    last: HashMap<u32, Bytes>,
}

impl Pages {
    /// Gives what is to be written of the next page: a mark and as many bytes as the page has.
    pub(super) fn encode(&mut self, page: u32, bytes: &Bytes) -> (u8, Bytes) {
        match self.last.insert(page, bytes.clone()) {
            Some(before) if before.len() == bytes.len() => (DIFFERENCE, combine(&before, bytes)),
            _ => (WHOLE, bytes.clone()),
        }
    }

    /// Gives the next page from what was written of it.
    pub(super) fn decode(&mut self, page: u32, mark: u8, written: Bytes) -> io::Result<Bytes> {
        let bytes = match (mark, self.last.get(&page)) {
            (WHOLE, _) => written,
            (DIFFERENCE, Some(before)) => combine(before, &written),
            (DIFFERENCE, None) => return Err(unreadable("the difference of a page that is not there")),
            _ => return Err(unreadable("a page with an unknown mark")),
        };
        self.last.insert(page, bytes.clone());
        Ok(bytes)
    }
}

fn combine(one: &[u8], other: &[u8]) -> Bytes {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect::<Vec<u8>>().into()
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_once_and_then_what_changed() {
        let (mut writing, mut reading) = (Pages::default(), Pages::default());
        let page = |fill: u8| Bytes::from([vec![7; 500], vec![fill; 12]].concat());
        let versions = [page(1), page(1), page(3)];
        let written: Vec<(u8, Bytes)> = versions.iter().map(|bytes| writing.encode(9, bytes)).collect();
        assert_eq!(written[0], (WHOLE, page(1)));
        assert_eq!(written[1], (DIFFERENCE, vec![0; 512].into()));
        assert_eq!(written[2], (DIFFERENCE, [vec![0; 500], vec![2; 12]].concat().into()));
        for ((mark, bytes), version) in written.into_iter().zip(&versions) {
            assert_eq!(reading.decode(9, mark, bytes).unwrap(), version);
        }
        assert!(reading.decode(8, DIFFERENCE, page(1)).is_err(), "of no page");
        assert!(reading.decode(9, 2, page(1)).is_err(), "of no known mark");
    }
}
