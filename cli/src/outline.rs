//! Whether a file that is read again was emptied or cut short: what is left of it is valid, and says less than anybody
//! meant.

use std::path::Path;

use process::ConfigError;

use crate::role::Role;

/// What a config file has, of what only a person takes away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    has_any: bool,
    has_balancer: bool,
    has_backends: bool,
}

impl Outline {
    /// Looks at a file; one that is not there or cannot be read has nothing.
    pub(crate) fn of(file: Option<&Path>) -> Self {
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let table = text.parse::<toml::Table>().unwrap_or_default();
        let balancer = table.get("load_balancer").and_then(toml::Value::as_table);
        Self {
            has_any: !table.is_empty(),
            has_balancer: balancer.is_some(),
            has_backends: balancer.is_some_and(|balancer| balancer.contains_key("backends")),
        }
    }

    /// Leaves out what no role of this process reads.
    pub(crate) fn read_by(self, roles: &[Role]) -> Self {
        let balances = roles.contains(&Role::LoadBalancer);
        Self {
            has_any: self.has_any,
            has_balancer: self.has_balancer && balances,
            has_backends: self.has_backends && balances,
        }
    }

    /// Refuses what lacks something that the file had before.
    pub(crate) fn check_since(self, before: Self) -> Result<(), ConfigError> {
        let gone = |key: &str, instead: &str| {
            let message = format!("the file had it and has it no more; {instead}");
            Err(ConfigError::inconsistent(key, message))
        };
        if before.has_any && !self.has_any {
            return Err(ConfigError::inconsistent("the file", "it is empty, and was not"));
        }
        if before.has_balancer && !self.has_balancer {
            return gone("load_balancer", "an empty section stands for the defaults");
        }
        if before.has_backends && !self.has_backends {
            return gone("load_balancer.backends", "an empty list stands for none");
        }
        Ok(())
    }
}
