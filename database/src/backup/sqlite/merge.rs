//! Merging: the segments of a stretch of time become one that holds the last version of each page.
//!
//! It takes few steps to restore over; what it cannot do is stop between two of its commits, so the segments it
//! was made of stay for as long as single commits are kept ([`super::retention`]).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::segment::{self, Link, Segment, Timed};
use super::wal::Commit;
use crate::backup::BackupError;
use crate::backup::destination::{Destination, DestinationError};
use crate::backup::figures;
use crate::backup::keys::Keys;
use crate::backup::name::{Kind, Name};

/// The most that one merged segment holds; a stretch with more pages becomes several.
const MERGED_BYTES: u64 = 32 << 20;

/// Finds the segments to merge: of each stretch that is over, those that follow each other and were not merged.
pub(super) fn plan(names: &[Name], window_us: i64, now_us: i64) -> Vec<Vec<Name>> {
    let window_us = window_us.max(1);
    let is_covered = |segment: &Name| {
        names
            .iter()
            .any(|name| name.kind == Kind::Merged && name.first <= segment.first && segment.last <= name.last)
    };
    let mut stretches: Vec<Vec<Name>> = Vec::new();
    let mut segments: Vec<&Name> = names.iter().filter(|name| name.kind == Kind::Segment).collect();
    segments.sort_by_key(|name| name.first);
    let is_over = |name: &&Name| name.at.div_euclid(window_us) < now_us.div_euclid(window_us);
    for segment in segments.into_iter().filter(is_over).filter(|segment| !is_covered(segment)) {
        let goes_on = stretches.last().and_then(|stretch| stretch.last()).is_some_and(|last| {
            last.last + 1 == segment.first
                && last.at.div_euclid(window_us) == segment.at.div_euclid(window_us)
        });
        match (goes_on, stretches.last_mut()) {
            (true, Some(stretch)) => stretch.push(segment.clone()),
            _ => stretches.push(vec![segment.clone()]),
        }
    }
    stretches.retain(|stretch| stretch.len() > 1);
    stretches
}

/// Merges a stretch of segments and stores what comes of it.
pub(super) async fn merge(
    destination: &Destination,
    keys: &Keys,
    stretch: &[Name],
) -> Result<(), BackupError> {
    let mut gathered: Option<Gathered> = None;
    for name in stretch {
        let bytes = destination.get(&name.to_string()).await?;
        let segment =
            segment::decode(&bytes, name, keys).map_err(|fault| BackupError::damaged_file(name, &fault))?;
        match &mut gathered {
            Some(gathered) => gathered.add(name, segment)?,
            None => gathered = Some(Gathered::begin(name, segment)),
        }
        if gathered.as_ref().is_some_and(|gathered| gathered.size_bytes() > MERGED_BYTES)
            && let Some(full) = gathered.take()
        {
            full.store(destination, keys).await?;
        }
    }
    match gathered {
        Some(rest) => rest.store(destination, keys).await,
        None => Ok(()),
    }
}

/// The segments merged so far.
struct Gathered {
    first: Name,
    last: Name,
    link: Link,
    commit_at: i64,
    pages: u32,
    contents: BTreeMap<u32, Bytes>,
}

impl Gathered {
    fn begin(name: &Name, segment: Segment) -> Self {
        let head = &segment.head;
        let link = Link {
            page_bytes: head.page_bytes,
            place: head.place,
            before: head.before.clone(),
            after: Some(segment.after().clone()),
        };
        let mut gathered = Self {
            first: name.clone(),
            last: name.clone(),
            link,
            commit_at: name.at,
            pages: head.pages,
            contents: BTreeMap::new(),
        };
        gathered.take_pages(segment);
        gathered
    }

    fn add(&mut self, name: &Name, segment: Segment) -> Result<(), BackupError> {
        if self.link.after.as_ref() != Some(&segment.head.before) {
            let reason = format!("it does not follow {}", self.last);
            return Err(BackupError::DamagedFile { name: name.to_string(), reason });
        }
        self.last = name.clone();
        self.link.place = segment.head.place;
        self.link.after = Some(segment.after().clone());
        self.take_pages(segment);
        Ok(())
    }

    fn take_pages(&mut self, segment: Segment) {
        for Timed { at, commit } in segment.commits {
            (self.commit_at, self.pages) = (at, commit.pages);
            self.contents.extend(commit.frames);
            // What was cut off and grown over again later is written anew by then.
            let beyond = self.pages.saturating_add(1);
            self.contents.split_off(&beyond);
        }
    }

    fn size_bytes(&self) -> u64 {
        self.contents.len() as u64 * u64::from(self.link.page_bytes)
    }

    async fn store(self, destination: &Destination, keys: &Keys) -> Result<(), BackupError> {
        if self.first == self.last {
            return Ok(());
        }
        let (first, last) = (self.first.first, self.last.last);
        let name =
            Name { generation: self.last.generation, kind: Kind::Merged, first, last, at: self.last.at };
        let commit = Commit { pages: self.pages, frames: self.contents.into_iter().collect() };
        let commits = [Timed { at: self.commit_at, commit }];
        let (bytes, _) = segment::encode(&name, &self.link, &commits, keys)
            .map_err(|error| BackupError::Settings(error.to_string()))?;
        let size = bytes.len() as u64;
        match destination.put_new(&name.to_string(), bytes).await {
            Ok(()) => figures::count_stored(name.kind.folder(), size),
            Err(DestinationError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::name::Generation;

    fn name(kind: Kind, first: u64, last: u64, at: i64) -> Name {
        Name { generation: Generation::new(jiff::Timestamp::UNIX_EPOCH, 1), kind, first, last, at }
    }

    #[test]
    fn what_follows_each_other_in_a_stretch_that_is_over_is_merged_once() {
        let segment = |first, last, at| name(Kind::Segment, first, last, at);
        let names = [segment(1, 2, 10), segment(3, 3, 20), segment(4, 9, 110), segment(10, 11, 120)];
        assert_eq!(plan(&names, 100, 150), [[segment(1, 2, 10), segment(3, 3, 20)]]);
        assert_eq!(plan(&names, 100, 200).len(), 2);
        assert_eq!(plan(&names, 100, 99), [] as [Vec<Name>; 0]);
        let mut merged = names.to_vec();
        merged.push(name(Kind::Merged, 1, 3, 20));
        assert_eq!(plan(&merged, 100, 150), [] as [Vec<Name>; 0]);
        let gap = [segment(1, 2, 10), segment(4, 5, 20)];
        assert_eq!(plan(&gap, 100, 150), [] as [Vec<Name>; 0], "nothing is merged over a gap");
    }
}
