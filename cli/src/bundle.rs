//! `portside bundle`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use portside_bundle::{Options, file};

use crate::problems;

/// Arguments of `portside bundle`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The main module, relative to the folder
    #[arg(long, value_name = "MODULE")]
    main: Option<String>,
}

impl Args {
    /// Bundles the folder into the file; on problems nothing is written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { dir, output, main } = self;
        let runtime = tokio::runtime::Runtime::new()?;
        let bundled = match runtime.block_on(portside_bundle::bundle(&dir, &Options { main })) {
            Ok(bundled) => bundled,
            Err(found) => {
                problems::print(&found);
                return Ok(ExitCode::FAILURE);
            }
        };
        file::write(&bundled.bundle, &output)
            .with_context(|| format!("{} was not written", output.display()))?;
        eprintln!(
            "{}: {} modules, {}",
            output.display(),
            bundled.bundle.modules.len(),
            bundled.bundle.digest()
        );
        Ok(ExitCode::SUCCESS)
    }
}
