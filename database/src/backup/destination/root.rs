//! Whether a folder is still the destination that it was.
//!
//! A share that is not mounted leaves an empty folder of the same name, on a disk of this machine: what is stored
//! there is lost with the machine, and hidden once the share is back. So a destination has a marker, and the data
//! folder a note of the marker it was used with. Where the two do not agree nothing is stored. While a process runs,
//! the folder's place in its file system is compared with each file, and the marker read again when that changed.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};

use super::{DestinationError, Result};
use crate::backup::sqlite::hex;
use crate::backup::write_durably;

/// The file in a destination that tells it from every other folder.
pub(super) const MARKER: &str = "sixfold-destination";

/// What is said of a folder that is not there.
const ABSENT: &str = "it is not there: make the folder, or mount what belongs there";

/// What a marker says: a random name, and its digest's beginning, so that a damaged one is not another's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marker(String);

/// A folder that is known to be the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    marker: Marker,
    /// Its device and inode.
    place: (u64, u64),
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The same folder.
    Same,
    /// The same destination in another place, as after its share was mounted again.
    Moved(Root),
}

impl Root {
    /// Takes a folder as the destination: the one that `note` tells of, or, where none was used before, whatever is
    /// there. One that is not there is made the first time, if the folder above it is there.
    pub(super) fn claim(folder: &Path, note: &Path) -> Result<Self> {
        let failed = |error: io::Error| DestinationError::failed(folder.display(), error);
        let noted =
            read_note(note, folder).map_err(|error| DestinationError::failed(note.display(), error))?;
        if noted.is_none() && !folder.exists() {
            make(folder)?;
        }
        let place = place_of(&look(folder)?);
        let found = Marker::read(folder).map_err(failed)?;
        let marker = match (noted, found) {
            (Some(noted), Some(found)) if noted == found => return Ok(Self { marker: found, place }),
            (Some(_), found) => return Err(stranger(folder, found.as_ref(), Some(note))),
            (None, Some(found)) => found,
            (None, None) => Marker::write(folder).map_err(failed)?,
        };
        let line = format!("{} {}\n", marker.0, folder.display());
        write_durably(note, &line).map_err(|error| DestinationError::failed(note.display(), error))?;
        Ok(Self { marker, place })
    }

    /// Fails unless the folder is still the destination.
    pub(super) fn check(&self, folder: &Path) -> Result<Found> {
        let place = place_of(&look(folder)?);
        if place == self.place {
            return Ok(Found::Same);
        }
        let found =
            Marker::read(folder).map_err(|error| DestinationError::failed(folder.display(), error))?;
        match found {
            Some(marker) if marker == self.marker => Ok(Found::Moved(Self { marker, place })),
            found => Err(stranger(folder, found.as_ref(), None)),
        }
    }

    /// Tells whether a file lies in the file system that the folder is in.
    pub(super) fn holds(&self, file: &Metadata) -> bool {
        file.dev() == self.place.0
    }
}

/// Finds a folder; one that is not there is an error that says what to do.
pub(super) fn look(folder: &Path) -> Result<Metadata> {
    let found = fs::metadata(folder).map_err(|error| match error.kind() {
        ErrorKind::NotFound => DestinationError::failed(folder.display(), ABSENT),
        _ => DestinationError::failed(folder.display(), error),
    })?;
    match found.is_dir() {
        true => Ok(found),
        false => Err(DestinationError::failed(folder.display(), "it is not a folder")),
    }
}

/// Says what is wrong with a destination's marker, if there is one.
pub(super) fn fault_of_marker(folder: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(folder.join(MARKER));
    let is_damaged = match &text {
        Ok(text) => Marker::parse(text).is_none(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    };
    is_damaged
        .then(|| (MARKER.to_owned(), "it cannot be read, so the destination is not known again".to_owned()))
}

impl Marker {
    fn new() -> Self {
        let name = format!("{:032x}", rand::random::<u128>());
        Self(format!("{name}-{}", Self::sum(&name)))
    }

    fn sum(name: &str) -> String {
        hex(&digest(&SHA256, name.as_bytes()).as_ref()[..4])
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.strip_suffix('\n')?;
        let (name, sum) = line.split_once('-')?;
        (name.len() == 32 && sum == Self::sum(name)).then(|| Self(line.to_owned()))
    }

    /// Reads a folder's marker; one that is damaged is none.
    fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(MARKER)) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Marks a folder, and gives what is there then: another process may have come first.
    fn write(folder: &Path) -> io::Result<Self> {
        write_durably(&folder.join(MARKER), &format!("{}\n", Self::new().0))?;
        Self::read(folder)?.ok_or_else(|| io::Error::other("its marker cannot be read back"))
    }
}

