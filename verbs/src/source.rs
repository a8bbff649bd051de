//! Arguments for what is read of an application's folder.

use portside_bundle::Options;

/// What an application is read by.
#[derive(clap::Args, Debug, Clone)]
pub struct SourceArgs {
    /// The main module, relative to the folder
    #[arg(long, value_name = "MODULE")]
    main: Option<String>,
    /// The environment of a wrangler configuration
    #[arg(short, long, value_name = "NAME")]
    env: Option<String>,
}

impl From<SourceArgs> for Options {
    fn from(SourceArgs { main, env }: SourceArgs) -> Self {
        Self {
            main,
            env: env.filter(|env| !env.is_empty()), // as wrangler has it, for its top level
        }
    }
}
