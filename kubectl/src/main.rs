//! `kubectl portside`: deploys applications to a cluster, and looks at their workers there.

mod cluster;
mod deploy;
mod object;
mod status;
mod translate;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use cluster::InCluster;
use portside_verbs::{exec, logs, state, workers};

/// Stateful serverless workers of a cluster.
#[derive(Parser)]
#[command(
    name = "kubectl-portside",
    bin_name = "kubectl portside",
    version,
    about,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bundle the application in a folder, apply it, wait until it serves, and print where
    Deploy(deploy::Args),
    /// Show how a class is, and why
    Status(status::Args),
    /// Look at workers, and manage them
    Workers(workers::Args<InCluster>),
    /// Look at what workers have stored, and change it
    State(state::Args<InCluster>),
    /// Show what a worker logs
    Logs(logs::Args<InCluster>),
    /// Evaluate an expression in the instance of a worker
    Exec(exec::Args<InCluster>),
}

fn main() -> ExitCode {
    let matches = named(Cli::command()).get_matches();
    // Two providers are linked in; without a choice the first TLS connection would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Cli::from_arg_matches(&matches) {
        Ok(cli) => match cli.command {
            Command::Deploy(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Workers(args) => args.run(),
            Command::State(args) => args.run(),
            Command::Logs(args) => args.run(),
            Command::Exec(args) => args.run(),
        },
        Err(error) => error.exit(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("kubectl portside: {error:#}");
        ExitCode::FAILURE
    })
}

/// The same, with this program's name in the examples of verbs that `portside` has as well.
fn named(command: clap::Command) -> clap::Command {
    const ALONE: &str = "portside ";
    const HERE: &str = "kubectl portside ";
    let renamed = |text: Option<&clap::builder::StyledStr>| {
        let text = text?.ansi().to_string();
        let text = text.replace(HERE, ALONE).replace(ALONE, HERE);
        Some(clap::builder::StyledStr::from(text))
    };
    let (after, long) = (
        renamed(command.get_after_help()),
        renamed(command.get_long_about()),
    );
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let mut command = command;
    if let Some(after) = after {
        command = command.after_help(after);
    }
    if let Some(long) = long {
        command = command.long_about(long);
    }
    verbs
        .into_iter()
        .fold(command, |command, verb| command.mut_subcommand(verb, named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound_and_every_verb_has_an_example_with_this_programs_name() {
        let command = named(Cli::command());
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            let help = verb.clone().render_long_help().to_string();
            let name = format!("kubectl portside {}", verb.get_name());
            assert!(help.contains(&format!("\n  {name}")), "{help}");
            assert!(!help.contains("\n  portside "), "{help}");
            for inner in verb.get_subcommands() {
                let help = inner.clone().render_long_help().to_string();
                let name = format!("Example: {name} {}", inner.get_name());
                assert!(help.contains(&name), "{help}");
            }
        }
    }
}
