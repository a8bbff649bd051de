//! `portside-apiserver`: shows the workers of ServerlessWorkerClasses as objects of Kubernetes.

use std::process::ExitCode;

use clap::Parser;
use portside_apiserver::Args;

#[tokio::main]
async fn main() -> ExitCode {
    // Two providers may be linked in; without a choice the first TLS connection would panic.
    let _ = rustls::crypto::ring::default_provider().install_default();
    portside_admin::raise_open_files();
    match Args::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portside-apiserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}
