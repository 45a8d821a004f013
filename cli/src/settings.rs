//! The one configuration: every crate's section, put together.

use std::path::{Path, PathBuf};

use process::config::{self, Sources};
use process::{Cluster, ClusterToken, ConfigError, Services};
use serde::{Deserialize, Serialize};

use crate::args::Flags;

/// The variable that sets the first administrator's password; a name people will guess.
const ADMIN_PASSWORD: &str = "SIXFOLD_ADMIN_PASSWORD";

/// The variable it stands for.
const ADMIN_PASSWORD_KEY: &str = "SIXFOLD__MICROSERVICE__ACCOUNTS__ADMIN_PASSWORD";

/// Every section of the config file; each crate owns its own and the defaults in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) process: config::Config,
    pub(crate) cluster: Cluster,
    pub(crate) services: Services,
    pub(crate) load_balancer: load_balancer::Config,
    pub(crate) api_gateway: api_gateway::Config,
    pub(crate) microservice: microservice::Config,
    pub(crate) cache: cache::Config,
    pub(crate) database: database::Config,
    pub(crate) worker: worker::Config,
}

impl Settings {
    /// Loads the configuration by the one precedence and checks that it makes sense as a whole.
    pub(crate) fn load(file: Option<PathBuf>, flags: Flags) -> Result<Self, ConfigError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .map(|(name, value)| match name.as_str() {
                ADMIN_PASSWORD => (ADMIN_PASSWORD_KEY.to_owned(), value),
                _ => (name, value),
            })
            .collect();
        let folder = file.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
        let sources = Sources { flags, environment, file };
        let loaded = config::load(&sources);
        let mut settings: Self = loaded.map_err(|error| match error {
            // The name the person set, not the key it stands for.
            ConfigError::InSetting { name, message } if name == ADMIN_PASSWORD_KEY => {
                ConfigError::InSetting { name: ADMIN_PASSWORD.to_owned(), message }
            }
            other => other,
        })?;
        settings.microservice.resolve_paths(&folder);
        settings.validate().map_err(|error| error.placed(&sources))?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.load_balancer.validate()?;
        self.api_gateway.validate(&self.services)?;
        self.microservice.validate(&self.services)?;
        self.cache.validate()?;
        self.database.validate()?;
        self.worker.validate()?;
        self.check_tokens()
    }

    /// Checks that the gateways ask for what our accounts sign; anything else refuses every user.
    fn check_tokens(&self) -> Result<(), ConfigError> {
        let (asked, signed) = (&self.api_gateway.token, &self.microservice.accounts);
        if !self.has_accounts(&asked.jwks_service) {
            return Ok(());
        }
        let pairs =
            [("issuer", &asked.issuer, &signed.issuer), ("audience", &asked.audience, &signed.audience)];
        pairs.iter().try_for_each(|(key, asked, signed)| match asked == signed {
            true => Ok(()),
            false => Err(ConfigError::inconsistent(
                format!("api_gateway.token.{key}"),
                format!("is `{asked}`, but microservice.accounts.{key} is `{signed}`"),
            )),
        })
    }

    /// Tells whether a service is the accounts service.
    pub(crate) fn has_accounts(&self, service: &str) -> bool {
        self.microservice.services.get(service).is_some_and(|service| service.accounts)
    }

    /// Gives the token the processes of the house share, if there is one.
    pub(crate) fn token(&self) -> ClusterToken {
        ClusterToken::from(&self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_for_a_job_ends_well_before_those_on_the_way_give_up() {
        let settings = Settings::default();
        let margin = Duration::from_secs(5);
        let wait = Duration::from_millis(database::job::WAIT_LIMIT_MS) + margin;
        assert!(wait <= settings.api_gateway.timeout, "a gateway would count it as a failure");
        assert!(wait <= settings.load_balancer.head_timeout);
    }

    #[test]
    fn gateways_that_would_refuse_every_token_of_our_accounts_do_not_start() {
        let mut settings = Settings::default();
        settings.validate().unwrap();
        settings.microservice.accounts.audience = "shop".to_owned();
        let text = settings.validate().unwrap_err().to_string();
        assert!(text.starts_with("api_gateway.token.audience: ") && text.contains("`shop`"), "{text}");
        settings.api_gateway.token.audience = "shop".to_owned();
        settings.validate().unwrap();
    }

    #[test]
    fn the_example_of_the_page_on_collections_is_valid() {
        let page = include_str!("../../docs/collections.md");
        let (_, after) = page.split_once("```toml\n").unwrap();
        let mut settings: Settings = toml::from_str(after.split_once("```").unwrap().0).unwrap();
        let library = settings.microservice.services.get_mut("library").unwrap();
        // The page shows no schema file.
        library.collections.get_mut("loans").unwrap().schema = None;
        settings.validate().unwrap();
    }
}
