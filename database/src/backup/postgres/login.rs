//! How PostgreSQL's programs log in: by their environment, so that no password is on a command line.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Command;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::url::without_roots;

/// Where distributions keep the certificates a machine trusts; libpq before 16 must be told.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What a child's environment gets.
#[derive(Clone)]
pub(super) struct Login {
    variables: Vec<(&'static str, OsString)>,
    /// The user, as the URL names it.
    pub(super) user: String,
    /// The database.
    pub(super) database: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There is a password in it.
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Login {
    /// Reads `database.url`.
    pub(super) fn of(url: &str) -> Result<Self, String> {
        let (plain, roots) = without_roots(url);
        let config: Config = plain.parse().map_err(|_| "database.url cannot be read".to_owned())?;
        let mut variables = Vec::new();
        let mut set = |name, value: OsString| {
            if !value.is_empty() {
                variables.push((name, value));
            }
        };
        let hosts = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => OsString::from(name),
            Host::Unix(folder) => folder.clone().into_os_string(),
        });
        let hosts: Vec<OsString> = hosts.collect();
        set("PGHOST", hosts.join(&OsString::from(",")));
        let addresses: Vec<String> = config.get_hostaddrs().iter().map(ToString::to_string).collect();
        set("PGHOSTADDR", addresses.join(",").into());
        let ports: Vec<String> = config.get_ports().iter().map(ToString::to_string).collect();
        set("PGPORT", ports.join(",").into());
        let user = config.get_user().unwrap_or_default().to_owned();
        set("PGUSER", user.clone().into());
        if let Some(password) = config.get_password() {
            set("PGPASSWORD", String::from_utf8_lossy(password).into_owned().into());
        }
        // Of several hosts the one that takes writes, which is the one we write to.
        if hosts.len().max(addresses.len()) > 1 {
            set("PGTARGETSESSIONATTRS", "read-write".into());
        }
        if config.get_ssl_mode() == SslMode::Require {
            // Verified, as our own connections are.
            set("PGSSLMODE", "verify-full".into());
            let known = || ROOTS.into_iter().find(|file| Path::new(file).exists()).map(ToOwned::to_owned);
            set("PGSSLROOTCERT", roots.or_else(known).unwrap_or_default().into());
        }
        set("PGCONNECT_TIMEOUT", "10".into());
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        Ok(Self { variables, user, database })
    }

    /// Lets a program log in under an application's name.
    pub(super) fn apply(&self, command: &mut Command, application: &str) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("PGAPPNAME", application);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(login: &Login, name: &str) -> Option<String> {
        let found = login.variables.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    }

    #[test]
    fn a_url_becomes_an_environment_and_its_password_is_not_shown() {
        let login = Login::of("postgres://ann:p%40ss%20word@db:5433/shop?connect_timeout=2").unwrap();
        assert_eq!(variable(&login, "PGHOST").unwrap(), "db");
        assert_eq!(variable(&login, "PGPORT").unwrap(), "5433");
        assert_eq!(variable(&login, "PGUSER").unwrap(), "ann");
        assert_eq!(variable(&login, "PGPASSWORD").unwrap(), "p@ss word");
        assert_eq!(variable(&login, "PGSSLMODE"), None);
        assert!(!format!("{login:?}").contains("word"), "{login:?}");
    }

    #[test]
    fn hosts_sockets_and_certificates_are_told_as_libpq_knows_them() {
        let two = Login::of("postgres://ann@a,b/shop").unwrap();
        assert_eq!(variable(&two, "PGHOST").unwrap(), "a,b");
        assert_eq!(variable(&two, "PGTARGETSESSIONATTRS").unwrap(), "read-write");
        let socket = Login::of("postgres://ann@/shop?host=/run/postgresql").unwrap();
        assert_eq!(variable(&socket, "PGHOST").unwrap(), "/run/postgresql");
        let verified = Login::of("postgres://ann@a/shop?sslmode=verify-full&sslrootcert=/ca.pem").unwrap();
        assert_eq!(variable(&verified, "PGSSLMODE").unwrap(), "verify-full");
        assert_eq!(variable(&verified, "PGSSLROOTCERT").unwrap(), "/ca.pem");
    }
}
