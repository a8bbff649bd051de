//! `portside bundle`

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use portside_assets::{Assets, archive};
use portside_bundle::Bundled;
use portside_bundle::cluster::{self, ManifestsError};
use portside_bundle::file;

use portside_crds::names::ASSETS_FILE;

use portside_verbs::problems;
use portside_verbs::source::SourceArgs;

/// Arguments of `portside bundle`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to write; assets are written beside it, to assets.tar.gz
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "manifests"
    )]
    output: Option<PathBuf>,
    /// Write manifests for kubectl apply --server-side instead: a ConfigMap with the bundle and its assets, and the folder's
    /// class with its code there. Without --output they are printed
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
        let name = match &output {
            Some(output) => {
                write(output, bytes)?;
                if let (Some(assets), false) = (&bundled.assets, manifests) {
                    pack(assets, &output.with_file_name(ASSETS_FILE))?;
                }
                output.display().to_string()
            }
            None => {
                std::io::stdout().write_all(&bytes)?;
                "manifests".to_owned()
            }
        };
        eprintln!("{name}: {}", shown(&bundled));
        Ok(ExitCode::SUCCESS)
    }
}

fn write(file: &Path, bytes: Vec<u8>) -> anyhow::Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("{} was not written", file.display()))
}

/// What a bundle has in it.
pub fn shown(bundled: &Bundled) -> String {
    let modules = bundled.bundle.modules.len();
    let assets = match &bundled.assets {
        Some(assets) => format!(", {} assets", assets.count()),
        None => String::new(),
    };
    format!("{modules} modules{assets}, {}", bundled.bundle.digest())
}

/// Writes the archive of assets to that file.
fn pack(assets: &Assets, file: &Path) -> anyhow::Result<()> {
    let not_written = || format!("{} was not written", file.display());
    let to = File::create(file).with_context(not_written)?;
    archive::pack(assets, to).with_context(not_written)
}
