//! What can be typed after `sixfold`.

use std::path::PathBuf;

use clap::builder::{StringValueParser, TypedValueParser as _};
use clap::{Args as ClapArgs, Parser, Subcommand};
use process::Secret;

/// An HTTP backend in one binary: load balancer, API gateways, microservices, cache, database, workers.
#[derive(Debug, Parser)]
#[command(name = "sixfold", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Settings come from a flag, then the environment (SIXFOLD__SECTION__KEY), then the \
    config file, then the default.\nStart with `sixfold up`.")]
pub(crate) struct Args {
    /// The config file; without one the defaults hold
    #[arg(long, global = true, env = "SIXFOLD_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run all six tiers in this process
    Up(UpOptions),
    /// Run the load balancer: pick the best backend for each request, a gateway or any HTTP server
    LoadBalancer(LoadBalancerOptions),
    /// Run one API gateway: authenticate, validate, limit, break, route
    Gateway(GatewayOptions),
    /// Run one service of the configuration: REST resources, or accounts
    Service(ServiceOptions),
    /// Run the database, or back up and restore its data
    Database(DatabaseOptions),
    /// Run the cache server (RESP and HTTP)
    Cache(RoleOptions),
    /// Run a worker: execute jobs and serve the queue API
    Worker(RoleOptions),
    /// Show or check the configuration
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Ask every role of the configuration how it is; exit code 1 if any is down
    Status(StatusOptions),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UpOptions {
    /// The folder for the database, keys and backups [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The admin address [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RoleOptions {
    /// The address to listen at, instead of the configured one
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// The admin address [default: the port + 10000 on loopback; 127.0.0.1:8001 for the load balancer]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LoadBalancerOptions {
    #[command(flatten)]
    role: RoleOptions,
    /// Balance over this backend instead of the configured ones; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    backend: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GatewayOptions {
    #[command(flatten)]
    pub(crate) role: RoleOptions,
    /// Join the load balancer with this admin address, such as http://balancer:8001; may be repeated
    #[arg(long, value_name = "URL")]
    register: Vec<String>,
    /// Where that load balancer reaches this gateway [default: the address it listens at]
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServiceOptions {
    /// The service's name, as in [microservice.services.NAME]
    pub(crate) name: String,
    /// The address to listen at, instead of the configured one
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// The admin address [default: the port + 10000 on loopback]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DatabaseOptions {
    #[command(subcommand)]
    pub(crate) action: Option<DatabaseAction>,
    /// The address to listen at, instead of the configured one
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The folder the data lies in [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The admin address [default: the port + 10000 on loopback]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatabaseAction {
    /// Write a consistent copy of the database to FILE while it runs, or look after the continuous backup
    // `backup --config FILE status` is no file named status.
    #[command(subcommand_precedence_over_arg = true, arg_required_else_help = true)]
    Backup {
        /// The file to write; it must not exist
        file: Option<PathBuf>,
        /// The folder the data lies in [default: data]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        #[command(subcommand)]
        action: Option<BackupAction>,
    },
    /// Put a copy, or a moment of the continuous backup, into the data folder (the database must be stopped), or a moment
    /// of a PostgreSQL server's into a new folder
    #[command(arg_required_else_help = true)]
    Restore {
        /// The file a backup wrote
        #[arg(conflicts_with = "at")]
        file: Option<PathBuf>,
        /// What to restore of the continuous backup: latest, a time such as 2026-01-31T12:00:00Z, with SQLite the number
        /// of a commit, with PostgreSQL a place in its log (16/B374D848) or the number of a transaction
        #[arg(long, value_name = "MOMENT")]
        at: Option<String>,
        /// The folder to restore into [default with SQLite: the data folder]
        #[arg(long, value_name = "DIR", requires = "at")]
        to: Option<PathBuf>,
        /// The data folder [default: data]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Replace a database that is there already
        #[arg(long)]
        force: bool,
    },
    /// Check that a copy is whole
    Verify {
        /// The file a backup wrote
        file: PathBuf,
    },
    /// Write SQLite's file anew without what is free in it (the database must be stopped); it takes as much space again
    /// meanwhile
    Compact {
        /// The data folder [default: data]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Copy all data from one engine to another, which must be empty (SQLite must not be running; of PostgreSQL the state
    /// at the start is copied)
    Copy {
        /// sqlite, sqlite:DIR, postgres://…, or file:PATH of a file that holds one of these
        // Read later, for what cannot be read is repeated here, with its password.
        #[arg(value_parser = StringValueParser::new().map(Secret::new))]
        from: Secret,
        /// The same for the destination
        #[arg(value_parser = StringValueParser::new().map(Secret::new))]
        to: Secret,
        /// The folder that `sqlite` stands for [default: data]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Print the credential that opens one namespace and nothing else
    Credential {
        /// The namespace
        namespace: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupAction {
    /// Have the running database store a base, so that a restore has less to do
    Now,
    /// List the generations at the destination
    List,
    /// Read all that is at the destination and name what is damaged or missing; exit code 1 if anything is
    Verify {
        /// Also unpack every file, and restore the end of each generation beside, with PostgreSQL by a server of its own
        #[arg(long)]
        deep: bool,
    },
    /// Try a restore out, and compare it with the running database; exit code 1 if it is not the same
    Drill,
    /// Tell how far the destination is behind, and how the last drill and the upkeep went; exit code 1 if something is wrong
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the configuration that holds, secrets left out
    Show,
    /// Say whether the configuration is valid; exit code 2 if not
    Check,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusOptions {
    /// Only roles whose name starts with this, such as "gateway" or "service catalog"
    pub(crate) role: Option<String>,
}

/// Settings from flags, as dotted keys.
pub(crate) type Flags = Vec<(String, toml::Value)>;

fn flags(pairs: [(&str, Option<String>); 3]) -> Flags {
    let set = pairs.into_iter().filter_map(|(key, value)| value.map(|value| (key.to_owned(), value.into())));
    set.collect()
}

fn path(folder: Option<&PathBuf>) -> Option<String> {
    folder.map(|folder| folder.to_string_lossy().into_owned())
}

impl UpOptions {
    pub(crate) fn flags(&self) -> Flags {
        flags([("process.data", path(self.data.as_ref())), ("process.admin", self.admin.clone()), ("", None)])
    }
}

impl RoleOptions {
    /// Settings that do not depend on the role; `--listen` is put where the role keeps its address.
    pub(crate) fn flags(&self) -> Flags {
        flags([("process.admin", self.admin.clone()), ("", None), ("", None)])
    }

    /// Settings of a role whose address is the key `listen_key`.
    pub(crate) fn flags_with_listen(&self, listen_key: &str) -> Flags {
        flags([("process.admin", self.admin.clone()), (listen_key, self.listen.clone()), ("", None)])
    }
}

impl LoadBalancerOptions {
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.role.flags_with_listen("load_balancer.listen");
        if !self.backend.is_empty() {
            flags.push(("load_balancer.backends".to_owned(), self.backend.clone().into()));
        }
        flags
    }
}

impl GatewayOptions {
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.role.flags();
        if !self.register.is_empty() {
            flags.push(("api_gateway.register".to_owned(), self.register.clone().into()));
        }
        let advertise =
            self.advertise.clone().map(|address| ("api_gateway.advertise".to_owned(), address.into()));
        flags.extend(advertise);
        flags
    }
}

impl ServiceOptions {
    pub(crate) fn flags(&self) -> Flags {
        flags([("process.admin", self.admin.clone()), ("", None), ("", None)])
    }
}

impl DatabaseOptions {
    /// Gives the first option that is of the role and not of what is done with its data.
    pub(crate) fn of_the_role(&self) -> Option<&'static str> {
        let options = [("--listen", self.listen.is_some()), ("--admin", self.admin.is_some())];
        options.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }

    pub(crate) fn flags(&self) -> Flags {
        let data = match &self.action {
            Some(
                DatabaseAction::Backup { data, .. }
                | DatabaseAction::Restore { data, .. }
                | DatabaseAction::Compact { data }
                | DatabaseAction::Copy { data, .. },
            ) => data.as_ref().or(self.data.as_ref()),
            _ => self.data.as_ref(),
        };
        flags([
            ("process.data", path(data)),
            ("process.admin", self.admin.clone()),
            ("database.listen", self.listen.clone()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_is_done_with_a_backup_is_never_taken_for_the_file_to_write() {
        for line in [
            &["backup", "status"][..],
            &["backup", "--config", "c.toml", "status"],
            &["backup", "--data", "d", "status"],
            &["--data", "d", "backup", "status"],
            &["--config", "c.toml", "backup", "status"],
        ] {
            let args = Args::try_parse_from(["sixfold", "database"].iter().chain(line)).unwrap();
            let Command::Database(DatabaseOptions { action: Some(action), .. }) = args.command else {
                panic!()
            };
            let status = matches!(
                action,
                DatabaseAction::Backup { file: None, action: Some(BackupAction::Status), .. }
            );
            assert!(status, "{line:?}");
        }
        let file = Args::try_parse_from(["sixfold", "database", "backup", "--data", "d", "copy.db"]).unwrap();
        let Command::Database(DatabaseOptions { action: Some(action), .. }) = file.command else { panic!() };
        assert!(matches!(action, DatabaseAction::Backup { file: Some(_), action: None, .. }));
    }

    #[test]
    fn the_help_reads_as_agreed() {
        Args::command().debug_assert();
        let help = Args::command().term_width(100).render_help().to_string();
        insta::assert_snapshot!(help);
    }
}
