//! `sixfold config show` and `sixfold config check`.

use std::path::Path;
use std::process::ExitCode;

use crate::settings::Settings;
use crate::up;

/// Prints the configuration that holds, as a config file; secrets are left out.
pub(crate) fn show(settings: &Settings) -> anyhow::Result<ExitCode> {
    print!("{}", toml::to_string(settings)?);
    Ok(ExitCode::SUCCESS)
}

/// Says that the configuration is valid; an invalid one has ended the process before.
pub(crate) fn check(settings: &Settings, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let source =
        file.map_or_else(|| "the default configuration".to_owned(), |file| file.display().to_string());
    println!("{source} is valid; `sixfold up` would start {} roles", up::roles(settings).len());
    Ok(ExitCode::SUCCESS)
}
