//! A segment: commits as pages, in the body of a file at the destination.
//!
//! Each commit is its time (8 bytes), the database's pages after it (4), how many pages follow (4), and those, each
//! with its number (4) and a mark (1, see [`super::difference`]); all big-endian. The first format had no marks and
//! every page whole.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::difference::Pages;
use super::object::{self, Digest, Fault, Head};
use super::wal::{Commit, Place};
use crate::backup::keys::Keys;
use crate::backup::name::Name;

/// The format from which on pages have marks.
const FIRST_WITH_MARKS: u8 = 2;

/// A commit with the time it was made, in microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) at: i64,
    pub(crate) commit: Commit,
}

/// A segment that was read: its head, its own digest and its commits.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) head: Head,
    pub(crate) digest: Digest,
    pub(crate) commits: Vec<Timed>,
}

impl Segment {
    /// Gives the digest the next segment must name as what comes before it.
    pub(crate) fn after(&self) -> &Digest {
        self.head.after.as_ref().unwrap_or(&self.digest)
    }
}

/// What a new segment's head says beside its name.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) page_bytes: u32,
    pub(crate) place: Place,
    pub(crate) before: Digest,
    /// Of a merged segment: the `after` of the last one in it.
    pub(crate) after: Option<Digest>,
}

/// Makes the file of a segment and gives its digest beside it.
pub(crate) fn encode(
    name: &Name,
    link: &Link,
    commits: &[Timed],
    keys: &Keys,
) -> io::Result<(Bytes, Digest)> {
    let head = Head {
        name: name.to_string(),
        page_bytes: link.page_bytes,
        pages: commits.last().map_or(0, |timed| timed.commit.pages),
        place: link.place,
        before: link.before.clone(),
        after: link.after.clone(),
        encrypted: !keys.recipients.is_empty(),
        format: object::FORMAT,
        writer: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (bytes, digest) = object::write(Vec::new(), &head, keys, |body| {
        let mut pages = Pages::default();
        commits.iter().try_for_each(|timed| write_commit(body, &mut pages, timed))
    })?;
    Ok((bytes.into(), digest))
}

/// Reads a segment, all of it checked.
pub(crate) fn decode(bytes: &[u8], name: &Name, keys: &Keys) -> Result<Segment, Fault> {
    let (head, digest, body) = object::check(bytes, name)?;
    let mut body = object::open_body(&head, body, keys)?;
    let mut commits = Vec::new();
    let mut pages = (head.format >= FIRST_WITH_MARKS).then(Pages::default);
    while let Some(timed) = read_commit(&mut body, pages.as_mut(), head.page_bytes)
        .map_err(|error| Fault::Body(error.to_string()))?
    {
        commits.push(timed);
    }
    let expected = match name.kind {
        crate::backup::name::Kind::Segment => name.last - name.first + 1,
        _ => 1,
    };
    if commits.len() as u64 != expected {
        return Err(Fault::Body(format!("it holds {} commits instead of {expected}", commits.len())));
    }
    Ok(Segment { head, digest, commits })
}

fn write_commit(body: &mut dyn Write, pages: &mut Pages, timed: &Timed) -> io::Result<()> {
    let count = u32::try_from(timed.commit.frames.len()).map_err(io::Error::other)?;
    body.write_all(&timed.at.to_be_bytes())?;
    body.write_all(&timed.commit.pages.to_be_bytes())?;
    body.write_all(&count.to_be_bytes())?;
    for (page, bytes) in &timed.commit.frames {
        let (mark, bytes) = pages.encode(*page, bytes);
        body.write_all(&page.to_be_bytes())?;
        body.write_all(&[mark])?;
        body.write_all(&bytes)?;
    }
    Ok(())
}

fn read_commit(
    body: &mut dyn Read,
    mut differences: Option<&mut Pages>,
    page_bytes: u32,
) -> io::Result<Option<Timed>> {
    let mut at = [0; 8];
    // The end lies between two commits, never within one.
    if body.read(&mut at[..1])? == 0 {
        return Ok(None);
    }
    body.read_exact(&mut at[1..])?;
    let (pages, count) = (read_number(body)?, read_number(body)?);
    let mut frames = Vec::new();
    for _ in 0..count {
        let page = read_number(body)?;
        let mut mark = [0; 1];
        if differences.is_some() {
            body.read_exact(&mut mark)?;
        }
        let mut bytes = vec![0; page_bytes as usize];
        body.read_exact(&mut bytes)?;
        let bytes = match &mut differences {
            Some(pages) => pages.decode(page, mark[0], bytes.into())?,
            None => bytes.into(),
        };
        frames.push((page, bytes));
    }
    Ok(Some(Timed { at: i64::from_be_bytes(at), commit: Commit { pages, frames } }))
}

fn read_number(body: &mut dyn Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    body.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
