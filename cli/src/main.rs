//! `sixfold`: one binary, a subcommand per role, and `up` for all of them.
//!
//! [`args`] is what can be typed, [`settings`] the one configuration, [`role`] the closed list of roles,
//! [`up`] the plain list of what one process starts, [`run`] the life of a process, [`reload`] its changes of
//! configuration, [`takeover`] its replacement by another process.

mod args;
mod backup;
mod config_command;
mod outline;
mod progress;
mod reload;
mod role;
mod run;
mod settings;
mod status;
mod table;
mod takeover;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command, ConfigAction};
use reload::Source;
use role::Role;
use settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for what the person at the terminal can mend: a setting, a port, a data directory.
const EXIT_CANNOT_START: u8 = 2;

/// The exit code for a house that runs and is not well.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    let args = Args::parse();
    match dispatch(args) {
        Ok(code) => code,
        Err(error) => {
            terminal::complain(format_args!("sixfold: {error}"));
            let failed_later = matches!(error.downcast_ref(), Some(process::RoleError::Stopped { .. }));
            ExitCode::from(if failed_later { EXIT_FAILED } else { EXIT_CANNOT_START })
        }
    }
}

fn dispatch(args: Args) -> anyhow::Result<ExitCode> {
    let source = |flags| Source { file: args.config.clone(), flags };
    let load = |flags| source(flags).load();
    match args.command {
        Command::Up(options) => {
            let source = source(options.flags());
            let settings = source.load()?;
            let roles = up::roles(&settings);
            run::play(&source, settings, &roles, run::Greeting::House)
        }
        Command::LoadBalancer(options) => serve_one(source(options.flags()), |_| Ok(Role::LoadBalancer)),
        Command::Gateway(options) => serve_one(source(options.flags()), |settings| {
            let listen = options.role.listen.or_else(|| settings.api_gateway.listen.first().cloned());
            let listen = listen
                .ok_or_else(|| anyhow::anyhow!("api_gateway.listen: name an address, or use --listen"))?;
            Ok(Role::Gateway { listen })
        }),
        Command::Service(options) => {
            let role = Role::Service { name: options.name.clone(), listen: options.listen.clone() };
            serve_one(source(options.flags()), |_| Ok(role))
        }
        Command::Database(options) => match options.action {
            None => serve_one(source(options.flags()), |_| Ok(Role::Database)),
            Some(_) if let Some(option) = options.of_the_role() => {
                anyhow::bail!("{option} is for the role, not for what is done with its data")
            }
            Some(ref action) => backup::perform(&load(options.flags())?, action),
        },
        Command::Cache(options) => {
            serve_one(source(options.flags_with_listen("cache.listen")), |_| Ok(Role::Cache))
        }
        Command::Worker(options) => {
            serve_one(source(options.flags_with_listen("worker.listen")), |_| Ok(Role::Worker))
        }
        Command::Config { action: ConfigAction::Show } => config_command::show(&load(Vec::new())?),
        Command::Config { action: ConfigAction::Check } => {
            config_command::check(&load(Vec::new())?, args.config.as_deref())
        }
        Command::Status(options) => {
            let settings = load(Vec::new())?;
            run::block_on(status::report(&settings, options.role.as_deref()))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "sixfold", &mut script);
            std::io::Write::write_all(&mut std::io::stdout(), &script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve_one(
    source: Source,
    choose: impl FnOnce(&Settings) -> anyhow::Result<Role>,
) -> anyhow::Result<ExitCode> {
    let settings = source.load()?;
    let role = choose(&settings)?;
    run::play(&source, settings, &[role], run::Greeting::Role)
}
