//! A restore: a copy of the base that PostgreSQL recovers from the log at the destination when it is started.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::process::Signal;

use super::files::{self, Purpose};
use super::layout::Layout;
use super::log_check::LogFolder;
use super::lsn::{Lsn, SegmentName};
use super::plan::{Plan, PlanError, Rest, Target};
use super::program::Program;
use super::stop::Stop;
use super::tools::{Tool, Tools};
use crate::backup::{BackupError, beside, fault};

/// What a server needs to start where its own configuration lies outside of its data folder.
const CONFIGURATION: &str =
    "# The server's own configuration lay outside of its data folder and is not in the backup.\n";
const WHO_MAY: &str = "# The server's own file lay outside of its data folder and is not in the backup.\n\
    local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n";

/// What a base may bring along in its settings, where its server was itself restored to a moment: each would stop this
/// recovery too. They come before what is asked for, since PostgreSQL refuses one target while another is set.
const NO_TARGET: &str = "recovery_target = ''\nrecovery_target_lsn = ''\nrecovery_target_name = ''\n\
    recovery_target_time = ''\nrecovery_target_xid = ''\nrecovery_target_inclusive = on\n";

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The data folder.
    pub folder: PathBuf,
    /// The base it was made of, and when that was finished.
    pub base: (Lsn, Timestamp),
    /// How many segments of the log recovery reads.
    pub segments: usize,
    /// Of the latest state: when what was committed is known to be in it.
    pub covered: Option<Timestamp>,
    /// What starts the server.
    pub command: String,
    /// What should be known besides.
    pub notes: Vec<String>,
}

/// What a restore needs.
pub(super) struct Restore<'a> {
    pub(super) layout: &'a Layout,
    pub(super) plan: &'a Plan,
    pub(super) tools: &'a Tools,
    pub(super) stop: Stop,
    /// Where recovery finds the log; at the destination without one.
    pub(super) wal: Option<&'a Path>,
    pub(super) purpose: Purpose,
    pub(super) note: &'a dyn Fn(u64),
}

impl Restore<'_> {
    /// Makes the data folder `to`, which must not be there or be empty. What is damaged is named, and nothing is made.
    pub(super) async fn make(&self, to: &Path) -> Result<Restored, BackupError> {
        let to = &std::path::absolute(to).map_err(|error| fault(to, error))?;
        check_empty(to)?;
        let partial = beside(to, ".partial");
        files::remove(&partial)?;
        let made = self.make_in(&partial).await;
        if made.is_err() {
            let _ = files::remove(&partial);
        }
        let notes = made?;
        // An empty folder is replaced.
        fs::rename(&partial, to).map_err(|error| fault(to, error))?;
        crate::backup::sync(to.parent().unwrap_or(to))?;
        let control = self.tools.find(Tool::Control).unwrap_or_else(|_| PathBuf::from("pg_ctl"));
        Ok(Restored {
            folder: to.clone(),
            base: (self.plan.base.end, self.plan.base.ended),
            segments: self.plan.segments.len(),
            covered: match (self.plan.target, self.plan.rest) {
                (Target::Latest, Rest::Nothing(noted)) => noted.and_then(|noted| noted.at),
                _ => None,
            },
            command: format!(
                "{} start -D {} -l {}",
                quoted(&control),
                quoted(to),
                quoted(&beside(to, ".log"))
            ),
            notes,
        })
    }

    async fn make_in(&self, folder: &Path) -> Result<Vec<String>, BackupError> {
        let Plan { generation, base, segments, segment_bytes, .. } = self.plan;
        let mut notes = Vec::new();
        if let Some(later) = &self.plan.baseless {
            notes.push(format!(
                "WARNING: this may be an EARLIER state than the latest: {later} is newer and has no base, so what was \
                 committed since it began is NOT in it"
            ));
        }
        let wal = self.layout.wal(generation);
        let mut stop = self.plan.settings_of(self.stop);
        // Recovery takes a damaged record for the end of the log: an earlier state, and no error.
        match self.tools.find(Tool::WalDump) {
            Ok(_) => {
                let log = LogFolder::link(beside(folder, ".wal"), &wal, segments, *segment_bytes)?;
                let end = log.read(self.tools, base.start, self.plan.received).await?;
                let end = end.map_err(|(name, reason)| BackupError::DamagedFile { name, reason })?;
                // Recovery that does not meet its target ends with a failure.
                if let Target::Transaction(asked) = self.plan.target
                    && let Err(last) = log.find_transaction(self.tools, base.start, asked).await?
                {
                    return Err(PlanError::NoTransaction { asked, last }.into());
                }
                if self.stop == Stop::AtTarget && self.plan.may_lie_beyond(Some(end)) {
                    let last = log.last_commit(self.tools).await?;
                    if let Some((settings, note)) = self.plan.stop_at_end(end, last)? {
                        stop = settings;
                        notes.push(note);
                    }
                }
            }
            Err(_) if self.stop == Stop::AtTarget && self.plan.may_lie_beyond(None) => {
                return Err(self.plan.not_covered(None, None).into());
            }
            Err(reason) => notes.push(format!("the log's records were not checked: {reason}")),
        }
        files::copy(&self.layout.base(generation, &base.name), folder, self.purpose, self.note)?;
        check_base(self.tools, folder, None).await?;
        for (name, text) in
            [("postgresql.conf", CONFIGURATION), ("pg_hba.conf", WHO_MAY), ("pg_ident.conf", "")]
        {
            let file = folder.join(name);
            if !file.exists() {
                fs::write(&file, text).map_err(|error| fault(&file, error))?;
                if name == "postgresql.conf" {
                    notes.push(
                        "the server's configuration lay outside of its data folder: postgresql.conf and pg_hba.conf \
                         are bare ones"
                            .to_owned(),
                    );
                }
            }
        }
        let file = folder.join("postgresql.auto.conf");
        let wal = self.wal.unwrap_or(&wal);
        let mut text = format!(
            "\n# Written by sixfold database restore.\n{NO_TARGET}restore_command = {}\n",
            literal(&fetch(wal)?)
        );
        stop.push(("recovery_target_timeline", "latest".to_owned()));
        // At the target, the server takes writes.
        stop.push(("recovery_target_action", "promote".to_owned()));
        for (name, value) in &stop {
            text.push_str(&format!("{name} = {}\n", literal(value)));
        }
        let written = fs::OpenOptions::new().create(true).append(true).open(&file).and_then(|mut target| {
            target.write_all(text.as_bytes())?;
            target.sync_all()?;
            // Last: with it PostgreSQL recovers as it is told, not as after a crash.
            fs::File::create(folder.join("recovery.signal"))?.sync_all()
        });
        written.map_err(|error| fault(&file, error))?;
        crate::backup::sync(folder)?;
        Ok(notes)
    }
}

