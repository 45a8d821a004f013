//! `sixfold config show` and `sixfold config check`.

use std::path::Path;
use std::process::ExitCode;

use process::{listen, telemetry};

use crate::role::Role;
use crate::settings::Settings;
use crate::{terminal, up};

/// Prints the configuration that holds, as a config file; secrets are left out.
pub(crate) fn show(settings: &Settings) -> anyhow::Result<ExitCode> {
    terminal::say(toml::to_string(settings)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Says that `up` and every role could start with the configuration, as far as a look without binding
/// tells; an invalid one has ended the process before.
pub(crate) fn check(settings: &Settings, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    telemetry::check(&settings.process)?;
    let roles = up::roles(settings);
    let token = settings.token();
    for role in &roles {
        for address in role.addresses(settings) {
            let role_name = role.to_string();
            let _address = match role {
                // They guard themselves, so they may be open to the world.
                Role::LoadBalancer | Role::Gateway { .. } => listen::resolve(&role_name, &address)?,
                _ => listen::resolve_internal(&role_name, &address, &token)?,
            };
        }
    }
    let source =
        file.map_or_else(|| "the default configuration".to_owned(), |file| file.display().to_string());
    terminal::say(format_args!("{source} is valid; `sixfold up` would start {} roles", roles.len()));
    Ok(ExitCode::SUCCESS)
}
