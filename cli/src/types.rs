//! `portside types`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ArgAction;
use portside_bundle::Options;
use portside_bundle::types::{Declarations, Style, declarations};

use portside_verbs::problems;
use portside_verbs::source::SourceArgs;

/// Arguments of `portside types`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Change nothing; fail if the file is not as it would be written
    #[arg(long)]
    check: bool,
    /// Whether variables have the types of their values, such as "a" | "b", and not only string
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    strict_vars: bool,
    /// Whether the platform is declared, too, where @cloudflare/workers-types does not do it
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    include_runtime: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Writes the declarations into the folder, or checks them; on problems nothing is written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            dir,
            check,
            strict_vars,
            include_runtime,
            source,
        } = self;
        let style = Style {
            strict_vars,
            include_runtime,
        };
        let made = match declarations(&dir, &source.into(), style) {
            Ok(made) => made,
            Err(found) => {
                problems::print(&found);
                return Ok(ExitCode::FAILURE);
            }
        };
        problems::warn(&made.warnings);
        let file = dir.join(made.file);
        let existing = existing(&file)?;
        let made = match &existing {
            Some(existing) => made.keeping(existing),
            None => made,
        };
        let shown = file.display();
        let is_as_made = existing.as_ref() == Some(&made.text);
        match (check, is_as_made) {
            (true, true) => eprintln!("{shown} is up to date"),
            (true, false) => {
                eprintln!("{shown} is not up to date: run portside types, with the same options");
                return Ok(ExitCode::FAILURE);
            }
            (false, true) => eprintln!("{shown} was up to date"),
            (false, false) => {
                if existing.is_some_and(|text| !Declarations::may_replace(&text)) {
                    bail!(
                        "{shown} was not made by portside types: give it another name, and try again"
                    );
                }
                write(&file, &made.text)?;
                eprintln!("wrote {shown}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the declarations for an application that has none yet.
pub fn make(dir: &Path) -> anyhow::Result<()> {
    let style = Style {
        strict_vars: true,
        include_runtime: true,
    };
    match declarations(dir, &Options::default(), style) {
        Ok(made) => write(&dir.join(made.file), &made.text),
        Err(found) => {
            problems::print(&found);
            bail!("its types cannot be written")
        }
    }
}

fn existing(file: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