/// Has pg_verifybackup compare a base with its manifest, and its log, where it is given, with what it needs.
pub(super) async fn check_base(tools: &Tools, base: &Path, wal: Option<&Path>) -> Result<(), BackupError> {
    let mut command = tools.command(Tool::VerifyBackup).map_err(BackupError::Settings)?;
    command.arg("--quiet");
    match wal {
        Some(wal) => command.arg("--wal-directory").arg(wal),
        None => command.arg("--no-parse-wal"),
    };
    command.arg(base);
    let started = Program::start(command, None, Signal::TERM, |_, _| ());
    let ended = started.map_err(|error| fault(base, error))?.end().await;
    match ended.is_success() {
        true => Ok(()),
        false => {
            let told: Vec<&str> =
                ended.said.iter().map(|line| line.trim_start_matches("pg_verifybackup: error: ")).collect();
            Err(BackupError::Damaged { file: base.to_owned(), reason: told.join("; ") })
        }
    }
}

fn check_empty(folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(BackupError::Settings(format!(
                "{} is not empty: name a folder that is not there yet",
                folder.display()
            ))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fault(folder, error)),
    }
}

/// Makes the shell command by which recovery fetches a file of the log: the finished one, or the one that was being
/// received, and, if it was just finished, that one after all.
fn fetch(wal: &Path) -> Result<String, BackupError> {
    let unusable = || BackupError::Settings(format!("{} cannot be written into a setting", wal.display()));
    let folder = wal.to_str().filter(|text| !text.contains(['\n', '\r'])).ok_or_else(unusable)?;
    let file = format!("{}/%f", folder.replace('%', "%%"));
    let (file, partial) = (shell(&file), shell(&format!("{file}.partial")));
    let copy = |source: &str| format!("cp {source} \"%p\" 2>/dev/null");
    Ok(format!("{} || {} || {}", copy(&file), copy(&partial), copy(&file)))
}

fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte)) {
        true => text.into_owned(),
        false => shell(&text),
    }
}

/// Writes a value into `postgresql.conf`.
fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

/// Copies the segments a plan needs, for a server that may not read the destination.
pub(super) fn copy_log(layout: &Layout, plan: &Plan, to: &Path) -> Result<(), BackupError> {
    files::make_private(to)?;
    let wal = layout.wal(&plan.generation);
    for segment in &plan.segments {
        let whole = SegmentName { is_partial: false, ..*segment };
        let sources = [whole, *segment, whole].map(|name| name.write(plan.segment_bytes));
        let target = to.join(whole.write(plan.segment_bytes));
        let copied = sources.iter().map(|name| fs::copy(wal.join(name), &target)).find(Result::is_ok);
        if copied.is_none() {
            return Err(fault(&wal.join(&sources[0]), "it cannot be copied"));
        }
    }
    for entry in fs::read_dir(&wal).map_err(|error| fault(&wal, error))? {
        let entry = entry.map_err(|error| fault(&wal, error))?;
        if entry.path().extension().is_some_and(|extension| extension == "history") {
            let target = to.join(entry.file_name());
            fs::copy(entry.path(), &target).map_err(|error| fault(&target, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell_and_for_the_setting() {
        let command = fetch(Path::new("/back ups/it's 5%")).unwrap();
        assert!(command.starts_with(r#"cp '/back ups/it'\''s 5%%/%f' "%p""#), "{command}");
        assert!(command.contains("%f.partial'"), "{command}");
        assert_eq!(literal(r"a'\b"), r"'a''\\b'");
        assert!(fetch(Path::new("/a\nb")).is_err());
        assert_eq!(quoted(Path::new("/usr/lib/x")), "/usr/lib/x");
        assert_eq!(quoted(Path::new("/a b")), "'/a b'");
    }
}
