//! `sixfold database backup | restore | verify | copy | credential`.

use std::process::ExitCode;

use database::backup::{self, BackupError, Report};
use database::copy;

use crate::args::DatabaseAction;
use crate::settings::Settings;
use crate::{run, terminal};

/// Performs one action on the database's data and says what it did.
pub(crate) fn perform(settings: &Settings, action: &DatabaseAction) -> anyhow::Result<ExitCode> {
    let data = &settings.process.data;
    match action {
        DatabaseAction::Backup { file, .. } => {
            let token = settings.token();
            let copying = backup::backup(&settings.database, data, &token, file);
            print_report("wrote", &run::block_on(async { Ok(copying.await?) })?);
        }
        DatabaseAction::Restore { file, force, .. } => {
            let restored = backup::restore(file, data, *force).map_err(|error| match error {
                BackupError::Exists { file } => {
                    let file = file.display();
                    anyhow::anyhow!(
                        "{file} exists already; --force replaces it and keeps it beside the new one"
                    )
                }
                other => other.into(),
            })?;
            print_report("restored", &restored);
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
