//! `portside-gateway`: sends clients' requests to the pods of ServerlessWorkerClasses.

mod args;
mod topology;
mod watch;

use std::process::ExitCode;

use args::Args;
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    // Two providers may be linked in; without a choice the first TLS connection would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    portside_admin::raise_open_files();
    match Args::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portside-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
