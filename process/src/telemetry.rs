//! Log lines: human on a terminal, JSON elsewhere; each names its trace.
//!
//! Never logged: tokens, passwords, cookies, bodies, and fields marked `sensitive`.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Config, ConfigError, LogFormat};

/// At `debug` PostgreSQL's driver logs the values of every statement, which are bodies.
const DATABASE_DRIVER: &str = "tokio_postgres=info";

/// Replaces the filter of the log that was started.
static REPLACE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// Checks that the log filter can be read.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    filter(config).map(drop)
}

fn filter(config: &Config) -> Result<EnvFilter, ConfigError> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| ConfigError::inconsistent("process.log", error.to_string()))?;
    Ok(match DATABASE_DRIVER.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    })
}

/// Starts logging to standard error for the life of the process; a second call changes nothing.
pub fn start(config: &Config) -> Result<(), ConfigError> {
    let filter = filter(config)?;
    let json = match config.log_format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_span_events(FmtSpan::NONE);
    // It would say so on standard error, which panics where that is what cannot be written.
    let builder = builder.log_internal_errors(false);
    // The filter comes last, because its type contains the format's.
    let started = if json {
        let builder = builder.json().flatten_event(true).with_current_span(true).with_span_list(false);
        let builder = builder.with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().map(|()| keep(move |filter| handle.reload(filter)))
    } else {
        let builder = builder.with_target(false).with_ansi(std::io::stderr().is_terminal());
        let builder = builder.with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().map(|()| keep(move |filter| handle.reload(filter)))
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}

/// Writes from now on what the configuration asks for.
pub fn change_filter(config: &Config) -> Result<(), ConfigError> {
    let filter = filter(config)?;
    if let Some(replace) = REPLACE.get() {
        replace(filter);
    }
    Ok(())
}

fn keep<E>(replace: impl Fn(EnvFilter) -> Result<(), E> + Send + Sync + 'static) {
    let replace = move |filter| {
        if replace(filter).is_err() {
            tracing::warn!("the log's filter cannot be replaced");
        }
    };
    let _ = REPLACE.set(Box::new(replace));
}
