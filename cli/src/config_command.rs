//! `sixfold config show` and `sixfold config check`.

use std::collections::BTreeMap;
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
    let mut taken = BTreeMap::new();
    for role in &roles {
        for configured in role.addresses(settings) {
            let role_name = role.to_string();
            let address = match role {
                // They guard themselves, so they may be open to the world.
                Role::LoadBalancer | Role::Gateway { .. } => listen::resolve(&role_name, &configured)?,
                _ => listen::resolve_internal(&role_name, &configured, &token)?,
            };
            // Port 0 is another one each time.
            if address.port() != 0
                && let Some(other) = taken.insert(address, role_name.clone())
            {
                anyhow::bail!("{role_name}: {configured} is the address of {other}, too");
            }
        }
    }
    let source =
        file.map_or_else(|| "the default configuration".to_owned(), |file| file.display().to_string());
    terminal::say(format_args!("{source} is valid; `sixfold up` would start {} roles", roles.len()));
    Ok(ExitCode::SUCCESS)
}
