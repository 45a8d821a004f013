//! Where things lie at a destination, and what is read of them.
//!
//! ```text
//! postgresql/GENERATION/generation.json   whose log it is
//!                      /received         up to where its log was received
//!                      /wal/              segments, as pg_receivewal names them
//!                      /base/NAME/        what pg_basebackup made
//!                      /base/NAME.json    written last: without it the base was not finished
//! ```
//!
//! What cannot be read of one generation is noted of it, and keeps nothing of the others from being read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::files::{self, REMOVED};
use super::inventory::{Base, Generation, Inventory, Origin, Segment, Unreadable};
use super::lsn::SegmentName;
use super::received::{self, Received};
use crate::backup::config::{Config, Place};
use crate::backup::{BackupError, Destination, DestinationError, destination, fault, name};

/// The folder at the destination that is ours.
const FOLDER: &str = "postgresql";

/// The file that tells whose log a generation is.
const ORIGIN: &str = "generation.json";

/// The files and folders of a generation.
const RECEIVED: &str = "received";
const WAL: &str = "wal";
const BASES: &str = "base";

/// What cannot be read: the file as it lies at the destination, and why.
type Fault = (String, String);

/// Where things lie at a destination.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// What tells the destination from another folder in its place.
    destination: Destination,
    root: PathBuf,
}

impl Layout {
    /// Takes the folder a destination names; nothing is looked at yet.
    pub(super) fn open(folder: &Path, config: &Config) -> Result<Self, DestinationError> {
        let destination = Destination::open(&Place::Folder(folder.to_owned()), config)?;
        Ok(Self { destination, root: folder.join(FOLDER) })
    }

    /// Makes sure that this is the destination that was used before, of which the folder `data` has a note. It is never
    /// made: what is not there may be a share that is not mounted.
    pub(super) fn claim(&self, data: &Path) -> Result<(), BackupError> {
        self.check()?;
        fs::create_dir_all(data).map_err(|error| fault(data, error))?;
        Ok(self.destination.claim(&data.join(destination::NOTE))?)
    }

    /// Fails unless the destination is there, and is the one that was claimed.
    pub(super) fn check(&self) -> Result<(), BackupError> {
        Ok(self.destination.check()?)
    }

    /// Says what is wrong with what tells the destination from others.
    pub(super) fn fault_of_marker(&self) -> Option<(String, String)> {
        self.destination.fault_of_marker()
    }

    pub(super) fn generation(&self, generation: &str) -> PathBuf {
        self.root.join(generation)
    }

    /// The file that makes a generation one.
    pub(super) fn origin(&self, generation: &str) -> PathBuf {
        self.generation(generation).join(ORIGIN)
    }

    pub(super) fn wal(&self, generation: &str) -> PathBuf {
        self.generation(generation).join(WAL)
    }

    pub(super) fn bases(&self, generation: &str) -> PathBuf {
        self.generation(generation).join(BASES)
    }

    pub(super) fn base(&self, generation: &str, base: &str) -> PathBuf {
        self.bases(generation).join(base)
    }

    /// The file that tells how far the log was received.
    pub(super) fn received(&self, generation: &str) -> PathBuf {
        self.generation(generation).join(RECEIVED)
    }

    /// Where it is told that a base was finished.
    pub(super) fn base_note(&self, generation: &str, base: &str) -> PathBuf {
        self.bases(generation).join(format!("{base}.json"))
    }

    /// Makes a generation's folders; it is there for others once its origin is.
    pub(super) fn begin(&self, generation: &str, origin: &Origin) -> Result<(), BackupError> {
        let folder = self.generation(generation);
        for part in [self.wal(generation), self.bases(generation)] {
            fs::create_dir_all(&part).map_err(|error| fault(&part, error))?;
        }
        let text = serde_json::to_vec_pretty(origin).map_err(|error| fault(&folder, error))?;
        files::write_durably(&folder.join(ORIGIN), &text)?;
        for folder in [&folder, &self.root, self.root.parent().unwrap_or(&self.root)] {
            crate::backup::sync(folder)?;
        }
        Ok(())
    }

    /// Finishes removals of whole generations that were interrupted.
    pub(super) fn finish_removals(&self) -> Result<(), BackupError> {
        let left = names(&self.root)?.into_iter().filter(|name| name.ends_with(REMOVED));
        left.map(|name| self.generation(&name)).try_for_each(|folder| files::remove(&folder))
    }

    /// Reads what there is; a destination that was never written to is empty.
    pub(super) fn read(&self) -> Result<Inventory, BackupError> {
        self.check()?;
        let mut inventory = Inventory::default();
        for name in names(&self.root)? {
            if name.ends_with(REMOVED) {
                continue;
            }
            match self.read_generation(&name) {
                Ok(generation) => inventory.generations.extend(generation),
                Err(unreadable) => inventory.unreadable.push(unreadable),
            }
        }
        Ok(inventory)
    }

