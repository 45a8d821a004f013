//! `sixfold database backup | restore | verify | compact | copy | credential`.
//!
//! What differs by engine is in [`kept`] (what lies at the destination) and [`status`].

mod kept;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use database::backup::{self, BackupError, DrillReport, Report};
use database::{Remote, Url, copy};

use self::kept::Kept;
use crate::args::{BackupAction, DatabaseAction};
use crate::progress::Bar;
use crate::settings::Settings;
use crate::{EXIT_FAILED, run, terminal};

/// The folder in the data folder that verify and drill work in.
const SCRATCH: &str = "backup-scratch-command";

/// Performs one action on the database's data and says what it did.
pub(crate) fn perform(settings: &Settings, action: &DatabaseAction) -> anyhow::Result<ExitCode> {
    let data = &settings.process.data;
    let folder = settings.database.folder(data);
    match action {
        DatabaseAction::Backup { file: Some(_), action: Some(_), .. } => {
            anyhow::bail!("name a file to write, or what to do with the continuous backup, not both")
        }
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
            let restoring = async { Kept::open(settings)?.restore(at, to.as_deref(), folder, *force).await };
            run::block_on(restoring)?;
        }
        DatabaseAction::Restore { file: Some(file), to, force, .. } => {
            let folder = to.as_deref().unwrap_or(folder);
            let restored = backup::restore(file, folder, *force).map_err(explain_force)?;
            print_report("restored", &restored);
        }
        DatabaseAction::Restore { .. } => {
            anyhow::bail!("name a file a backup wrote, or --at and a moment of the continuous backup")
        }
        DatabaseAction::Verify { file } => print_report("verified", &backup::verify(file)?),
        DatabaseAction::Compact { .. } => {
            if settings.database.url.is_postgres() {
                anyhow::bail!("the database is on PostgreSQL, which uses free space again by itself");
            }
            let done = backup::compact(folder)?;
            let [from, to] = [done.from_bytes, done.to_bytes].map(process::size::format);
            terminal::say(format_args!("wrote {} anew: {from} became {to}", done.file.display()));
        }
        DatabaseAction::Copy { from, to, .. } => {
            let [from, to] = [(from, "source"), (to, "destination")].map(|(url, which)| {
                Url::read(url.expose()).map_err(|error| anyhow::anyhow!("the {which} of the copy: {error}"))
            });
            let (from, to) = (&from?, &to?);
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
            terminal::say(format_args!("stored a base up to {}, {size}", stored.position));
        }
        BackupAction::List => terminal::say(Kept::open(settings)?.list().await?.trim_end()),
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
                    Kept::open(settings)?.drill(&scratch(settings)).await?
                }
            }));
        }
        BackupAction::Status => match role().backup_status().await? {
            None => anyhow::bail!("database.backup.destination is not set: there is no continuous backup"),
            Some(status) => return Ok(status::print(&status)),
        },
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(settings: &Settings, deep: bool) -> anyhow::Result<ExitCode> {
    let found = Kept::open(settings)?.inspect(deep, &scratch(settings)).await?;
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

fn print_drill(drill: &DrillReport) -> ExitCode {
    terminal::say(describe_drill(drill));
    if drill.fault.is_none() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

fn describe_drill(drill: &DrillReport) -> String {
    let DrillReport { at, position, seconds, fault } = drill;
    match fault {
        None => format!("good: {position} restored in {seconds:.1} s, at {at:.3}"),
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
