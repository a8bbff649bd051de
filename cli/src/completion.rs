//! `portside completion`

use std::process::ExitCode;

use clap::Command;
use portside_verbs::completion::Kind;

/// Arguments of `portside completion`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  portside completion bash > ~/.local/share/bash-completion/completions/portside
  portside completion zsh > ~/.zfunc/_portside   # with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  portside completion fish > ~/.config/fish/completions/portside.fish")]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Kind,
}

impl Args {
    /// Does it, for that command line.
    pub fn run(self, command: Command) -> anyhow::Result<ExitCode> {
        self.shell.write(command, "portside")
    }
}