    /// Reads one generation; `None` if the folder is none, or one that was begun and never finished.
    fn read_generation(&self, name: &str) -> Result<Option<Generation>, Unreadable> {
        let Some(origin) = self.read_origin(name)? else { return Ok(None) };
        let not_listed = |error: BackupError| Unreadable {
            name: name.to_owned(),
            file: relative(name, ""),
            reason: error.to_string(),
            is_damaged: false,
        };
        let (bases, mut faults) = self.read_bases(name).map_err(not_listed)?;
        // Before the segments are listed: what is received meanwhile is not missed.
        let received = self.read_received(name).unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        let segments = self.read_segments(name, origin.segment_bytes).map_err(not_listed)?;
        Ok(Some(Generation { name: name.to_owned(), origin, bases, segments, received, faults }))
    }

    fn read_origin(&self, name: &str) -> Result<Option<Origin>, Unreadable> {
        let unreadable = |reason: String, is_damaged| Unreadable {
            name: name.to_owned(),
            file: relative(name, ORIGIN),
            reason,
            is_damaged,
        };
        let text = match fs::read(self.origin(name)) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                // It is written before anything is received.
                let is_empty = [WAL, BASES]
                    .iter()
                    .all(|part| names(&self.generation(name).join(part)).is_ok_and(|names| names.is_empty()));
                return match name::began(name).is_some() && !is_empty {
                    true => Err(unreadable("it is missing".to_owned(), true)),
                    false => Ok(None),
                };
            }
            Err(error) => return Err(unreadable(error.to_string(), false)),
        };
        let damaged = |reason: String| unreadable(reason, true);
        let origin: Origin =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("it cannot be read: {error}")))?;
        if !origin.segment_bytes.is_power_of_two() || !(1 << 20..=1 << 30).contains(&origin.segment_bytes) {
            return Err(damaged(format!("segments cannot have {} bytes", origin.segment_bytes)));
        }
        Ok(Some(origin))
    }

    fn read_bases(&self, name: &str) -> Result<(Vec<Base>, Vec<Fault>), BackupError> {
        let (mut bases, mut faults) = (Vec::new(), Vec::new());
        let listed = names(&self.bases(name))?;
        for base in listed.iter().filter_map(|name| name.strip_suffix(".json")) {
            let read = fs::read(self.base_note(name, base))
                .and_then(|text| serde_json::from_slice::<Base>(&text).map_err(io::Error::from));
            match read {
                Ok(read) if read.name == base => bases.push(read),
                Ok(read) => faults.push((base_in(name, base), format!("its note is of {}", read.name))),
                Err(error) => {
                    faults.push((base_in(name, base), format!("its note cannot be read: {error}")));
                }
            }
        }
        Ok((bases, faults))
    }

    fn read_received(&self, name: &str) -> Result<Option<Received>, Fault> {
        let fault = |reason: String| (relative(name, RECEIVED), reason);
        match fs::read(self.received(name)) {
            Ok(text) => match received::parse(&String::from_utf8_lossy(&text)) {
                Some(received) => Ok(Some(received)),
                None => Err(fault("it cannot be read".to_owned())),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault(error.to_string())),
        }
    }

    /// Lists the segments of a generation.
    pub(super) fn read_segments(
        &self,
        generation: &str,
        segment_bytes: u64,
    ) -> Result<Vec<Segment>, BackupError> {
        let folder = self.wal(generation);
        let mut segments = BTreeMap::new();
        for file in names(&folder)? {
            let Some(name) = SegmentName::read(&file, segment_bytes) else { continue };
            match fs::metadata(folder.join(&file)) {
                Ok(found) => drop(segments.insert(name, found.len())),
                // It was finished between the two looks.
                Err(error) if error.kind() == ErrorKind::NotFound && name.is_partial => {
                    let whole = SegmentName { is_partial: false, ..name };
                    let found = fs::metadata(folder.join(whole.write(segment_bytes)));
                    segments.extend(found.ok().map(|found| (whole, found.len())));
                }
                Err(error) => return Err(fault(&folder.join(&file), error)),
            }
        }
        Ok(segments.into_iter().map(|(name, size_bytes)| Segment { name, size_bytes }).collect())
    }
}

impl Generation {
    /// Names it as it lies at the destination.
    pub(super) fn path(&self) -> String {
        relative(&self.name, "")
    }

    /// Names a base of it as it lies at the destination.
    pub(super) fn path_of(&self, base: &str) -> String {
        base_in(&self.name, base)
    }
}

fn base_in(generation: &str, base: &str) -> String {
    relative(generation, &format!("{BASES}/{base}"))
}

/// Names a file of a generation as it lies at the destination.
fn relative(generation: &str, file: &str) -> String {
    format!("{FOLDER}/{generation}/{file}").trim_end_matches('/').to_owned()
}

/// Lists a folder in order; one that is not there is empty.
fn names(folder: &Path) -> Result<Vec<String>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| fault(folder, error))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
