//! The log of a process in a cluster.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How the log looks: arguments to flatten into a program's own.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Text, or one JSON object a line
    #[arg(long, env = "PORTSIDE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,

    /// What is logged: a level, or directives such as `info,kube=debug`
    #[arg(
        long,
        env = "PORTSIDE_LOG_LEVEL",
        default_value = "info",
        value_name = "FILTER"
    )]
    log_level: String,
}

/// `--log-level` cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("--log-level {filter:?}: {why}")]
pub struct WrongFilter {
    filter: String,
    why: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogArgs {
    /// Sends the process's log to standard error.
    ///
    /// # Errors
    /// The filter cannot be parsed.
    pub fn init(&self) -> Result<(), WrongFilter> {
        let filter = EnvFilter::try_new(&self.log_level).map_err(|error| WrongFilter {
            filter: self.log_level.clone(),
            why: error.to_string(),
        })?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Json => log.json().flatten_event(true).init(),
            LogFormat::Text => log.init(),
        }
        Ok(())
    }
}
