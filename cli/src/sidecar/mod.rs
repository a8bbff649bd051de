//! `portside sidecar`: what the pods of a class run in a cluster.

mod artifact;
mod env;
mod failure;
mod patience;
mod purge;
mod run;
mod sharing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use portside_crds::sidecar::TerminationReason as Reason;
use portside_store::Store;

use failure::Failure;
pub use run::{active, door_config, leave, takes_part};
pub use sharing::SharingArgs;

/// Arguments of `portside sidecar`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a class's application, as one pod of several
    Run(Box<run::Args>),
    /// Delete everything a class has stored, once no pod of it is alive
    Purge(purge::Args),
}

impl Args {
    /// Runs until a signal ends it, or until it fails: then the reason is in the termination log as well.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (outcome, log) = match self.command {
            Command::Run(args) => args.run(),
            Command::Purge(args) => args.run(),
        };
        Ok(match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                failure.report(&log);
                ExitCode::FAILURE
            }
        })
    }
}

/// What both commands are told.
#[derive(clap::Args)]
struct Common {
    /// The class: its namespace and name, as the database knows it
    #[arg(long, value_name = "NAMESPACE/NAME")]
    class: String,
    /// The file that has the database's postgres:// URL
    #[arg(long, value_name = "FILE")]
    store_file: PathBuf,
    /// This pod's name
    #[arg(long, env = "POD_NAME", default_value = "sidecar", hide = true)]
    pod_name: String,
    /// Where the kubelet reads why a container ended
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

impl Common {
    /// Opens the class's part of the database.
    async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        let url = url(&self.store_file)?;
        let opened = portside_store::open(&url, &self.class).await;
        opened.map_err(|error| match error {
            portside_store::Error::Database(_) => {
                Failure::new(Reason::DatabaseUnavailable, error.to_string())
            }
            portside_store::Error::Incompatible(_) => {
                Failure::new(Reason::DatabaseIncompatible, error.to_string())
            }
        })
    }
}

/// The database's URL. Errors never have any of it.
fn url(file: &Path) -> Result<String, Failure> {
    let missing = || {
        let message = format!(
            "there is no database URL in {}: does the Secret of spec.storage.database exist, and has it the key?",
            file.display()
        );
        Failure::new(Reason::DatabaseMissing, message)
    };
    let url = std::fs::read_to_string(file).map_err(|_| missing())?;
    let url = url.trim();
    if url.is_empty() {
        return Err(missing());
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let message = "the database URL must begin with postgres://";
        return Err(Failure::new(Reason::DatabaseIncompatible, message));
    }
    Ok(url.to_owned())
}

/// Our own log: to standard error, `PORTSIDE_LOG` chooses (as `RUST_LOG` does elsewhere).
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PORTSIDE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(filter)
        .init();
}
