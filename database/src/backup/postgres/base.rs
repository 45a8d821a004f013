//! Bases: pg_basebackup into the destination, under another name until it is whole and its own log was received.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde::Deserialize;

use super::board::Board;
use super::files;
use super::inventory::Base;
use super::layout::Layout;
use super::login::Login;
use super::lsn::{Lsn, SegmentName};
use super::program::{Program, Stream};
use super::server;
use super::tools::{Tool, Tools};
use crate::backup::status::Progress;
use crate::backup::{BackupError, beside, fault};
use crate::engine::postgres::session::Server;

/// What a base that is not finished has at the end of its name.
const UNFINISHED: &str = ".partial";

/// How long a base waits for the end of its own log, which the server sends as soon as it can.
const LOG_PATIENCE: Duration = Duration::from_secs(120);

/// What making a base needs.
pub(super) struct Maker<'a> {
    pub(super) server: &'a Server,
    pub(super) login: &'a Login,
    pub(super) tools_folder: Option<&'a Path>,
    pub(super) layout: &'a Layout,
    pub(super) board: &'a Arc<Board>,
}

/// What is read of `backup_manifest`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    #[serde(rename = "WAL-Ranges")]
    ranges: Vec<Range>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: Lsn,
    #[serde(rename = "End-LSN")]
    end: Lsn,
}

impl Maker<'_> {
    /// Makes a base of the server in a generation whose log is being received; `is_urgent` has the server's
    /// checkpoint done at once instead of spread out.
    pub(super) async fn make(&self, generation: &str, is_urgent: bool) -> Result<Base, BackupError> {
        let made = self.try_make(generation, is_urgent).await;
        self.board.notes.note_progress(None);
        made
    }

    async fn try_make(&self, generation: &str, is_urgent: bool) -> Result<Base, BackupError> {
        let log = |reason: String| BackupError::Log { reason };
        let session = server::connect(self.server).await.map_err(log)?;
        let facts = server::facts(&session, "").await.map_err(log)?;
        let (began, _) = server::now(&session).await.map_err(log)?;
        drop(session);
        let name = Timestamp::now().strftime("%Y%m%dT%H%M%S%6fZ").to_string();
        let (folder, segment_bytes) =
            (self.layout.base(generation, &name), u64::try_from(facts.segment_bytes).unwrap_or(1));
        let partial = beside(&folder, UNFINISHED);
        self.layout.check()?;
        remove_unfinished(self.layout, generation)?;
        let tools = Tools::new(self.tools_folder, facts.major());
        self.run(&tools, &partial, &name, is_urgent).await?;
        let session = server::connect(self.server).await.map_err(log)?;
        let (ended, next_xid) = server::now(&session).await.map_err(log)?;
        drop(session);
        let range = read_range(&partial)?;
        let base = Base {
            name,
            timeline: range.timeline,
            start: range.start,
            end: range.end,
            began,
            ended,
            next_xid,
            size_bytes: files::size(&partial)?,
        };
        self.wait_for_log(generation, &base, segment_bytes).await?;
        // It may have been taken away, or mounted over, meanwhile.
        self.layout.check()?;
        fs::rename(&partial, &folder).map_err(|error| fault(&folder, error))?;
        crate::backup::sync(&self.layout.bases(generation))?;
        let note = serde_json::to_vec_pretty(&base).map_err(|error| fault(&folder, error))?;
        files::write_durably(&self.layout.base_note(generation, &base.name), &note)?;
        Ok(base)
    }

    async fn run(
        &self,
        tools: &Tools,
        folder: &Path,
        label: &str,
        is_urgent: bool,
    ) -> Result<(), BackupError> {
        let mut command = tools.command(Tool::BaseBackup).map_err(BackupError::Settings)?;
        command.arg("--pgdata").arg(folder);
        // The log is received anyway; with it in every base it would be there twice.
        command.args(["--format=plain", "--wal-method=none", "--manifest-checksums=SHA256", "--progress"]);
        command.args(["--no-password", "--label", &format!("sixfold {label}")]);
        command.arg(if is_urgent { "--checkpoint=fast" } else { "--checkpoint=spread" });
        // Not the receiver's name, for which the server may wait.
        self.login.apply(&mut command, "sixfold_base");
        let board = Arc::clone(self.board);
        let note = move |stream: Stream, line: &str| {
            if let Some((done, total)) = read_progress(line).filter(|_| stream == Stream::Errors) {
                board.notes.note_progress(Some(Progress { what: "base".to_owned(), done, total }));
            }
        };
        let started = Program::start(command, None, Signal::TERM, note);
        let mut program = started.map_err(|error| fault(folder, error))?;
        let ended = program.end().await;
        match ended.is_success() {
            true => Ok(()),
            false => {
                let _ = files::remove(folder);
                Err(BackupError::Log { reason: format!("pg_basebackup failed: {}", ended.reason()) })
            }
        }
    }

    /// Waits until the log that makes the base consistent was received in whole segments; the server ends the last one
    /// with the backup.
    async fn wait_for_log(
        &self,
        generation: &str,
        base: &Base,
        segment_bytes: u64,
    ) -> Result<(), BackupError> {
        let number = base.end.segment_before(segment_bytes);
        let last = SegmentName { timeline: base.timeline, number, is_partial: false };
        let file = self.layout.wal(generation).join(last.write(segment_bytes));
        let waiting = async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LOG_PATIENCE, waiting).await.map_err(|_| BackupError::Log {
            reason: format!("the log of a base was not received in {LOG_PATIENCE:?}: {}", file.display()),
        })
    }
}

/// Removes what interrupted attempts left: bases without their last word.
pub(super) fn remove_unfinished(layout: &Layout, generation: &str) -> Result<(), BackupError> {
    let folder = layout.bases(generation);
    for entry in fs::read_dir(&folder).map_err(|error| fault(&folder, error))? {
        let path = entry.map_err(|error| fault(&folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_whole = name.ends_with(".json") || layout.base_note(generation, name).exists();
        if !is_whole {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// Reads which part of the log a base needs; a base taken over a switch of timelines has several ranges.
fn read_range(folder: &Path) -> Result<Range, BackupError> {
    let file = folder.join("backup_manifest");
    let text = fs::read(&file).map_err(|error| fault(&file, error))?;
    let damaged = |reason: String| BackupError::Damaged { file: file.clone(), reason };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    manifest.ranges.into_iter().next_back().ok_or_else(|| damaged("it names no part of the log".to_owned()))
}

/// Reads a line of `--progress`: `1234/5678 kB (21%), 0/1 tablespace`.
fn read_progress(line: &str) -> Option<(u64, u64)> {
    let (numbers, _) = line.trim_start().split_once(" kB")?;
    let (done, total) = numbers.split_once('/')?;
    Some((done.parse::<u64>().ok()? * 1024, total.parse::<u64>().ok()? * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_the_needed_log_are_read_as_pg_basebackup_writes_them() {
        assert_eq!(read_progress(" 2048/4096 kB (50%), 0/1 tablespace"), Some((2 << 20, 4 << 20)));
        assert_eq!(read_progress("pg_basebackup: error: x"), None);
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{ "PostgreSQL-Backup-Manifest-Version": 1, "Files": [{ "Path": "x", "Size": 3 }],
            "WAL-Ranges": [{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }],
            "Manifest-Checksum": "ab"}"#;
        fs::write(folder.path().join("backup_manifest"), text).unwrap();
        let range = read_range(folder.path()).unwrap();
        assert_eq!((range.timeline, range.start, range.end), (1, Lsn(0x200_0028), Lsn(0x200_0100)));
    }
}
