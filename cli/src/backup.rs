//! `sixfold database backup | restore | verify | copy | credential`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use database::backup::{self, BackupError, DrillReport, Recovery, Report, Standing, Status, Target};
use database::{Remote, copy};
use jiff::Timestamp;

use crate::args::{BackupAction, DatabaseAction};
use crate::progress::Bar;
use crate::settings::Settings;
use crate::{EXIT_FAILED, run, table, terminal};

/// The folder in the data folder that verify and drill work in.
const SCRATCH: &str = "backup-scratch-command";

/// Performs one action on the database's data and says what it did.
pub(crate) fn perform(settings: &Settings, action: &DatabaseAction) -> anyhow::Result<ExitCode> {
    let data = &settings.process.data;
    match action {
        DatabaseAction::Backup { file: Some(file), .. } => {
            let token = settings.token();
            let copying = backup::backup(&settings.database, data, &token, file);
            print_report("wrote", &run::block_on(async { Ok(copying.await?) })?);
        }
        DatabaseAction::Backup { action: Some(action), .. } => {
            return run::block_on(continuous(settings, action));
        }
        DatabaseAction::Backup { .. } => {
            anyhow::bail!("name a file to write, or now, list, verify, drill or status")
        }
        DatabaseAction::Restore { at: Some(at), to, force, .. } => {
            return run::block_on(restore_at(settings, at, to.as_ref().unwrap_or(data), *force));
        }
        DatabaseAction::Restore { file: Some(file), force, .. } => {
            let restored = backup::restore(file, data, *force).map_err(explain_force)?;
            print_report("restored", &restored);
        }
        DatabaseAction::Restore { .. } => {
            anyhow::bail!("name a file a backup wrote, or --at TIME|COMMIT|latest")
        }
        DatabaseAction::Verify { file } => print_report("verified", &backup::verify(file)?),
        DatabaseAction::Copy { from, to, .. } => {
            let done = run::block_on(async { Ok(copy::copy(from, to, data).await?) })?;
            terminal::say(format_args!(
                "copied {from} to {to}: {} records, {} changes up to {}, {} jobs, {} kept answers; both hold \
                 SHA-256 {}",
                done.records, done.changes, done.sequence, done.jobs, done.answers, done.sha256
            ));
        }
        DatabaseAction::Credential { namespace } => {
            let credential = settings.token().namespace_credential(namespace);
            let credential = credential.ok_or_else(|| {
                anyhow::anyhow!("no cluster token is set, so namespaces are open on loopback")
            })?;
            terminal::say(credential.expose());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is done with the continuous backup's destination.
async fn continuous(settings: &Settings, action: &BackupAction) -> anyhow::Result<ExitCode> {
    let role = || Remote::new(settings.database.address(), settings.token().secret().cloned());
    match action {
        BackupAction::Now => {
            let role = role();
            let stored = Bar::watch(&role, role.store_base()).await?;
            let size = process::size::format(stored.size_bytes);
            terminal::say(format_args!("stored a base of commit {}, {size}", stored.commit));
        }
        BackupAction::List => list(&Recovery::open(&settings.database.backup)?).await?,
        BackupAction::Verify { deep } => return verify(settings, *deep).await,
        BackupAction::Drill => {
            let role = role();
            return Ok(print_drill(&match role.backup_status().await {
                Ok(Some(_)) => Bar::watch(&role, role.drill()).await?,
                // Nobody has the database open: there is nothing to compare with, which is said.
                Ok(None) | Err(_) => {
                    terminal::say(
                        "the database does not run: what is restored is checked, and compared with nothing",
                    );
                    let recovery = Recovery::open(&settings.database.backup)?;
                    let bar = Bar::new("restoring");
                    recovery
                        .drill(&scratch(settings), |total| bar.begin(total), &|read| bar.add(read))
                        .await?
                }
            }));
        }
        BackupAction::Status => match role().backup_status().await? {
            None => anyhow::bail!("database.backup.destination is not set: there is no continuous backup"),
            Some(status) => return Ok(print_status(&status)),
        },
    }
    Ok(ExitCode::SUCCESS)
}

async fn restore_at(settings: &Settings, at: &str, to: &Path, force: bool) -> anyhow::Result<ExitCode> {
    let target = read_target(at)?;
    let recovery = Recovery::open(&settings.database.backup)?;
    let bar = Bar::new("restoring");
    let restored = recovery.restore(target, to, force, |total| bar.begin(total), &|read| bar.add(read)).await;
    drop(bar);
    let (reached, report) = restored.map_err(explain_force)?;
    let made = Timestamp::from_microsecond(reached.at).unwrap_or_default();
    terminal::say(format_args!(
        "restored commit {}, made at {made}, into {}: {} records, {} jobs, {}",
        reached.commit,
        report.file.display(),
        report.records,
        report.jobs,
        process::size::format(report.size_bytes)
    ));
    Ok(ExitCode::SUCCESS)
}

/// Reads `latest`, a commit's number, or a time as in RFC 3339.
fn read_target(text: &str) -> anyhow::Result<Target> {
    if text == "latest" {
        return Ok(Target::Latest);
    }
    if let Ok(number) = text.parse() {
        return Ok(Target::Commit(number));
    }
    let time: Timestamp = text.parse().map_err(|_| {
        anyhow::anyhow!("`{text}` is not `latest`, a commit's number or a time such as 2026-01-31T12:00:00Z")
    })?;
    Ok(Target::Time(time.as_microsecond()))
}

async fn list(recovery: &Recovery) -> anyhow::Result<()> {
    let generations = recovery.list().await?;
    let rows = generations.iter().map(|generation| {
        let ((first, last), (began, ended)) = (generation.commits, generation.times);
        let [bases, segments, merged] = generation.files;
        vec![
            generation.generation.clone(),
            format!("{first} to {last}"),
            format!("{began:.3}"),
            format!("{ended:.3}"),
            format!("{bases} + {segments} + {merged}"),
            process::size::format(generation.size_bytes),
            generation.fault.clone().unwrap_or_else(|| "whole".to_owned()),
        ]
    });
    let heading = ["GENERATION", "COMMITS", "FROM", "TO", "BASES+SEGMENTS+MERGED", "SIZE", "STATE"];
    terminal::say(table::render(&heading, &rows.collect::<Vec<_>>()).trim_end());
    Ok(())
}

async fn verify(settings: &Settings, deep: bool) -> anyhow::Result<ExitCode> {
    let recovery = Recovery::open(&settings.database.backup)?;
    let bar = Bar::new("reading");
    let found =
        recovery.inspect(deep, &scratch(settings), |total| bar.begin(total), &|read| bar.add(read)).await;
    drop(bar);
    let found = found?;
    for (file, fault) in &found.faults {
        terminal::say(format_args!("{file}: {fault}"));
    }
    terminal::say(format_args!(
        "{} files of {} generations, {}: {}",
        found.files,
        found.generations,
        process::size::format(found.size_bytes),
        match found.faults.len() {
            0 => "all whole".to_owned(),
            count => format!("{count} faults"),
        }
    ));
    Ok(if found.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn scratch(settings: &Settings) -> PathBuf {
    settings.process.data.join(SCRATCH)
}

fn print_status(status: &Status) -> ExitCode {
    let (standing, code) = match &status.standing {
        Standing::Shipping => ("shipping".to_owned(), ExitCode::SUCCESS),
        Standing::Starting => ("starting: the base of a generation is made".to_owned(), ExitCode::SUCCESS),
        Standing::Unreachable { reason } => (format!("unreachable: {reason}"), ExitCode::from(EXIT_FAILED)),
    };
    let mode = match status.mode {
        backup::Mode::Async => "async",
        backup::Mode::Sync => "sync",
    };
    let mut rows = vec![
        ("destination", format!("{} ({mode})", status.destination)),
        ("state", standing),
        ("generation", status.generation.clone().unwrap_or_else(|| "none yet".to_owned())),
        ("commits", format!("{} made, {} shipped", status.committed, status.shipped)),
        ("lag", format!("{} commits, {:.3} s", status.lag_commits, status.lag_seconds)),
    ];
    if let Some((commit, at)) = status.base {
        rows.push(("last base", format!("commit {commit} at {at:.3}")));
    }
    rows.push((
        "last drill",
        match &status.drill {
            None => "none since the start".to_owned(),
            Some(drill) => describe_drill(drill),
        },
    ));
    if let Some(progress) = &status.progress {
        rows.push(("now", format!("{}: {} of {} bytes", progress.what, progress.done, progress.total)));
    }
    for (what, how) in rows {
        terminal::say(format_args!("{what:<12} {how}"));
    }
    code
}

fn print_drill(drill: &DrillReport) -> ExitCode {
    terminal::say(describe_drill(drill));
    if drill.fault.is_none() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

fn describe_drill(drill: &DrillReport) -> String {
    let DrillReport { at, commit, seconds, fault } = drill;
    match fault {
        None => format!("good: commit {commit} restored in {seconds:.1} s, at {at:.3}"),
        Some(fault) => format!("FAILED at {at:.3}: {fault}"),
    }
}

fn explain_force(error: BackupError) -> anyhow::Error {
    match error {
        BackupError::Exists { file } => {
            let file = file.display();
            anyhow::anyhow!("{file} exists already; --force replaces it and keeps it beside the new one")
        }
        other => other.into(),
    }
}

fn print_report(done: &str, report: &Report) {
    let digest = match &report.sha256 {
        Some(digest) => format!("SHA-256 {digest}"),
        None => "no digest beside it to check".to_owned(),
    };
    terminal::say(format_args!(
        "{done} {}: {} records, {} jobs, changes up to {}, {}, {digest}",
        report.file.display(),
        report.records,
        report.jobs,
        report.sequence,
        process::size::format(report.size_bytes)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_latest_a_commit_or_a_time() {
        assert_eq!(read_target("latest").unwrap(), Target::Latest);
        assert_eq!(read_target("42").unwrap(), Target::Commit(42));
        assert_eq!(read_target("1970-01-01T00:00:01.5Z").unwrap(), Target::Time(1_500_000));
        assert_eq!(read_target("1970-01-01T01:00:01+01:00").unwrap(), Target::Time(1_000_000));
        assert!(read_target("yesterday").unwrap_err().to_string().contains("yesterday"));
    }
}
