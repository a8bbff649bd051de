//! The operator: makes what a `ServerlessWorkerClass` asks for, and says in its status how far that is.

mod api;
mod args;
mod caches;
mod certificates;
mod class;
mod leader;
mod metrics;
mod registration;
mod release;
mod run;
mod schema;

use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    args::Args::parse_from(args::with_default_command(std::env::args_os()))
        .run()
        .await
}
