//! `portside bundle`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use portside_bundle::cluster::{self, ManifestsError};
use portside_bundle::file;

use crate::problems;
use crate::source::SourceArgs;

/// Arguments of `portside bundle`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to write
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "manifests"
    )]
    output: Option<PathBuf>,
    /// Write manifests for kubectl apply --server-side instead: a ConfigMap with the bundle, and the folder's class with
    /// its code there. Without --output they are printed
    #[arg(long)]
    manifests: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Bundles the folder into the file, or manifests; on problems nothing is written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            dir,
            output,
            manifests,
            source,
        } = self;
        let runtime = tokio::runtime::Runtime::new()?;
        let Some(bundled) = runtime.block_on(problems::bundled(&dir, &source.into())) else {
            return Ok(ExitCode::FAILURE);
        };
        let bytes = if manifests {
            match cluster::manifests(&bundled) {
                Err(ManifestsError::Unfit(found)) => {
                    problems::print(&found);
                    return Ok(ExitCode::FAILURE);
                }
                manifests => manifests?.into_bytes(),
            }
        } else {
            file::encode(&bundled.bundle)?
        };
        let shown = match &output {
            Some(output) => {
                std::fs::write(output, bytes)
                    .with_context(|| format!("{} was not written", output.display()))?;
                output.display().to_string()
            }
            None => {
                std::io::stdout().write_all(&bytes)?;
                "manifests".to_owned()
            }
        };
        eprintln!(
            "{shown}: {} modules, {}",
            bundled.bundle.modules.len(),
            bundled.bundle.digest()
        );
        Ok(ExitCode::SUCCESS)
    }
}
