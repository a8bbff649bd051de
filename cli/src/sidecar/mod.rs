//! `portside sidecar`: what the pods of a class run in a cluster.

mod artifact;
mod database;
mod env;
mod failure;
mod patience;
mod purge;
mod run;
mod sharing;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use database::DatabaseArgs;
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
    #[command(flatten)]
    database: DatabaseArgs,
    /// This pod's name
    #[arg(long, env = "POD_NAME", default_value = "sidecar", hide = true)]
    pod_name: String,
    /// Where the kubelet reads why a container ended
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
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
