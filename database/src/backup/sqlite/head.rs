//! What a generation must have, told beside its files, so that what is taken away is missed.
//!
//! `GENERATION/head`: the last commit, the digest after it, and a sum over both. The shipping thread stores it every few
//! seconds. One of an older release has no sum, and then there may be no bases noted.
//!
//! `GENERATION/bases`: the commits of the bases that must be there, and a sum. The thread that stores a base adds it,
//! retention takes it out before it removes the base.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use super::object::{DIGEST_BYTES, Digest, hex};
use crate::backup::name::Generation;
use crate::backup::{BackupError, Destination, DestinationError};

/// How far a generation went; it may be behind by as long as it is stored rarely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GenerationHead {
    pub(super) commit: u64,
    pub(super) digest: Digest,
    /// Whether its bases are noted too.
    pub(super) has_bases: bool,
}

/// The commits of a generation's bases.
pub(super) type Bases = BTreeSet<u64>;

/// Gives the name of the file that tells how far a generation went.
pub(super) fn head_of(generation: &Generation) -> String {
    format!("{generation}/head")
}

/// Gives the name of the file that tells which bases a generation has.
pub(super) fn bases_of(generation: &Generation) -> String {
    format!("{generation}/bases")
}

/// Writes the content of a head.
pub(super) fn write_head(commit: u64, digest: &Digest) -> Bytes {
    write_line(&format!("{commit} {digest}"))
}

/// Reads how far a generation went; `None` if it has no head.
pub(super) async fn read_head(
    destination: &Destination,
    generation: &Generation,
) -> Result<Option<GenerationHead>, BackupError> {
    read(destination, head_of(generation), parse_head).await
}

/// Reads which bases a generation must have; `None` if that is not noted.
pub(super) async fn read_bases(
    destination: &Destination,
    generation: &Generation,
) -> Result<Option<Bases>, BackupError> {
    read(destination, bases_of(generation), parse_bases).await
}

/// Notes which bases a generation must have.
pub(super) async fn store_bases(
    destination: &Destination,
    generation: &Generation,
    bases: &Bases,
) -> Result<(), DestinationError> {
    let numbers: Vec<String> = bases.iter().map(u64::to_string).collect();
    destination.replace(&bases_of(generation), write_line(&numbers.join(" "))).await
}

async fn read<T>(
    destination: &Destination,
    name: String,
    parse: fn(&str) -> Option<T>,
) -> Result<Option<T>, BackupError> {
    let bytes = match destination.get(&name).await {
        Ok(bytes) => bytes,
        Err(DestinationError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let unreadable = || BackupError::DamagedFile { name, reason: "it cannot be read".into() };
    parse(&String::from_utf8_lossy(&bytes)).map(Some).ok_or_else(unreadable)
}

fn parse_head(text: &str) -> Option<GenerationHead> {
    // An older release's has the two alone.
    let (line, has_bases) = match read_line(text) {
        Some(line) => (line, true),
        None => (text.strip_suffix('\n').filter(|line| line.split(' ').count() == 2)?, false),
    };
    let (commit, digest) = line.split_once(' ').filter(|(_, digest)| digest.len() == 2 * DIGEST_BYTES)?;
    Some(GenerationHead { commit: commit.parse().ok()?, digest: digest.to_owned(), has_bases })
}

fn parse_bases(text: &str) -> Option<Bases> {
    read_line(text)?
        .split(' ')
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().ok())
        .collect()
}

/// Writes a line with a sum over it.
pub(in crate::backup) fn write_line(line: &str) -> Bytes {
    format!("{line} {}\n", sum(line)).into()
}

/// Reads a line whose sum holds.
pub(in crate::backup) fn read_line(text: &str) -> Option<&str> {
    let (line, stated) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    (stated == sum(line)).then_some(line)
}

fn sum(line: &str) -> String {
    hex(&digest(&SHA256, line.as_bytes()).as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn heads_read_back_also_those_of_an_older_release() {
        let digest = "ab".repeat(32);
        let new = parse_head(text(&write_head(7, &digest))).unwrap();
        assert_eq!((new.commit, &new.digest, new.has_bases), (7, &digest, true));
        let old = parse_head(&format!("7 {digest}\n")).unwrap();
        assert_eq!((old.commit, &old.digest, old.has_bases), (7, &digest, false));
        for none in ["", "7", "7 \n8", "x y\n"] {
            assert_eq!(parse_head(none), None, "{none}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_head_or_of_the_bases_is_noticed() {
        let digest = "ab".repeat(32);
        let (head, bases) = (write_head(7, &digest), write_line("1 900 1800"));
        assert_eq!(parse_bases(text(&bases)), Some(BTreeSet::from([1, 900, 1800])));
        assert_eq!(parse_bases(text(&write_line(""))), Some(BTreeSet::new()));
        for (whole, is_read) in [
            (&head, (|text| parse_head(text).is_some()) as fn(&str) -> bool),
            (&bases, |text| parse_bases(text).is_some()),
        ] {
            for bit in 0..whole.len() * 8 {
                let mut bytes = whole.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_read(&String::from_utf8_lossy(&bytes)), "bit {bit}");
            }
        }
    }
}
