//! `portside`: runs ServerlessWorker applications, and makes and checks their bundles.

mod bundle;
mod check;
mod class;
mod completion;
mod console;
mod dev;
mod init;
mod manage;
mod network;
mod push;
mod registry;
mod sidecar;
mod types;
mod unstoppable;
mod variables;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use portside_verbs::{events, exec, logs, state, top, workers};

use manage::Dev;

/// Stateful serverless workers.
#[derive(Parser)]
#[command(name = "portside", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the application in a folder, reloading it when its files change
    Dev(dev::Args),
    /// Make a small application in a new folder
    Init(init::Args),
    /// Write TypeScript's declarations for the application in a folder: its env, and the platform
    Types(types::Args),
    /// Write the application in a folder to one file: its modules and their digest
    Bundle(bundle::Args),
    /// Bundle the application in a folder and push it to an OCI registry
    Push(push::Args),
    /// Report everything that keeps the application in a folder from being bundled
    Check(check::Args),
    /// Look at the workers of a running application, and manage them
    Workers(workers::Args<Dev>),
    /// Look at what workers have stored, and change it
    State(state::Args<Dev>),
    /// Show what the workers and the server of a running application log
    Logs(logs::Args<Dev>),
    /// Show what happens to workers as it happens: they wake, sleep, move, come and go
    Events(events::Args<Dev>),
    /// Show which workers use most: memory, time, keys, bytes
    Top(top::Args<Dev>),
    /// Evaluate an expression in the instance of a worker
    Exec(exec::Args<Dev>),
    /// Print what a shell completes this by
    Completion(completion::Args),
    /// Be one of the pods that `portside dev --pods` starts
    #[command(hide = true)]
    DevPod,
    /// Run, or purge, a class in a cluster: what its pods call
    #[command(hide = true)]
    Sidecar(sidecar::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two providers are linked in; without a choice the first TLS connection would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    portside_admin::raise_open_files();
    let outcome = match cli.command {
        Command::Dev(args) => args.run(),
        Command::DevPod => dev::run_pod(),
        Command::Init(args) => args.run(),
        Command::Types(args) => args.run(),
        Command::Bundle(args) => args.run(),
        Command::Push(args) => args.run(),
        Command::Check(args) => args.run(),
        Command::Workers(args) => args.run(),
        Command::State(args) => args.run(),
        Command::Logs(args) => args.run(),
        Command::Events(args) => args.run(),
        Command::Top(args) => args.run(),
        Command::Exec(args) => args.run(),
        Command::Completion(args) => args.run(Cli::command()),
        Command::Sidecar(args) => args.run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("portside: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }
}
