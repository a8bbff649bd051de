//! `kubectl portside completion`

use std::io::Write;
use std::process::ExitCode;

use clap::{Command, ValueEnum};
use portside_verbs::completion::{self, candidates};

/// What completes `kubectl portside …`: kubectl asks a program of this name on the PATH.
const SCRIPT: &str = "\
#!/bin/sh
# kubectl_complete-portside: by it kubectl completes what follows `kubectl portside`. Make it executable, and put it on the PATH.
exec kubectl-portside __complete -- \"$@\"
";

/// Arguments of `kubectl portside completion`.
#[derive(clap::Args)]
#[command(after_help = "\
kubectl completes its plugins where its own completion is installed (kubectl completion --help): it asks a program kubectl_complete-portside on the PATH.
The scripts for shells complete the name kubectl-portside.

Examples:
  kubectl portside completion kubectl > ~/.local/bin/kubectl_complete-portside && chmod +x ~/.local/bin/kubectl_complete-portside
  kubectl portside completion bash > ~/.local/share/bash-completion/completions/kubectl-portside
  kubectl portside completion zsh > ~/.zfunc/_kubectl-portside
  kubectl portside completion fish > ~/.config/fish/completions/kubectl-portside.fish")]
pub struct Args {
    /// For whom
    #[arg(value_enum)]
    by: By,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// The program by which kubectl completes `kubectl portside`
    Kubectl,
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

impl Args {
    /// Does it, for that command line.
    pub fn run(self, command: Command) -> anyhow::Result<ExitCode> {
        let shell = match self.by {
            By::Kubectl => {
                std::io::stdout().write_all(SCRIPT.as_bytes())?;
                return Ok(ExitCode::SUCCESS);
            }
            By::Bash => completion::Kind::Bash,
            By::Zsh => completion::Kind::Zsh,
            By::Fish => completion::Kind::Fish,
        };
        // Shells know the program by the name that its file has.
        shell.write(command.bin_name("kubectl-portside"), "kubectl-portside")
    }
}

/// Arguments of what [`SCRIPT`] calls.
#[derive(clap::Args)]
pub struct CompleteArgs {
    /// What follows `kubectl portside`; the last is unfinished
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl CompleteArgs {
    /// Does it, for that command line.
    pub fn run(self, command: Command) -> anyhow::Result<ExitCode> {
        let found = candidates(command, &self.words);
        std::io::stdout().write_all(found.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
