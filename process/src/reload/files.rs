//! How files look from outside: enough to tell that one was written or replaced.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How some files look; what links lead to is looked at, so that a swapped link counts as a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

/// How one file looks: when it was written, its size, and which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    written: (i64, i64),
    size: u64,
    file: (u64, u64),
}

impl Stamps {
    /// Looks at files; one that cannot be looked at is noted as that.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(
            files
                .into_iter()
                .map(|file| (Stamp::of(&file), file))
                .map(|(stamp, file)| (file, stamp))
                .collect(),
        )
    }

    /// Tells whether a file that was looked at before looks different now; one looked at for the first time
    /// does not count.
    pub fn differ_from(&self, before: &Self) -> bool {
        self.0.iter().any(|(file, stamp)| before.0.get(file).is_some_and(|noted| noted != stamp))
    }

    /// Tells whether all these files still look as noted.
    pub fn hold_for(&self, files: &[PathBuf]) -> bool {
        files.iter().all(|file| self.0.get(file).is_some_and(|noted| *noted == Stamp::of(file)))
    }
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        Some(Self {
            written: (found.mtime(), found.mtime_nsec()),
            size: found.size(),
            file: (found.dev(), found.ino()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_gone_looks_different() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let look = || Stamps::of([file.clone()]);
        let missing = look();
        std::fs::write(&file, "one").unwrap();
        let first = look();
        assert_ne!(missing, first);
        assert!(first.hold_for(std::slice::from_ref(&file)));
        std::fs::write(&file, "three").unwrap();
        let longer = look();
        assert_ne!(first, longer);
        let beside = folder.path().join("b");
        std::fs::write(&beside, "three").unwrap();
        std::fs::rename(&beside, &file).unwrap();
        assert_ne!(longer, look(), "another file of the same size took its place");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(missing, look());
    }
}
