//! `portside check`

use std::path::PathBuf;
use std::process::ExitCode;

use portside_bundle::Checked;

use portside_verbs::problems;
use portside_verbs::source::SourceArgs;

/// Arguments of `portside check`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Reports every problem and every warning; fails if there is a problem.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { dir, source } = self;
        let runtime = tokio::runtime::Runtime::new()?;
        let Checked { problems, warnings } =
            runtime.block_on(portside_bundle::check(&dir, &source.into()));
        problems::warn(&warnings);
        if !problems.is_empty() {
            problems::print(&problems);
            return Ok(ExitCode::FAILURE);
        }
        match warnings.len() {
            0 => eprintln!("no problems"),
            1 => eprintln!("no problems, 1 warning"),
            count => eprintln!("no problems, {count} warnings"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
