//! Log lines: human on a terminal, JSON elsewhere; each names its trace.
//!
//! Never logged: tokens, passwords, cookies, bodies, and fields marked `sensitive`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Config, ConfigError, LogFormat};

/// Checks that the log filter can be read.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    filter(config).map(drop)
}

fn filter(config: &Config) -> Result<EnvFilter, ConfigError> {
    EnvFilter::try_new(&config.log)
        .map_err(|error| ConfigError::inconsistent("process.log", error.to_string()))
}

/// Starts logging to standard error for the life of the process; a second call changes nothing.
pub fn start(config: &Config) -> Result<(), ConfigError> {
    let filter = filter(config)?;
    let json = match config.log_format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let started = if json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}
