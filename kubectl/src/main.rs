//! `kubectl portside`: deploys applications to a cluster, and looks at their workers there.

mod cluster;
mod completion;
mod deploy;
mod inspect;
mod object;
mod status;
mod translate;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use cluster::InCluster;
use portside_verbs::{events, exec, logs, state, top, workers};

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
    /// Show what a worker, a class or a pod logs; without any of them, what all classes of the namespace log
    Logs(logs::Args<InCluster>),
    /// Show what happens to workers as it happens: they wake, sleep, move, come and go
    Events(events::Args<InCluster>),
    /// Show which workers use most: memory, time, keys, bytes
    Top(top::Args<InCluster>),
    /// Evaluate an expression in the instance of a worker
    Exec(exec::Args<InCluster>),
    /// Let a debugger, as Chrome's DevTools, look at the isolate of one worker
    Inspect(inspect::Args),
    /// Print what kubectl or a shell completes this by
    Completion(completion::Args),
    /// Say what may come next: what kubectl_complete-portside calls
    #[command(hide = true, name = "__complete")]
    Complete(completion::CompleteArgs),
}

fn main() -> ExitCode {
    let matches = command_line().get_matches();
    // Two providers are linked in; without a choice the first TLS connection would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Cli::from_arg_matches(&matches) {
        Ok(cli) => match cli.command {
            Command::Deploy(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Workers(args) => args.run(),
            Command::State(args) => args.run(),
            Command::Logs(args) => args.run(),
            Command::Events(args) => args.run(),
            Command::Top(args) => args.run(),
            Command::Exec(args) => args.run(),
            Command::Inspect(args) => args.run(),
            Command::Completion(args) => args.run(command_line()),
            Command::Complete(args) => args.run(command_line()),
        },
        Err(error) => error.exit(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("kubectl portside: {error:#}");
        ExitCode::FAILURE
    })
}

/// Examples of what only a cluster has.
const LOGS: &str = "\
A worker is SCRIPT#NAME, a Durable Object CLASS#NAME or CLASS#ID, and either its ID of 32 hexadecimal digits.
Without one, each line begins with its pod, and pods that come are followed as well. That takes what kubectl logs takes: get and list of pods, and get of pods/log.

Examples:
  kubectl portside logs room.js#lobby --tail 20
  kubectl portside logs --class chat-room --follow
  kubectl portside logs --pod chat-room-workers-6d5f8-x2x9k";

/// All of the command line, as its users see it.
fn command_line() -> clap::Command {
    named(Cli::command()).mut_subcommand("logs", |logs| logs.after_help(LOGS))
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
        let command = command_line();
        command.clone().debug_assert();
        for verb in command.get_subcommands().filter(|it| !it.is_hide_set()) {
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

    #[test]
    fn kubectl_is_told_what_may_come_next() {
        let told = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
            portside_verbs::completion::candidates(command_line(), &words)
        };
        let verbs = told(&["wor"]);
        assert!(verbs.starts_with("workers\t"), "{verbs}");
        assert!(verbs.ends_with("\n:4\n"), "{verbs}");
        let all = told(&[]);
        assert!(
            all.contains("logs\t") && !all.contains("__complete"),
            "{all}"
        );
        let flags = told(&["top", "--sort"]);
        assert!(flags.starts_with("--sort-by\t"), "{flags}");
        let values = told(&["top", "--sort-by", ""]);
        assert!(
            values.contains("memory\t") && values.contains("bytes\t"),
            "{values}"
        );
    }
}