/// Reads which marker a folder was used with; nothing if another folder was used, or none.
fn read_note(note: &Path, folder: &Path) -> io::Result<Option<Marker>> {
    let text = match fs::read_to_string(note) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let noted = text.strip_suffix('\n').and_then(|line| line.split_once(' '));
    let is_of = |noted: &(&str, &str)| noted.1 == folder.display().to_string();
    Ok(noted.filter(is_of).and_then(|(marker, _)| Marker::parse(&format!("{marker}\n"))))
}

/// Makes a destination's folder, and says so. What lies above it is not made: it is what a share is mounted on.
fn make(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    let made = made.and_then(|()| folder.parent().map_or(Ok(()), sync));
    made.map_err(|error| match error.kind() {
        ErrorKind::NotFound => DestinationError::failed(folder.display(), ABSENT),
        _ => DestinationError::failed(folder.display(), error),
    })?;
    tracing::warn!(folder = %folder.display(), "the backup destination was not there; its folder was made");
    Ok(())
}

fn stranger(folder: &Path, found: Option<&Marker>, note: Option<&Path>) -> DestinationError {
    let why = match found {
        None => format!("it is not the destination that was used before: it has no good {MARKER}"),
        Some(_) => format!("it is another destination than was used before, by its {MARKER}"),
    };
    let also = note.map_or_else(String::new, |note| {
        format!("; if it is meant to be used from now on, remove {}", note.display())
    });
    let reason = format!("{why}; mount what belongs there{also}");
    DestinationError::failed(folder.display(), reason)
}

fn place_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Flushes the names in a folder.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_known_again_and_another_folder_in_its_place_is_not_taken() {
        let machine = tempfile::tempdir().unwrap();
        let (folder, away) = (machine.path().join("share"), machine.path().join("away"));
        let note = machine.path().join("note");
        let root = Root::claim(&folder, &note).unwrap();
        assert_eq!(Root::claim(&folder, &note), Ok(root.clone()));
        assert_eq!(root.check(&folder), Ok(Found::Same));
        fs::rename(&folder, &away).unwrap();
        let gone = root.check(&folder).unwrap_err().to_string();
        assert!(gone.contains("mount what belongs there"), "{gone}");
        assert!(Root::claim(&folder, &note).is_err(), "it is not made once it was used");
        fs::create_dir(&folder).unwrap();
        for refused in [root.check(&folder).map(drop), Root::claim(&folder, &note).map(drop)] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("not the destination that was used before"), "{refused}");
        }
        fs::write(folder.join(MARKER), format!("{}\n", Marker::new().0)).unwrap();
        let other = root.check(&folder).unwrap_err().to_string();
        assert!(other.contains("another destination"), "{other}");
        fs::copy(away.join(MARKER), folder.join(MARKER)).unwrap();
        let Found::Moved(moved) = root.check(&folder).unwrap() else { panic!("it is another folder") };
        assert_eq!(moved.check(&folder), Ok(Found::Same));
    }

    #[test]
    fn another_destination_is_taken_when_it_is_configured_and_a_lost_note_takes_what_is_there() {
        let machine = tempfile::tempdir().unwrap();
        let (one, two) = (machine.path().join("one"), machine.path().join("two"));
        let note = machine.path().join("note");
        let first = Root::claim(&one, &note).unwrap();
        Root::claim(&two, &note).unwrap();
        fs::remove_file(&note).unwrap();
        assert_eq!(Root::claim(&one, &note), Ok(first));
        let absent = Root::claim(&machine.path().join("not/there"), &note).unwrap_err().to_string();
        assert!(absent.contains("make the folder"), "{absent}");
    }

    #[test]
    fn a_damaged_marker_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fault_of_marker(folder.path()), None);
        let good = Marker::write(folder.path()).unwrap();
        assert_eq!(fault_of_marker(folder.path()), None);
        for place in 0..good.0.len() {
            let mut bytes = format!("{}\n", good.0).into_bytes();
            bytes[place] ^= 1;
            fs::write(folder.path().join(MARKER), bytes).unwrap();
            assert!(fault_of_marker(folder.path()).is_some(), "{place}");
        }
    }
}
