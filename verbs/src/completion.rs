//! `portside completion`: what shells complete of a command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, ValueEnum};
use clap_complete::{Shell, engine, generate};

/// Shells that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

impl Kind {
    /// Writes what the shell reads to complete `command`, which is called `name` there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(self, mut command: Command, name: &str) -> anyhow::Result<ExitCode> {
        let shell = match self {
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
        };
        let mut script = vec![];
        generate(shell, &mut command, name, &mut script);
        std::io::stdout().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What may come next on the command line of `command` after these words, of which the last is unfinished: a line each, with what it is
/// behind a tab, and a last one by which kubectl knows that files are none of it.
#[must_use]
pub fn candidates(mut command: Command, words: &[String]) -> String {
    /// Of `cobra`, by which kubectl completes: `ShellCompDirectiveNoFileComp`.
    const NO_FILES: &str = ":4\n";
    let name = OsString::from(command.get_name());
    let mut line = vec![name];
    line.extend(words.iter().map(OsString::from));
    if words.is_empty() {
        line.push(OsString::new());
    }
    let at = line.len() - 1;
    let here = std::env::current_dir().ok();
    let found = engine::complete(&mut command, line, at, here.as_deref().map(Path::new));
    let lines = found.unwrap_or_default().into_iter();
    let lines = lines.filter(|one| !one.is_hide_set()).filter_map(|one| {
        let value = one.get_value().to_str()?;
        let help = one.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        Some(match help {
            "" => format!("{value}\n"),
            help => format!("{value}\t{help}\n"),
        })
    });
    lines.chain([NO_FILES.to_owned()]).collect()
}
