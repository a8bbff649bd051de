//! `portside check`

use std::path::PathBuf;
use std::process::ExitCode;

use portside_bundle::Options;

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
}

impl Args {
    /// Reports every problem; fails if there is one.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { dir, main } = self;
        let runtime = tokio::runtime::Runtime::new()?;
        let found = runtime.block_on(portside_bundle::check(&dir, &Options { main }));
        if found.is_empty() {
            eprintln!("no problems");
            return Ok(ExitCode::SUCCESS);
        }
        problems::print(&found);
        Ok(ExitCode::FAILURE)
    }
}
