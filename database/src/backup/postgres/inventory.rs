//! What lies at a destination: generations, each with bases and the log received since; read from the folder, so that
//! everything that is decided about it is decided from memory.
//!
//! ```text
//! postgresql/GENERATION/generation.json   whose log it is
//!                      /received         up to where its log was received
//!                      /wal/              segments, as pg_receivewal names them
//!                      /base/NAME/        what pg_basebackup made
//!                      /base/NAME.json    written last: without it the base was not finished
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lsn::{Lsn, SegmentName};
use super::received;
use crate::backup::{BackupError, fault};

/// The folder at the destination that is ours.
const FOLDER: &str = "postgresql";

/// The file that tells whose log a generation is.
const ORIGIN: &str = "generation.json";

/// Whose log it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// What PostgreSQL calls the cluster; a restored or promoted one has the same.
    pub(super) system: String,
    /// The server's major version, by which tools are chosen.
    pub(super) major: u32,
    /// How long a segment is.
    pub(super) segment_bytes: u64,
}

/// A base that was finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// Its folder's name.
    pub(super) name: String,
    /// The timeline it was taken on.
    pub(super) timeline: u32,
    /// Where in the log a restore of it begins.
    pub(super) start: Lsn,
    /// Before which place a restore of it cannot stop.
    pub(super) end: Lsn,
    /// When it was begun, by the server's clock.
    pub(super) began: Timestamp,
    /// When it was finished, by the server's clock: before that a restore of it cannot stop.
    pub(super) ended: Timestamp,
    /// No transaction with this number or a greater one had begun when it was finished.
    pub(super) next_xid: u64,
    /// How much it is.
    pub(super) size_bytes: u64,
}

/// A segment file and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) size_bytes: u64,
}

/// One uninterrupted reception of a server's log, with its bases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    /// Its name, which begins with the time it began.
    pub(super) name: String,
    pub(super) origin: Origin,
    /// Its bases, oldest first.
    pub(super) bases: Vec<Base>,
    /// Its segments, by timeline and number.
    pub(super) segments: Vec<Segment>,
    /// Up to where its log was received, if that is noted: by an older release it was not.
    pub(super) received: Option<Lsn>,
    /// What cannot be read, and why.
    pub(super) faults: Vec<(String, String)>,
}

/// Everything at a destination, oldest generation first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    pub(super) generations: Vec<Generation>,
}

/// Where things lie at a destination.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Takes the folder a destination names.
    pub(super) fn new(destination: &Path) -> Self {
        Self { root: destination.join(FOLDER) }
    }

    pub(super) fn generation(&self, generation: &str) -> PathBuf {
        self.root.join(generation)
    }

    /// The file that makes a generation one.
    pub(super) fn origin(&self, generation: &str) -> PathBuf {
        self.generation(generation).join(ORIGIN)
    }

    pub(super) fn wal(&self, generation: &str) -> PathBuf {
        self.generation(generation).join("wal")
    }

    pub(super) fn bases(&self, generation: &str) -> PathBuf {
        self.generation(generation).join("base")
    }

    pub(super) fn base(&self, generation: &str, base: &str) -> PathBuf {
        self.bases(generation).join(base)
    }

    /// The file that tells how far the log was received.
    pub(super) fn received(&self, generation: &str) -> PathBuf {
        self.generation(generation).join("received")
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
        write_durably(&folder.join(ORIGIN), &text)?;
        for folder in [&folder, &self.root, self.root.parent().unwrap_or(&self.root)] {
            crate::backup::sync(folder)?;
        }
        Ok(())
    }

    /// Reads what there is; a destination that was never written to is empty.
    pub(super) fn read(&self) -> Result<Inventory, BackupError> {
        // A destination that is not there may be a share that is not mounted.
        let destination = self.root.parent().unwrap_or(&self.root);
        fs::metadata(destination).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BackupError::Settings(format!(
                "the destination {} is not there: make the folder, or mount what belongs there",
                destination.display()
            )),
            _ => fault(destination, error),
        })?;
        let mut generations = Vec::new();
        for name in names(&self.root)? {
            let folder = self.generation(&name);
            match fs::read(folder.join(ORIGIN)) {
                Ok(text) => generations.push(self.read_generation(name, &text)?),
                // Begun, and never finished.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(fault(&folder.join(ORIGIN), error)),
            }
        }
        Ok(Inventory { generations })
    }

    fn read_generation(&self, name: String, origin: &[u8]) -> Result<Generation, BackupError> {
        let file = self.generation(&name).join(ORIGIN);
        let origin: Origin = serde_json::from_slice(origin)
            .map_err(|error| BackupError::Damaged { file: file.clone(), reason: error.to_string() })?;
        if !origin.segment_bytes.is_power_of_two() || !(1 << 20..=1 << 30).contains(&origin.segment_bytes) {
            let reason = format!("segments cannot have {} bytes", origin.segment_bytes);
            return Err(BackupError::Damaged { file, reason });
        }
        let (mut bases, mut faults) = (Vec::new(), Vec::new());
        let listed = names(&self.bases(&name))?;
        for base in listed.iter().filter_map(|name| name.strip_suffix(".json")) {
            let note = self.base_note(&name, base);
            let text = fs::read(&note).map_err(|error| fault(&note, error))?;
            match serde_json::from_slice::<Base>(&text) {
                Ok(read) if read.name == base => bases.push(read),
                Ok(read) => faults.push((relative(&name, base), format!("its note is of {}", read.name))),
                Err(error) => {
                    faults.push((relative(&name, base), format!("its note cannot be read: {error}")))
                }
            }
        }
        // Before the segments are listed: what is received meanwhile is not missed.
        let received = match fs::read(self.received(&name)) {
            Ok(text) => {
                let received = received::parse(&String::from_utf8_lossy(&text));
                if received.is_none() {
                    faults.push((format!("{FOLDER}/{name}/received"), "it cannot be read".into()));
                }
                received
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(fault(&self.received(&name), error)),
        };
        let segments = self.read_segments(&name, origin.segment_bytes)?;
        Ok(Generation { name, origin, bases, segments, received, faults })
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
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && name.is_partial => {
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
    /// Names a file of it as it lies at the destination.
    pub(super) fn path_of(&self, base: &str) -> String {
        relative(&self.name, base)
    }
}

fn relative(generation: &str, base: &str) -> String {
    format!("{FOLDER}/{generation}/base/{base}")
}

/// Lists a folder in order; one that is not there is empty.
fn names(folder: &Path) -> Result<Vec<String>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
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

/// Writes a small file so that it is whole or not there.
pub(super) fn write_durably(file: &Path, text: &[u8]) -> Result<(), BackupError> {
    let partial = crate::backup::beside(file, ".new");
    let written = fs::write(&partial, text).and_then(|()| {
        fs::File::open(&partial)?.sync_all()?;
        fs::rename(&partial, file)
    });
    written.map_err(|error| fault(file, error))?;
    crate::backup::sync(file.parent().unwrap_or(file))
}
