//! `portside check`

use std::path::PathBuf;
use std::process::ExitCode;

use portside_bundle::{Checked, Options};

use crate::problems;

/// Arguments of `portside check`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The main module, relative to the folder
    #[arg(long, value_name = "MODULE")]
    main: Option<String>,
    /// The environment of a wrangler configuration
    #[arg(short, long, value_name = "NAME")]
    env: Option<String>,
}

impl Args {
    /// Reports every problem and every warning; fails if there is a problem.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { dir, main, env } = self;
        let runtime = tokio::runtime::Runtime::new()?;
        let Checked { problems, warnings } =
            runtime.block_on(portside_bundle::check(&dir, &Options { main, env }));
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
