//! The digest beside a backup, in the format of `sha256sum`: SQLite keeps no checksums of its own.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

use crate::backup::{BackupError, beside, damaged, fault, replace_private};

/// What follows the backup's name in the name of its digest.
const SUFFIX: &str = ".sha256";

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// Gives the digest of a file, in hexadecimal.
pub(super) fn of(file: &Path) -> Result<String, BackupError> {
    let mut source = File::open(file).map_err(|error| fault(file, error))?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk).map_err(|error| fault(file, error))? {
            0 => break,
            read => context.update(&chunk[..read]),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a backup's digest beside it, durably but for the directory's own entry.
pub(super) fn write(file: &Path, digest: &str) -> Result<(), BackupError> {
    let path = beside(file, SUFFIX);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let written = replace_private(&path).and_then(|mut target| {
        writeln!(target, "{digest}  {name}")?;
        target.sync_all()
    });
    written.map_err(|error| fault(&path, error))
}

/// Takes the digest of a backup that was not finished away.
pub(super) fn remove(file: &Path) {
    let _ = fs::remove_file(beside(file, SUFFIX));
}

/// Checks a file against the digest beside it and gives that; `None` when there is none.
pub(super) fn check(file: &Path) -> Result<Option<String>, BackupError> {
    let path = beside(file, SUFFIX);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(&path, error)),
    };
    // `sha256sum` begins the line with a backslash when it escapes the name.
    let expected = text.split_whitespace().next().unwrap_or("").trim_start_matches('\\').to_ascii_lowercase();
    let found = of(file)?;
    match found == expected {
        true => Ok(Some(found)),
        false => {
            Err(damaged(file, format!("its SHA-256 digest is not the one in {}: {found}", path.display())))
        }
    }
}
